"""One writer a folder, whatever becomes of it."""

import os
import signal
import subprocess
import sys

import pytest
from tiny_tasks import one_paragraph

from mbpo.errors import RunFolderError
from mbpo.training.folder_lock import FolderLock

HOLD = """
import sys, time
from pathlib import Path
from mbpo.training.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def hold(folder) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    with hold(tmp_path) as process:
        with pytest.raises(RunFolderError) as caught:
            FolderLock(tmp_path)
        message = one_paragraph(str(caught.value))
        assert "Another process is writing" in message
        assert str(tmp_path) in message
        os.kill(process.pid, signal.SIGKILL)  # No clean-up of its own.
        process.wait()
        FolderLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_may_open_it_again(tmp_path):
    one, other = FolderLock(tmp_path), FolderLock(tmp_path / ".." / tmp_path.name)
    one.release()
    one.release()
    done = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "Another process is writing" in done.stderr  # The other still holds it.
    other.release()
    with hold(tmp_path) as process:
        process.kill()


def test_a_holder_that_is_forgotten_lets_go(tmp_path):
    FolderLock(tmp_path)
    with hold(tmp_path) as process:
        process.kill()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="Cannot write"):
        FolderLock(tmp_path / "file" / "run")
