"""The tables of docs/reliability.md, from the committed results; `benchmarks/tables.py` puts them into the page."""

import csv
import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "results" / "faults"


def _rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open() as file:
        return list(csv.DictReader(file))


def faults() -> str:
    """What was done to runs, and what was lost."""
    writes = _rows("failing_writes.csv")
    fuzzed = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("fuzz*.json"))]
    fuzz = {name: sum(part[name] for part in fuzzed) for name in fuzzed[0] if isinstance(fuzzed[0][name], int)}
    parts = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("kills*/summary.json"))]
    kills = {name: sum(part[name] for part in parts) for name in parts[0] if isinstance(parts[0][name], int)}
    repeated = max(part["most_steps_repeated"] for part in parts)
    lost = sum(row["whole"] != "True" or row["records_whole"] != "True" for row in writes)
    stuck = sum(row["went_on"] != "True" for row in writes)
    outcomes = [item for part in fuzzed for item in part["outcomes"].items()]
    refused = sum(count for name, count in outcomes if not name.endswith(": read"))
    breaches = sum(len(part["breaches"]) for part in fuzzed)
    lines = [
        "| done to it | how often | came of it |",
        "|---|---|---|",
        f"| SIGKILL at a random instant, {kills['kills_inside_a_write']} of them inside a write | {kills['kills']} in "
        f"{kills['runs_finished']} runs that were finished | {kills['runs_lost']} runs lost, "
        f"{kills['runs_with_other_weights_or_records']} with other weights, replay or records than the uninterrupted "
        f"run; at most {repeated} steps repeated, where an episode has {parts[0]['episode_steps']} |",
        f"| one system call of a checkpoint and its record fails: ENOSPC, EIO, short write | {len(writes)}, every call "
        f"once with each | {lost} checkpoints or records lost, {stuck} runs that could not go on |",
        f"| any bytes in place of its files, guided by coverage | {fuzz['inputs']} | {fuzz['errors_not_documented']} "
        f"errors that are not documented, {fuzz['files_created_outside_the_folder']} files made outside the folder, "
        f"{breaches} times that anything was executed or imported; {refused} refused |",
    ]
    return "\n".join(lines)


def soak() -> str:
    """Memory, time and disk at some steps of a long run."""
    rows = _rows("soak.csv")
    chosen = [row for row in rows if int(row["env_step"]) in {10_000, 20_000, 50_000, 100_000}]
    chosen += [row for row in rows if int(row["env_step"]) >= 200_000 and int(row["env_step"]) % 200_000 == 0]
    if rows[-1] not in chosen:
        chosen.append(rows[-1])
    columns = ("env steps", "CPU µs a step", "resident MB", "open files", "folder MB", "checkpoint files")
    head = f"| {' | '.join(columns)} | KB written by the last checkpoint | records |"
    lines = [head, "|---" * 8 + "|"]
    names = (
        "env_step",
        "cpu_us_per_step",
        "resident_mb",
        "open_files",
        "folder_mb",
        "checkpoint_files",
        "checkpoint_kb",
        "records",
    )
    return "\n".join([*lines, *(f"| {' | '.join(row[name] for name in names)} |" for row in chosen)])


def peers() -> str:
    """What three libraries did in the same situations."""
    lines = ["| situation | mbpo | stable-baselines3 2.9.2 | mbrl-lib 0.2.0 |", "|---|---|---|---|"]
    for row in _rows("peers.csv"):
        cells = [" ".join(row[name].split()).replace("|", "∣") for name in ("situation", "mbpo", "sb3", "mbrl")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
