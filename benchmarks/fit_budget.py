"""What a fit may cost: gradient steps and rows a step against the error on the transitions that come next.

    python benchmarks/fit_budget.py RUN --variant dh --out benchmarks/results/fit_budget/dh.csv
    python benchmarks/fit_budget.py RUN --variant mbpo-64-1e-3-400 --every 250 ...  # and so on: VARIANTS below
    python benchmarks/fit_budget.py RUN --variant dh --warm --first 28000 --last 32000 ...
    python benchmarks/fit_budget.py RUN --variant rows-all-decay ...

RUN is any run folder with a replay buffer; its real transitions are replayed in the order in which they
came. The model is fitted to the first of them, then refitted from warm weights as more arrive, as in
training. After every fit it is judged on the next transitions, which it has not seen, brought by
policies that came later: what rollouts until the next refit will meet. One line a fit: processor
seconds (without compiling), gradient steps, the epoch that was kept, held-out error, and the error on what
came next, of the members' mean and, on average, of a member, which is what imagines. With `--warm` the first
fit begins with the model that the run ended with, and with its hold-out: for a run whose refits have come to
nothing, how others would have gone on.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from plainly import plainly

from mbpo.agents.config import ModelConfig
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig
from mbpo.agents.world_model import init_model, refit, split_rows
from mbpo.model.ensemble import predict_normalized
from mbpo.model.epoch import normalized_rows
from mbpo.training.algorithms import load
from mbpo.types import Metrics, Transition

COLUMNS = (
    "variant",
    "seed",
    "rows",
    "cpu_seconds",
    "grad_steps",
    "best_epoch",
    "holdout_error",
    "next_error",
    "next_member_error",
    "next_nll",
)


@dataclass(frozen=True)
class Variant:
    """A kind of model with some settings changed, and how often it is refitted."""

    kind: type
    changes: dict[str, Any] = field(default_factory=dict)


EQUAL_STEPS = {"min_epoch_batches": 50, "max_epoch_batches": 50, "first_fit_factor": 1}
PUBLISHED = {
    "batch_size": 2048,
    "learning_rate": 1e-3,
    "final_rate_share": 1.0,
    "improvement": 0.1,
    "min_epoch_batches": 1,
    "max_epoch_batches": 5,
}


def dh(batch_size: int, learning_rate: float, epochs: int) -> Variant:
    """Double horizon's model in so many epochs of 50 gradient steps."""
    sizes = {"batch_size": batch_size, "learning_rate": learning_rate, "max_epochs": epochs}
    return Variant(HomoscedasticConfig, sizes | EQUAL_STEPS)


DECAYING = {"learning_rate": 1e-2, "weight_decay": 0.6}
ALL_ROWS = {"bootstrap": False, "holdout_ratio": 0.05}
ANT = ALL_ROWS | DECAYING | {"weight_decay_rows": 10_000, "max_epochs": 30, "patience": 100.0}
"""The preset of Ant, but for its noise."""


def mbpo(batch_size: int, learning_rate: float, epochs: int) -> Variant:
    """MBPO's model in so many epochs of 50 gradient steps."""
    sizes = {"batch_size": batch_size, "learning_rate": learning_rate, "max_epochs": epochs}
    return Variant(ModelConfig, sizes | EQUAL_STEPS)


VARIANTS = {
    "dh": Variant(HomoscedasticConfig),
    "dh-gated": Variant(HomoscedasticConfig, {"improvement": 0.1}),
    "dh-published": Variant(HomoscedasticConfig, PUBLISHED | {"patience": 50.0, "max_epochs": 620}),
    **{f"dh-{rows}-{rate}": dh(rows, float(rate), 20) for rows in (64, 256, 2048) for rate in ("1e-3", "3e-3")},
    "rows-bootstrap": Variant(HomoscedasticConfig),
    "rows-bootstrap-decay": Variant(HomoscedasticConfig, DECAYING),
    "rows-all": Variant(HomoscedasticConfig, ALL_ROWS),
    "rows-all-decay": Variant(HomoscedasticConfig, ALL_ROWS | DECAYING),
    "unseen": Variant(HomoscedasticConfig, {"unseen_noise": True}),
    "ant": Variant(HomoscedasticConfig, ANT),
    "ant-unseen": Variant(HomoscedasticConfig, ANT | {"unseen_noise": True}),
    "mbpo": Variant(ModelConfig),
    **{f"mbpo-256-{rate}-{50 * n}": mbpo(256, float(rate), n) for rate in ("1e-3", "3e-3") for n in (1, 3, 8)},
    **{f"mbpo-64-1e-3-{50 * n}": mbpo(64, 1e-3, n) for n in (3, 8, 24)},
}


def predicted(state: Any, rows: Transition) -> tuple[Array, Array, Array]:
    """Of each member, its mean and log variance `[member, row, output]`; and what came `[row, output]`; normalised."""
    ensemble = state.ensemble
    x, y = normalized_rows(ensemble, rows)
    mean, log_var = predict_normalized(ensemble.params, jnp.broadcast_to(x, (ensemble.ensemble_size, *x.shape)))
    return mean, log_var, y


def next_scores(state: Any, rows: Transition) -> tuple[float, float, float]:
    """The mean over rows of the root of the mean square over outputs, in units of the targets' spread, of the
    elites' mean and on average of an elite; and −log likelihood under the mixture's mean and variance, without
    log √2π."""
    elites = state.ensemble.elites
    mean, log_var, y = predicted(state, rows)
    mean, variance = mean[elites], jnp.exp(log_var[elites])
    middle = mean.mean(axis=0)
    spread = variance.mean(axis=0) + mean.var(axis=0)
    error, member_error = (jnp.sqrt(jnp.mean((guess - y) ** 2, axis=-1)).mean() for guess in (middle, mean))
    nll = jnp.sum(0.5 * (middle - y) ** 2 / spread + 0.5 * jnp.log(spread), axis=-1).mean()
    return float(error), float(member_error), float(nll)


class Refit(NamedTuple):
    """One fit of a chain, and what it will be judged on."""

    rows: int
    cpu_seconds: float
    """Without compiling."""
    state: Any
    metrics: Metrics
    coming: Transition
    """The transitions up to the next fit."""
    spread: Array
    """Of each number of the observation, over all of the chain's transitions: its standard deviation."""


def refits(
    run: Path,
    variant: Variant,
    sizes: range,
    *,
    seed: int = 0,
    warm: bool = False,
    seen: Callable[[Transition], Transition] = lambda data: data,
    angles: tuple[int, ...] = (),
) -> Iterator[Refit]:
    """Fit to the first of a run's transitions, then again as more arrive.

    Args:
        sizes: Rows of each fit.
        warm: Begin with the run's own model, and its hold-out.
        seen: What the model is shown of the transitions, in the order in which they came.
        angles: Which numbers of the observation are angles to a model that is not warm.
    """
    config = variant.kind(**variant.changes)
    source = load(run)
    agent, learned = source.learned
    real, end = learned.real, sizes[-1] + sizes.step
    assert int(real.size) >= end, "the run holds fewer transitions than that"
    data = seen(jax.tree.map(lambda leaf: leaf[:end], real.data))
    split_key, init_key, fit_key = jax.random.split(jax.random.key(seed), 3)
    split, state = agent.split, learned.model
    if not warm:
        split = split_rows(config, end, split_key)
        state = init_model(replace(source.spec, obs_dim=data.obs.shape[1], angles=angles), config, init_key)
    replay = replace(real, data=data)
    fit = jax.jit(lambda state, replay, key: refit(state, replay, split, key, config, newest=sizes.step))
    compiled = fit.lower(state, replay, fit_key).compile()
    for size in sizes:
        replay = replace(replay, size=jnp.asarray(size, jnp.int32), position=jnp.asarray(size, jnp.int32))
        begun = time.process_time()
        state, metrics = jax.block_until_ready(compiled(state, replay, jax.random.fold_in(fit_key, size)))
        seconds = time.process_time() - begun
        coming = slice(size, size + sizes.step)
        yield Refit(size, seconds, state, metrics, Transition(*(leaf[coming] for leaf in data)), data.obs.std(axis=0))


def each_obs(change: Callable[[Array], Array]) -> Callable[[Transition], Transition]:
    """`refits`' `seen` for a change of observations `[row, obs]` that needs nothing else."""
    return lambda data: data._replace(obs=change(data.obs), next_obs=change(data.next_obs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, required=True)
    parser.add_argument("--first", type=int, default=5000, help="rows of the first fit")
    parser.add_argument("--every", type=int, default=1000, help="rows between fits")
    parser.add_argument("--last", type=int, default=15000, help="rows of the last fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", action="store_true", help="begin with the model that the run ended with")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    known.out.parent.mkdir(parents=True, exist_ok=True)
    sizes = range(known.first, known.last + 1, known.every)
    with known.out.open("w", newline="") as file:
        lines = csv.DictWriter(file, COLUMNS)
        lines.writeheader()
        for found in refits(known.run, VARIANTS[known.variant], sizes, seed=known.seed, warm=known.warm):
            error, member_error, nll = next_scores(found.state, found.coming)
            metrics = found.metrics
            line = {
                "variant": known.variant,
                "seed": known.seed,
                "rows": found.rows,
                "cpu_seconds": round(found.cpu_seconds, 2),
                "grad_steps": int(metrics["model_grad_steps"]),
                "best_epoch": int(metrics["model_best_epoch"]) if "model_best_epoch" in metrics else "",
                "holdout_error": round(float(metrics["model_holdout_error"]), 5),
                "next_error": round(error, 5),
                "next_member_error": round(member_error, 5),
                "next_nll": round(nll, 4),
            }
            lines.writerow(line)
            file.flush()
            print(line, flush=True)


if __name__ == "__main__":
    plainly(main)
