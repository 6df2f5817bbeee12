"""SAC updates at MBPO's size and at a quarter of its width, against stable-baselines3 and sbx.

A call is 20 updates on batches drawn from a buffer of real transitions, what MBPO does at every
environment step: here one transition is stored too, and the peers' `train(20, 256)` is called.
"""

from benchmarks.speed import flops
from benchmarks.speed.harness import Side, Workload

OBS, ACT, BATCH, UPDATES = 17, 6, 256, 20
ROWS, CAPACITY = 10_000, 100_000


def workload(width: int) -> Workload:
    """Two hidden layers of `width`."""
    job = {
        "workload": "sac",
        "obs_dim": OBS,
        "action_dim": ACT,
        "rows": ROWS,
        "capacity": CAPACITY,
        "batch_size": BATCH,
        "updates_per_call": UPDATES,
        "hidden_sizes": [width, width],
    }
    return Workload(
        title=f"SAC updates, 2×{width}",
        unit="updates/s",
        sides=(
            Side("mbpo", "ours.py", job),
            Side("stable-baselines3", "sb3.py", {**job, "package": "stable_baselines3"}, peer="sb3"),
            Side("sbx", "sb3.py", {**job, "package": "sbx"}, peer="sbx"),
        ),
        flops_per_unit=flops.sac_update(OBS, ACT, (width, width), BATCH),
        formula="actor and two target critics forward; two critics forward and back; actor and two critics "
        "forward, back through both to the actor's weights",
    )


WORKLOADS = {"sac_256": lambda: workload(256), "sac_64": lambda: workload(64)}
