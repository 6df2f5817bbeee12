"""What this package, stable-baselines3 and mbrl-lib do in the same situations, tried one by one.

    python benchmarks/faults/peers.py --out benchmarks/results/faults/peers.csv

Each situation of each library is a process of its own (`peers/side_*.py`). The peers live in a virtual
environment under `runs/`, made on first use; `--pip-option` is handed to its pip. mbrl-lib 0.2.0 pins
packages of 2020, so it is installed without its dependencies, beside versions it runs with.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent / "peers"
ENVIRONMENT = HERE.parent.parent.parent / "runs" / "peers" / "faults"
PACKAGES = ("stable-baselines3==2.9.2", "torch", "gymnasium>=1,<2", "tqdm", "imageio", "tensorboard", "matplotlib")
PACKAGES_WITHOUT_THEIR_OWN = (
    "mbrl==0.2.0",
    "hydra-core==1.3.2",
    "omegaconf==2.3.0",
    "antlr4-python3-runtime==4.9.3",
    "pyyaml",
    "termcolor",
)
SITUATIONS = (
    "resume",
    "full disk",
    "truncated file",
    "code in a file",
    "two writers",
    "step raises",
    "step hangs",
    "nan observation",
    "nan reward",
    "observation of another shape",
    "observation out of its space",
    "check before training",
)


def peer_python(options: list[str]) -> Path:
    """The Python of the peers' environment, made if need be."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    wanted = " ".join((*PACKAGES, *PACKAGES_WITHOUT_THEIR_OWN))
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(ENVIRONMENT, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
        subprocess.run([*install, *PACKAGES], check=True)
        subprocess.run([*install, "--no-deps", *PACKAGES_WITHOUT_THEIR_OWN], check=True)
        ready.write_text(wanted)
    return python


def tried(python: Path, side: str, situation: str) -> str:
    """What happened, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), str(HERE / f"side_{side}.py"), situation, folder]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=3600)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            return f"exit status {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
        return str(json.loads(lines[-1])).replace(folder, "FOLDER")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pip-option", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=1, help="situations tried at a time")
    parser.add_argument("--only", choices=SITUATIONS, action="append", help="keep what the file holds of the others")
    arguments = parser.parse_args()
    peers = peer_python(arguments.pip_option)
    pythons = {"mbpo": Path(sys.executable), "sb3": peers, "mbrl": peers}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        cells = {
            (situation, side): pool.submit(tried, python, side, situation)
            for situation in arguments.only or SITUATIONS
            for side, python in pythons.items()
        }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    held = {row["situation"]: row for row in csv.DictReader(arguments.out.open())} if arguments.only else {}
    for situation in arguments.only or SITUATIONS:
        held[situation] = {"situation": situation, **{side: cells[situation, side].result() for side in pythons}}
    with arguments.out.open("w", newline="") as file:
        rows = csv.DictWriter(file, ["situation", *pythons])
        rows.writeheader()
        rows.writerows(held[situation] for situation in SITUATIONS)


if __name__ == "__main__":
    main()
