"""The table of results that came out again, or did not, from `results/reproduced.csv`."""

import csv

from read_results import RESULTS


def reproduced() -> str:
    """What was trained again of each folder, and how far it is the same."""
    lines = [
        "| results, one seed | trained again to step | numbers compared | come out, bit for bit |",
        "|---" * 4 + "|",
    ]
    with (RESULTS / "reproduced.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["results"].removeprefix("benchmarks/results/")
            lines.append(f"| [{name}](results/{name}) | {row['until']} | {row['numbers']} | {_told(row)} |")
    return "\n".join(lines)


def _told(row: dict[str, str]) -> str:
    if not row["differs_first"]:
        return "all"
    numbers = f" was {float(row['was']):.5g}, is {float(row['is']):.5g}" if row["was"] else ""
    return f"until step {row['same_until']}: {row['differs_first']}{numbers}"
