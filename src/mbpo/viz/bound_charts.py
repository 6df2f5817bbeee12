"""The bound of theorem 4.3 with the run's numbers, its terms over the run, and the k the run used, as charts."""

import numpy as np

from mbpo.theory import best_branch_length
from mbpo.trust.bound import MAX_LENGTH
from mbpo.trust.measure import Trust
from mbpo.trust.one_step import distance_as_variation
from mbpo.viz.charts import COLOURS, Chart, Mark, Series

NOT_RECORDED = "not recorded by this run"


def bound_chart(trust: Trust) -> Chart:
    """Theorem 4.3's penalty against k, at both resolutions."""
    assert trust.bound is not None and trust.own_bound is not None and trust.policy_shift is not None
    main, own = trust.bound, trust.own_bound
    shift = trust.policy_shift
    how_shift = (
        "as the run recorded it"
        if shift.source == "recorded"
        else f"a lower bound from the replay buffer, so that k* may be larger (equal policies could score up to "
        f"{shift.noise:.2g} by chance)"
    )
    own_label = f"penalty (ε′ = {own.on_policy_error:.2g}, model's own width)"
    vacuous = 2 * main.r_max / (1 - main.gamma)
    smallest = main.penalty[min(main.best, len(main.penalty) - 1)]
    tells = (
        "more than returns can differ at all, so the bound guarantees nothing; what it does tell is where it is lowest"
        if smallest > vacuous
        else "less than returns can differ, so the bound does guarantee something"
    )
    return Chart(
        name="bound",
        title="Theorem 4.3's penalty against the rollout length k",
        x_label="rollout length k",
        y_label="penalty on the return",
        series=[
            Series(main.k, main.penalty, f"penalty (ε′ = {main.on_policy_error:.2g}, data's resolution)", width=3),
            Series(main.k, main.shift_part, "its part from policy shift", colour=COLOURS[2], width=1.4),
            Series(main.k, main.model_part, "its part from model error", colour=COLOURS[3], width=1.4),
            Series(own.k, own.penalty, own_label, colour=COLOURS[1], dashed=True),
        ],
        marks=[
            Mark(main.best, f"k* = {main.best}", colour=COLOURS[0]),
            Mark(own.best, f"k* = {own.best} at the model's own width", colour=COLOURS[1]),
        ],
        conclusion=(
            f"The bound is lowest at k* = {main.best} with the error at the data's resolution, and at {own.best} with "
            f"the stricter one; this run uses {_used(trust)}. The smallest penalty, {smallest:.3g}, is {tells}."
        ),
        how=(
            "Long branches wash out the policy shift (γ^k falls) and pay for model error at every step (k·ε′). "
            f"γ = {main.gamma:g} is the run's; r_max = {main.r_max:.3g} is the largest |reward| in its replay buffer; "
            f"ε_π = {main.policy_shift:.2g} is {how_shift}. ε′, the model's error on the policy's own states, is not "
            "measurable as it stands: see what stands in for what, below. The theorem adds one-step errors up and "
            "knows nothing of dynamics that stretch them, so hold k* against the compounding figure: past the step "
            "where a branch is no better than a guess, k* does not count."
        ),
    )


def _used(trust: Trust) -> str:
    track = trust.history.get("rollout_length")
    return "no recorded k" if track is None else f"k = {track.last:.0f}"


def terms_charts(trust: Trust) -> list[Chart]:
    """ε_m, ε_m′ and ε_π over the run, and the k* they give."""
    assert trust.bound is not None
    holdout = trust.history.get("model_holdout_error")
    if holdout is None:
        return []
    outputs = len(trust.output_names)
    variation = distance_as_variation(np.sqrt(outputs) * holdout.value)
    label = "ε_m from the hold-out error"
    series = [Series(holdout.env_step, variation, label)]
    for name, colour, words in (
        ("on_policy_error", COLOURS[3], "ε_m′ as recorded"),
        ("policy_shift", COLOURS[2], "ε_π as recorded"),
    ):
        if name in trust.history:
            track = trust.history[name]
            series.append(Series(track.env_step, track.value, words, colour=colour))
    now = np.array([float(trust.env_step)])
    series.append(Series(now, np.array([trust.on_policy_error]), "ε_m′ measured now", "points", COLOURS[3]))
    series.append(Series(now, np.array([trust.bound.policy_shift]), "ε_π now", "points", COLOURS[2]))
    gamma, shift = trust.bound.gamma, trust.bound.policy_shift
    first, last = (
        best_branch_length(gamma, float(error), shift, max_length=MAX_LENGTH) for error in variation[[0, -1]]
    )
    absent = [name for name in ("policy_shift", "on_policy_error") if name not in trust.history]
    note = f" {' and '.join(absent)}: {NOT_RECORDED}." if absent else ""
    return [
        Chart(
            name="terms",
            title="The bound's terms over the run",
            x_label="real environment steps",
            y_label="total variation",
            series=series,
            log_y=True,
            conclusion=(
                f"From its first record to its last the model's error went from {variation[0]:.2g} to "
                f"{variation[-1]:.2g}; with the policy shift measured now, that moves k* from {first} to {last}."
            ),
            how=(
                "ε_m is read off the recorded hold-out error h, a root mean square over outputs: TV at the data's "
                f"resolution is about 2Φ(√outputs · h/2) − 1.{note}"
            ),
        )
    ]


def history_charts(trust: Trust) -> list[Chart]:
    """The k used, the bound's own where recorded, and the rows that branches lost."""
    tracks = trust.history
    if "rollout_length" not in tracks:
        return []
    length = tracks["rollout_length"]
    used = Series(length.env_step, length.value, "k allowed")
    series = [used]
    endings = []
    if "rollout_rows" in tracks:
        if trust.branches_per_refit is not None:
            mean = tracks["rollout_rows"].value / trust.branches_per_refit
            label = "rows per branch that were stored"
            series.append(Series(tracks["rollout_rows"].env_step, mean, label, colour=COLOURS[1], dashed=True))
    if "bound_rollout_length" in tracks:
        track = tracks["bound_rollout_length"]
        series.append(Series(track.env_step, track.value, "k* of the bound", colour=COLOURS[2]))
    if "rollout_alive" in tracks:
        alive = tracks["rollout_alive"].value.mean()
        share = "no branch" if alive == 1 else f"{1 - alive:.1%} of the branches"
        endings.append(f"{share} ended before k (by termination, a gate, or as not finite)")
    if "rollout_nonfinite" in tracks:
        endings.append(f"{tracks['rollout_nonfinite'].value.sum():.0f} rows were cut as not finite")
    endings.append(
        f"{tracks['rollout_gated'].value.mean():.1%} of the branches were ended by a gate"
        if "rollout_gated" in tracks
        else f"branches ended by a gate: {NOT_RECORDED}"
    )
    moved = f"went from {length.value[0]:.0f} to {length.last:.0f}"
    if np.all(length.value == length.last):
        moved = f"was {length.last:.0f} throughout"
    missing = f" bound_rollout_length: {NOT_RECORDED}." if "bound_rollout_length" not in tracks else ""
    return [
        Chart(
            name="rollouts",
            title="The rollout length used, and how branches ended",
            x_label="real environment steps",
            y_label="steps",
            series=series,
            y_range=(0, 1.1 * max(float(np.max(s.y)) for s in series)),
            conclusion=f"Over the recorded run k {moved}; " + "; ".join(endings) + ".",
            how=f"From metrics.jsonl: a record per episode and evaluation, so refits in between are not seen.{missing}",
        )
    ]
