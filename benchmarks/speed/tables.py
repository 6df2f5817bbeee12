"""The tables of docs/speed.md, from the saved results; what was not measured is left out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "results" / "speed"
COMPARISONS = ("sac_256", "sac_64", "fit", "rollouts", "planning")
RUNS = ("pendulum", "hopper", "rows", "start", "profiles", "side_by_side")


def saved(name: str) -> dict[str, Any]:
    """A workload's results; without any, `{"threads": {}}`."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"threads": {}}


def measured(names: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """`(name, threads, the workload, what was found)` of everything saved."""
    for name in names:
        workload = saved(name)
        for threads, found in sorted(workload["threads"].items()):
            yield name, threads, workload, found


def summary_of(name: str, threads: str) -> dict[str, Any] | None:
    """What was found, in brief; None if it was not measured."""
    found = saved(name)["threads"].get(threads)
    return None if found is None else found["summary"]


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: dict[str, float]) -> str:
    return "{median:.2f}× ({low:.2f} to {high:.2f})".format(**ratio)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")


def comparison() -> str:
    """Throughput, ratio, fraction of peak and memory of every side."""
    head = ("workload", "threads, peak", "", "throughput (range)", "of peak", "ours against it (range)", "memory, MB")
    rows = []
    for _, threads, workload, found in measured(COMPARISONS):
        peak = found["summary"]["peak_gflops"]["median"]
        for name, side in found["summary"]["sides"].items():
            start = (workload["title"], f"{threads}, {peak:.0f} GFLOP/s", name)
            if "failure" in side:
                rows.append((*start, f"could not run: {side['failure']}", "", "", ""))
                continue
            rate = "{} {} ({} to {})".format(
                number(side["rate"]["median"]),
                workload["unit"],
                number(side["rate"]["low"]),
                number(side["rate"]["high"]),
            )
            against = times(side["ours_against_it"]) if "ours_against_it" in side else ""
            used = f"{100 * side['fraction_of_peak']['median']:.0f} %"
            rows.append((*start, rate, used, against, f"{side['peak_rss_mb']:.0f}"))
    return table(head, rows)


def formulas() -> str:
    """Floating-point operations of each unit of work."""
    rows = []
    for name in COMPARISONS:
        workload = saved(name)
        if "formula" in workload:
            unit = workload["unit"].removesuffix("s/s")
            rows.append((workload["title"], f"{workload['flops_per_unit'] / 1e6:,.2f} per {unit}", workload["formula"]))
    return table(("workload", "million operations", "what is counted"), rows)


def targets() -> str:
    """What the project set itself, beside what was found."""
    return table(("", "aim", "found"), [*_comparison_targets(), *_run_targets()])


def _comparison_targets() -> list[tuple[str, str, str]]:
    aims = (
        ("sac_256", "stable-baselines3", 2.2),
        ("sac_256", "sbx", 1.1),
        ("sac_64", "stable-baselines3", 6),
        ("fit", "mbrl-lib", 2),
        ("rollouts", "mbrl-lib", 10),
        ("planning", "mbrl-lib", 5),
    )
    rows = []
    for name, peer, aim in aims:
        found = []
        for threads in ("1", "2"):
            summary = summary_of(name, threads)
            side = {} if summary is None else summary["sides"].get(peer, {})
            if "ours_against_it" in side:
                found.append(f"{side['ours_against_it']['median']:.2f}× on {threads}")
        if found:
            rows.append((f"{saved(name)['title']}, against {peer}", f"{aim}×", ", ".join(found)))
    for name, share in (("sac_256", 70), ("fit", 60)):
        one, two = summary_of(name, "1"), summary_of(name, "2")
        title = saved(name).get("title", name)
        if one is not None:
            used = 100 * one["sides"]["mbpo"]["fraction_of_peak"]["median"]
            rows.append((f"{title}, one thread", f"{share} % of peak", f"{used:.0f} %"))
        if name == "sac_256" and one is not None and two is not None:
            gain = two["sides"]["mbpo"]["rate"]["median"] / one["sides"]["mbpo"]["rate"]["median"]
            rows.append((f"{title}, two threads against one", "1.6×", f"{gain:.2f}×"))
    return rows


def _run_targets() -> list[tuple[str, str, str]]:
    rows = []
    for _, threads, _, found in measured(("pendulum", "hopper", "rows", "start")):
        summary, where = found["summary"], f"{threads} thread{'s' * (threads != '1')}"
        if "ours_against_it" in summary:
            title = f"whole MBPO on Pendulum-v1 to {summary['steps']} steps, against mbrl-lib, {where}"
            rows.append((title, "8×", times(summary["ours_against_it"])))
        if "ratio" in summary:
            by_length = ", ".join(f"{ratio:.2f} at k = {k}" for k, ratio in summary["ratios"].items())
            title = f"MBPO at Hopper's sizes over its updates alone, {where}"
            rows.append((title, "at most 1.25", f"{summary['ratio']:.3f} ({by_length})"))
            buffers, limit = summary["buffers_mb"], summary["memory_limit_mb"]
            aim = f"at most 1.2 × {buffers:.0f} MB + 600 MB = {limit:.0f} MB"
            peaks = "{warm:.0f} MB; while code is compiled {cold:.0f} MB".format(**summary["peak_rss_mb"])
            rows.append((f"its peak memory, {where}", aim, peaks))
        if "largest_over_smallest" in summary:
            both = f"{summary['largest_over_smallest']:.3f}; without refits {summary['step_only']:.2f}"
            rows.append((f"cost per step, 1k to 1M stored rows, largest over smallest, {where}", "at most 1.10", both))
        if "cold" in summary:
            rows += _start_targets(summary, where)
    return rows


def _start_targets(summary: dict[str, Any], where: str) -> list[tuple[str, str, str]]:
    rows = []
    for kind, first_limit, limit in (("cold", 4, 12), ("warm", 4, 2)):
        first, compiled = summary[kind]["first_step_seconds"], summary[kind]["compile_seconds"]
        rows.append((f"command to first step, {kind} cache, {where}", f"{first_limit} s", f"{first['median']:.1f} s"))
        rows.append((f"all compilation, {kind} cache, {where}", f"{limit} s", f"{compiled['median']:.1f} s"))
    return rows


def stored_rows() -> str:
    """Cost per step by stored rows."""
    rows = []
    for _, _, _, found in measured(("rows",)):
        for count, entry in found["summary"]["sizes"].items():
            cells = (1000 * entry["seconds"], 1000 * entry["step_seconds"], entry["learn_seconds"], entry["grad_steps"])
            rows.append((f"{int(count):,}", *("{:.1f} {:.1f} {:.2f} {:.0f}".format(*cells).split())))
    return table(("stored rows", "ms per step", "of it acting and updates", "s per refit", "its gradient steps"), rows)


def profile() -> str:
    """Milliseconds of each section per environment step."""
    rows = []
    for _, threads, _, found in measured(("profiles",)):
        for task, sections in found["summary"].items():
            # Compilation is once a run, and `start` measures it.
            running = {name: value for name, value in sections.items() if name != "compile"}
            total = sum(running.values())
            for name, value in sorted(running.items(), key=lambda section: -section[1]):
                if value >= 0.005 * total:
                    rows.append((task, threads, name, f"{value:.2f}", f"{100 * value / total:.1f} %"))
            rows.append((task, threads, "in all", f"{total:.2f}", ""))
    return table(("task", "threads", "section", "ms per step", "share"), rows)


def side_by_side() -> str:
    """Updates a second by device and seeds in one process."""
    rows = []
    for _, threads, _, found in measured(("side_by_side",)):
        for platform, device in found["summary"]["devices"].items():
            where = (
                f"{device['kind']}, {threads} thread{'s' * (threads != '1')}" if platform == "cpu" else device["kind"]
            )
            for seeds, rate in device["updates_per_second"].items():
                rows.append((where, seeds, number(rate), number(int(seeds) * rate)))
    return table(("device", "seeds in one process", "updates a second of each", "in all"), rows)


def fit_layouts() -> str:
    """Milliseconds per gradient step of all members, by the order of the arithmetic."""
    path = RESULTS.parent / "fit_layouts.json"
    found = json.loads(path.read_text())["found"] if path.exists() else []
    rows = []
    for entry in found:
        first = (entry["layout"], str(entry["threads"]), str(entry["batch_size"]))
        spread = "{ms:.1f} ({low:.1f} to {high:.1f})".format(**entry)
        rows.append((*first, spread, f"{entry['first_call_s']:.1f}"))
    return table(("order", "threads", "rows", "ms per step of all members (range)", "s of the first call"), rows)


def method() -> str:
    """When and on what each was measured."""
    rows = []
    for name, threads, _, found in measured((*COMPARISONS, *RUNS)):
        about = found["about"]
        kept = ("python", "jax", "numpy", "torch", "stable-baselines3", "sbx-rl", "mbrl")
        versions = {**about["versions"]}
        for side in found.get("sides", {}).values():
            versions = {**side.get("versions", {}), **versions}
        listed = ", ".join(f"{package} {versions[package]}" for package in kept if package in versions)
        turns = found["turns"]
        repeats = len(turns) if isinstance(turns, list) else max(len(of) for of in turns.values())
        machine = f"{about['cores']} × {about['processor']}"
        commit = (about["commit"] or "unknown")[:9]
        others = found["summary"].get("others_share")
        busy = "" if others is None else f"{100 * others:.0f} %"
        rows.append((name, threads, str(repeats), about["date"], f"`{commit}`", busy, machine, listed))
    return table(("workload", "threads", "repeats", "date", "commit", "other work", "machine", "versions"), rows)


TABLES = {
    "speed_targets": targets,
    "speed_comparison": comparison,
    "speed_formulas": formulas,
    "speed_rows": stored_rows,
    "speed_profile": profile,
    "speed_side_by_side": side_by_side,
    "fit_layouts": fit_layouts,
    "speed_method": method,
}
