"""A virtual environment for each peer, under the ignored `runs/`: peers are no dependencies of ours.

What a peer needs is in `requirements/NAME.txt`, exact versions; a line `# no-deps: PACKAGE==VERSION`
is installed afterwards and without what it asks for.
"""

import re
import subprocess
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent.parent / "runs" / "peers"


class PeerMissing(Exception):
    """A peer could not be installed; the text says what pip said."""


def peer_python(peer: str, pip_options: list[str]) -> Path:
    """The Python of a peer's own environment, made if need be.

    Args:
        pip_options: Handed to its pip, for instance to name an index of CPU builds of PyTorch.

    Raises:
        PeerMissing: pip failed.
    """
    wanted = (HERE / "requirements" / f"{peer}.txt").read_text()
    folder = ENVIRONMENTS / peer
    python, ready = folder / "bin" / "python", folder / ".installed"
    if ready.exists() and ready.read_text() == wanted:
        return python
    print(f"making the environment of {peer} in {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pip_options]
    _pip([*install, "--requirement", str(HERE / "requirements" / f"{peer}.txt")])
    for package in re.findall(r"^# no-deps: (\S+)$", wanted, re.MULTILINE):
        _pip([*install, "--no-deps", package])
    ready.write_text(wanted)
    return python


def _pip(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise PeerMissing(said[-1] if said else f"pip ended with status {done.returncode}")
