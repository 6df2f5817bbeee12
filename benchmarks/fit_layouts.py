"""Three ways to order the arithmetic of an ensemble's fit, timed in turns.

    python benchmarks/fit_layouts.py --out benchmarks/results/fit_layouts.json

Gradient steps of seven members of four layers of 200 units, each on rows of its own:

    unrolled       a step of every member, one written out after the other in one gradient
    step by step   a step of every member, by one compiled loop over members
    member         all steps of an epoch of a member, then the next one (what the library does)

Each on one thread and on as many as there are cores, in processes of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

MEMBERS, ROWS, STEPS, REPEATS = 7, 20_000, 40, 9
OBS_DIM, ACTION_DIM = 17, 6
BATCHES = (64, 256)


def layouts(batch_size: int) -> dict[str, Callable[[Any], Any]]:
    """Compiled functions from a key to the parameters after `STEPS` steps."""
    import jax
    import jax.numpy as jnp
    import optax

    from mbpo.data.replay import insert_rows, make_replay, take
    from mbpo.data.split import draw_train_slots, make_split, num_train_entries
    from mbpo.model.ensemble import make_ensemble
    from mbpo.model.epoch import MemberData, init_optimizer, normalized_rows, train_epoch
    from mbpo.model.fit import member_loss
    from mbpo.types import Transition

    shape = {"ensemble_size": MEMBERS, "num_elites": 5, "hidden_sizes": (200,) * 4, "residual": True}
    ensemble = make_ensemble(jax.random.key(0), OBS_DIM, ACTION_DIM, **shape)
    obs, next_obs = jax.random.normal(jax.random.key(1), (2, ROWS, OBS_DIM))
    action = jax.random.normal(jax.random.key(2), (ROWS, ACTION_DIM))
    data = Transition(obs, action, obs[:, 0], next_obs, jnp.zeros(ROWS, bool))
    replay = insert_rows(make_replay(ROWS, OBS_DIM, ACTION_DIM), data, jnp.ones(ROWS, bool))
    split = make_split(jax.random.key(3), ROWS, MEMBERS, 0.2)
    entries = num_train_entries(split, replay.size)
    optimizer = optax.adam(1e-3)
    known = MemberData(ensemble, replay, split, entries, batch_size)

    def loss(member, x, y, _=None):
        return member_loss(member, x, y, weight_decay=1e-4)

    def batches(key, i):
        keys = jax.random.split(jax.random.fold_in(key, i), MEMBERS)
        slots = jax.vmap(lambda *member: draw_train_slots(*member, batch_size))(split.train_slots, entries, keys)
        return normalized_rows(ensemble, take(replay, slots))

    def unrolled(key):
        members = tuple(jax.tree.map(lambda leaf, m=m: leaf[m], ensemble.params) for m in range(MEMBERS))

        def step(i, carry):
            members, state = carry
            x, y = batches(key, i)
            grads = jax.grad(lambda all_: sum(map(loss, all_, x, y)))(members)
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(members, updates), state

        return jax.lax.fori_loop(0, STEPS, step, (members, optimizer.init(members)))[0]

    def step_by_step(key):
        def step(i, carry):
            params, state = carry
            grads = jax.lax.map(lambda row: jax.grad(loss)(*row), (params, *batches(key, i)))
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, STEPS, step, (ensemble.params, optimizer.init(ensemble.params)))[0]

    def member(key):
        state = init_optimizer(optimizer, ensemble.params)
        return train_epoch(known, loss, optimizer, ensemble.params, state, key, batches=STEPS)[0]

    return {"unrolled": jax.jit(unrolled), "step by step": jax.jit(step_by_step), "member": jax.jit(member)}


def measure(batch_size: int) -> dict[str, dict[str, float]]:
    """Seconds of the first call and median milliseconds per gradient step of all members."""
    import jax

    functions, found = layouts(batch_size), {}
    for name, function in functions.items():
        started = time.perf_counter()
        jax.block_until_ready(function(jax.random.key(0)))
        found[name] = {"first_call_s": round(time.perf_counter() - started, 2)}
    turns: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(REPEATS):
        for name, function in functions.items():
            started = time.perf_counter()
            jax.block_until_ready(function(jax.random.key(repeat)))
            turns[name].append((time.perf_counter() - started) / STEPS * 1e3)
    for name, values in turns.items():
        spread = {"ms": median(values), "low": min(values), "high": max(values)}
        found[name] |= {key: round(value, 2) for key, value in spread.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batch", type=int, help="measure this size here and print it as JSON")
    known = parser.parse_args()
    if known.batch is not None:
        print(json.dumps(measure(known.batch)))
        return
    from mbpo.training.run_folder import commit, versions

    cores = sorted(os.sched_getaffinity(0))
    found = []
    for threads in dict.fromkeys((1, len(cores))):
        for batch_size in BATCHES:
            pinned = ["taskset", "-c", ",".join(map(str, cores[-threads:]))]
            command = [*pinned, sys.executable, __file__, "--batch", str(batch_size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            for layout, values in json.loads(done.stdout).items():
                found.append({"threads": threads, "batch_size": batch_size, "layout": layout, **values})
                print(found[-1], flush=True)
    if known.out is not None:
        about = {"command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions()}
        known.out.write_text(json.dumps({**about, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
