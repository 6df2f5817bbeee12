"""The model's three uses: fitting it, branching in it, planning with it, against mbrl-lib 0.2.0.

Seven members, five of them elites, of four layers of 200 (MBPO's Hopper and HalfCheetah), on ten
thousand rows of which a fifth are held out.
"""

from typing import Any

from benchmarks.speed import flops
from benchmarks.speed.harness import Side, Workload

OBS, ACT, BATCH = 17, 6, 256
MODEL: dict[str, Any] = {
    "obs_dim": OBS,
    "action_dim": ACT,
    "rows": 10_000,
    "capacity": 100_000,
    "members": 7,
    "elites": 5,
    "model_sizes": [200, 200, 200, 200],
    "batch_size": BATCH,
    "holdout_ratio": 0.2,
    "epochs": 4,
}
POLICY = (256, 256)


def fit() -> Workload:
    """A refit of a fixed number of epochs, hold-out scores and normalisers included."""
    job = {**MODEL, "workload": "fit"}
    return Workload(
        title="ensemble fit, 7 × 4×200",
        unit="gradient steps/s",
        sides=(Side("mbpo", "ours.py", job), Side("mbrl-lib", "mbrl_lib.py", job, peer="mbrl")),
        flops_per_unit=flops.fit_step(OBS, ACT, MODEL["model_sizes"], MODEL["members"], BATCH),
        formula="seven members forward and back, each on its own batch; hold-out scores count as nothing",
    )


def rollouts() -> Workload:
    """20,000 branches of 5 steps into the imagined buffer."""
    job = {**MODEL, "workload": "rollouts", "branches": 20_000, "length": 5, "hidden_sizes": list(POLICY)}
    return Workload(
        title="branched rollouts, 20k rows, k = 5",
        unit="rows/s",
        sides=(Side("mbpo", "ours.py", job), Side("mbrl-lib", "mbrl_lib.py", job, peer="mbrl")),
        flops_per_unit=flops.rollout_row(OBS, ACT, MODEL["model_sizes"], POLICY),
        formula="actor and one member forward",
    )


def planning() -> Workload:
    """One decision by CEM with TS∞."""
    settings = {"horizon": 15, "population": 350, "iterations": 5, "cem_elites": 35, "particles": 20}
    evaluations = settings["horizon"] * settings["population"] * settings["iterations"] * settings["particles"]
    job = {**MODEL, **settings, "workload": "planning"}
    return Workload(
        title="CEM plan: 350 sequences of 15 steps, 20 particles, 5 iterations",
        unit="plans/s",
        sides=(Side("mbpo", "ours.py", job), Side("mbrl-lib", "mbrl_lib.py", job, peer="mbrl")),
        flops_per_unit=flops.plan(OBS, ACT, MODEL["model_sizes"], evaluations),
        formula="one member forward for each of 525,000 imagined steps",
    )


WORKLOADS = {"fit": fit, "rollouts": rollouts, "planning": planning}
