"""Every system call that changes a file, failing once each, while a run writes a checkpoint and a record.

    python benchmarks/faults/failing_writes.py --out benchmarks/results/faults/failing_writes.csv

A library that stands between Python and the system (`failing_calls.c`, compiled with `cc` and put in
place by LD_PRELOAD) lets the n-th opening, writing, truncating, flushing, renaming or deleting fail with
ENOSPC, with EIO, or after half of the bytes, as where the disk has just become full. For every n that a
checkpoint has, and every error, a run stands at its third checkpoint and writes its fourth. Then the folder
is read: the checkpoint must be the third or the fourth, whole, with the arrays it had when it was written;
the records must be whole; and with the disk well again the run must be able to go on.
"""

import argparse
import csv
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

COLUMNS = ("call", "kind", "error", "told", "checkpoint_step", "whole", "records_whole", "went_on")
HALF = -1
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "short write": HALF}
ROWS = 9000
"""Of each replay buffer: three files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        sys.exit(inject(arguments.out))
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "failing_calls.so"
        source = Path(__file__).with_name("failing_calls.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        command = [sys.executable, __file__, "--inside", "--out", str(arguments.out)]
        sys.exit(subprocess.run(command, env=os.environ | {"LD_PRELOAD": str(library)}).returncode)


def inject(out: Path) -> int:
    """Write a checkpoint once for every fault, and look at what is there."""
    import numpy as np

    from mbpo.errors import MBPOError, TrainingError
    from mbpo.training.checkpoint import leftovers, read_checkpoint, write_checkpoint
    from mbpo.training.logbook import Logbook, read_records
    from mbpo.training.serialize import Ring

    faults = ctypes.CDLL(None)
    faults.failing_calls_last.restype = ctypes.c_char_p
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS + 400, 8)).astype(np.float32)

    def state(step: int):
        def column(size):
            import jax.numpy as jnp

            return jnp.asarray(rows[:size] + np.float32(0))

        tensors = {"weights": np.full((256, 256), step, np.float32), "count": np.array(step, np.int32)}
        size = ROWS + step
        rings = {"real": Ring({"real.data.obs": column(size)}, size, size, 10**6)}
        return tensors, {"env_step": size, "records": step}, rings

    def save(folder, step, book, last):
        tensors, progress, rings = state(step)
        book.write({"env_step": step, "alpha": 0.5})
        book.sync()
        return write_checkpoint(folder / "checkpoint", tensors, progress, rings, grown=("real",), last=last)

    def whole(folder):
        """The step whose arrays the checkpoint holds, all of them."""
        checkpoint = read_checkpoint(folder / "checkpoint")
        step = checkpoint.progress["env_step"] - ROWS
        tensors, _, _ = state(step)
        same = all(np.array_equal(checkpoint.read(name), array) for name, array in tensors.items())
        return step, same and np.array_equal(checkpoint.read("real.data.obs"), rows[: ROWS + step])

    found = []
    with tempfile.TemporaryDirectory() as base:
        prepared = Path(base) / "prepared"
        book, last = Logbook(prepared, keep=[]), None
        for step in (1, 2, 3):
            last = save(prepared, step, book, last)
        book.close()
        for name, error in ERRORS.items():
            call = 0
            while True:
                folder = Path(base) / "run"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(prepared, folder)
                book = Logbook(folder, keep=read_records(folder))
                faults.failing_calls_arm(ctypes.c_long(call), ctypes.c_int(error))
                told = ""
                try:
                    save(folder, 4, book, last)
                except TrainingError as failure:
                    told = str(failure)
                finally:
                    faults.failing_calls_disarm()
                struck = faults.failing_calls_last().decode()
                if not struck:
                    break
                try:
                    step, good = whole(folder)
                    records = [record["env_step"] for record in read_records(folder)]
                    again = save(folder, 5, book, last)
                    went_on = whole(folder) == (5, True) and not leftovers(folder / "checkpoint") and again is not None
                except MBPOError as failure:
                    step, good, records, went_on = -1, False, [str(failure)], False
                found.append(
                    {
                        "call": call,
                        "kind": struck,
                        "error": name,
                        "told": "yes" if told else "not needed",
                        "checkpoint_step": step,
                        "whole": good,
                        "records_whole": records in ([1, 2, 3], [1, 2, 3, 4]),
                        "went_on": went_on,
                    }
                )
                book.close()
                call += 1
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(found)
    lost = [row for row in found if not (row["whole"] and row["checkpoint_step"] in (3, 4) and row["records_whole"])]
    stuck = [row for row in found if not row["went_on"]]
    print(
        f"{len(found)} faults ({dict(Counter((row['kind']) for row in found))}): {len(lost)} checkpoints lost, "
        f"{len(stuck)} runs that could not go on"
    )
    return 1 if lost or stuck else 0


if __name__ == "__main__":
    main()
