"""A million inputs, guided by coverage, for everything that reads what a run left behind.

    pip install atheris==3.0.0
    PYTHONPATH=tests python benchmarks/faults/fuzz.py --inputs 1000000 --out benchmarks/results/faults/fuzz.json

libFuzzer (by way of atheris) changes files of a small run so that they reach new branches of our
readers; `tests/fuzz_readers.py` puts each in place and reads it. An error that is not documented
stops it. Python's own audit of what the process does is kept too: a file opened for
writing outside of the folder, and anything that compiles, imports or executes, counts as a breach.
"""

import argparse
import faulthandler  # noqa: F401  Atheris imports it when it tells of a slow input; here, before it is watched for.
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mbpo.training"]):
    from fuzz_readers import Readers

    from mbpo.training.run_folder import commit, versions

MAX_INPUT_BYTES = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    # In memory, where there is such a place: a million small files would wear out a disk.
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    corpus = base / "corpus"
    corpus.mkdir()
    readers = Readers(base)
    for number, seed in enumerate(readers.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    readers.watch()
    outside = set(base.iterdir())
    outcomes: Counter[str] = Counter()
    started = time.monotonic()
    command = " ".join(["python", *sys.argv])

    def report() -> None:
        summary = {
            "inputs": outcomes.total(),
            "errors_not_documented": 0,  # One would have ended this process.
            "files_created_outside_the_folder": len(set(base.iterdir()) - outside),
            "breaches": readers.breaches[:20],
            "outcomes": dict(sorted(outcomes.items())),
            "inputs_that_reached_new_code": len(list(corpus.iterdir())),
            "seconds": round(time.monotonic() - started),
            "command": command,
            "commit": at_commit,
            "versions": versions() | {"atheris": "3.0.0"},
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(summary, indent=1) + "\n")

    def one(data: bytes) -> None:
        outcomes[readers.read(data)] += 1
        if readers.breaches:
            raise AssertionError(readers.breaches)
        if outcomes.total() % 10_000 == 0:
            readers.watching = False
            report()

    at_commit = commit()
    report()
    options = [
        f"-atheris_runs={arguments.inputs}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-seed={arguments.seed}",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=4096", f"-artifact_prefix={corpus}/", str(corpus)], one)
    atheris.Fuzz()
    report()


if __name__ == "__main__":
    main()
