"""A run folder that a process is writing to is refused to another, and free again when that is killed."""

import os
import signal
import subprocess
import sys

import pytest
from tiny_tasks import RUN_SETTINGS, SHORT, one_paragraph

from mbpo import MBPO
from mbpo.errors import RunFolderError

WRITER = """
import sys, time
from pathlib import Path
from mbpo.training.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_resuming_and_beginning_are_refused(tmp_path):
    folder = tmp_path / "run"
    MBPO(SHORT, out=folder, **RUN_SETTINGS).learn(5).close()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    fresh = MBPO(SHORT, out=tmp_path / "other", **RUN_SETTINGS)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError) as caught:
            MBPO.load(folder, resume=True)
        assert "Another process is writing" in one_paragraph(str(caught.value))
        MBPO.load(folder).close()  # To read is allowed.
        fresh._home.folder = folder
        with pytest.raises(RunFolderError, match="Another process is writing"):
            fresh.learn(5)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        agent = MBPO.load(folder, resume=True)
        assert agent.env_step == 5
        agent.close()
    fresh.close()
