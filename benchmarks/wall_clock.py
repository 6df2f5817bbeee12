"""How long a newcomer waits: `mbpo train` to 600 steps on Pendulum-v1, cold and warm.

    python benchmarks/wall_clock.py --out benchmarks/results/wall_clock.json

Each run is a process of its own with all cores. Cold runs begin with an empty compilation cache
and fill it; warm runs follow on the same one. Reported are seconds from the start of the process
to its end (100 evaluation episodes at the end included) and the peak resident memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mbpo.training.run_folder import commit, versions


def measure(cache: str, folder: Path, seed: int) -> dict[str, float]:
    """One run as a whole process."""
    command = [sys.executable, "-m", "mbpo.cli.main", "train", "--seed", str(seed), "--steps", "600"]
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    started = time.monotonic()
    process = subprocess.Popen([*command, "--out", str(folder)], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"the run failed with status {status}")
    return {"seconds": round(time.monotonic() - started, 1), "peak_rss_mb": round(usage.ru_maxrss / 1024)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    runs: list[dict[str, object]] = []
    for repeat in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            for kind in ("cold", "warm"):
                result = measure(f"{scratch}/cache", Path(scratch) / kind, repeat)
                runs.append({"kind": kind, "seed": repeat, **result})
                print(runs[-1], flush=True)
    about = {"command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({**about, "cores": os.cpu_count(), "runs": runs}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
