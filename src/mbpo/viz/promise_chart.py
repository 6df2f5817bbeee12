"""What the model promises the policy and what the world pays it, as a chart and as a sentence."""

from mbpo.trust.promise import Promise
from mbpo.viz.charts import COLOURS, Chart, Series

SURE = 2.0
"""Standard errors from which a difference is called one."""


def promised(found: Promise) -> str:
    """The last step in one sentence."""
    real, model, error = found.paid_real[-1], found.paid_model[-1], found.error[-1]
    lives, imagined = found.alive_real[-1], found.alive_model[-1]
    gap = model - real
    if abs(gap) <= SURE * error or not error >= 0:
        verdict = "no more than chance would make"
    else:
        verdict = "more than there is" if gap > 0 else "less than there is"
    ends = "" if lives == imagined == 1 else f"; {imagined:.0%} of branches live that long there, and {lives:.0%} here"
    return (
        f"To its own policy the model promises {model:.4g} in {found.step[-1]} steps and the world pays {real:.4g}: a "
        f"difference of {gap:+.3g} ± {error:.1g} (standard error), {verdict}{ends}."
    )


def promise_chart(found: Promise) -> Chart:
    """Rewards summed along branches of the policy's own, imagined and real."""
    step = found.step.astype(float)
    low, high = found.paid_model - found.error, found.paid_model + found.error
    return Chart(
        name="promise",
        title="What the model promises the policy, and what the world pays",
        x_label="steps of the policy",
        y_label="rewards, summed",
        series=[
            Series(step, low, "± a standard error of the difference", "band", COLOURS[1], upper=high),
            Series(step, found.paid_real, "the world", colour="#222222", width=2.4),
            Series(step, found.paid_model, "the model", colour=COLOURS[1], width=2.4),
        ],
        conclusion=promised(found),
        how=(
            f"From {found.starts} states of the fresh trajectories the policy goes on by itself, its actions sampled: "
            "in black what the recording paid from there, in colour what the model pays, where every action answers "
            "an imagined state. Nothing is paid after an end. The policy was trained on what its model says, and "
            "finds where that is wrong in its favour: the more the model is above, the less an imagined return says."
        ),
    )
