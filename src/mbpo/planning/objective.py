"""What action sequences earn under a model: the objective that the planners maximise.

PETS scores a sequence by particles sent through a probabilistic model (Chua et al. 2018,
arXiv:1805.12114, §5.2). How uncertainty travels is a property of the `ModelStep` handed in: one
that draws a member anew at every step is TS1, one that keeps a member per row is TS∞, and a true
simulator is neither.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.types import ModelStep

Objective: TypeAlias = Callable[
    [Float[Array, "population horizon act"], Key[Array, ""]],
    Float[Array, " population"],
]
"""`(actions, key) -> returns`, higher is better, −∞ for what must not be chosen, never NaN."""


def sequence_returns(
    model_step: ModelStep,
    obs: Float[Array, " obs"],
    actions: Float[Array, "population horizon act"],
    key: Key[Array, ""],
    *,
    num_particles: int,
    tail_steps: float = 0.0,
) -> Float[Array, " population"]:
    """Mean return of each action sequence over its particles, all starting at `obs`.

        J(a_1 … a_H) = 1/P Σ_p [ Σ_t alive_{p,t} · r(s_{p,t}, a_t)  +  n · alive_{p,H+1} · r(s_{p,H}, a_H) ]

    The second term is the simplest of terminal values (Rawlings, Mayne & Diehl 2017, *Model
    Predictive Control*, on why a finite horizon wants one): as if the last reward were earned for
    n = `tail_steps` steps more. Without it, what pays off after the horizon is not worth its cost.

    The step that ends a particle is still paid; after it the particle earns nothing. A sequence
    with a particle whose state or return is NaN or infinite is worth −∞: it left what the model
    can speak of.

    Args:
        model_step: Called once per step on `num_particles · population` rows, all rows of the
            first particle first. A model that gives equal blocks of rows to its members (TS∞)
            so gives every sequence the same members.
        key: Consumed; step `t` uses the key folded from `t`.
        tail_steps: n; 0 is the paper's.

    Returns:
        Undiscounted returns, as in the paper.
    """
    population, horizon, _ = actions.shape
    rows = num_particles * population

    def step(carry, now):  # type: ignore[no-untyped-def]
        state, alive, total, _ = carry
        t, action = now
        out = model_step(state, jnp.tile(action, (num_particles, 1)), jax.random.fold_in(key, t))
        finite = jnp.isfinite(out.next_obs).all(axis=-1)
        reward = jnp.where(alive, jnp.where(finite, out.reward, jnp.nan), 0.0)
        # A particle that ended or broke keeps a harmless state: it is still computed (static shapes).
        state = jnp.where((alive & finite)[:, None], out.next_obs, state)
        return (state, alive & ~out.terminated, total + reward, reward), None

    start = (
        jnp.broadcast_to(obs, (rows, obs.shape[0])),
        jnp.ones((rows,), bool),
        jnp.zeros((rows,)),
        jnp.zeros((rows,)),
    )
    (_, alive, total, last), _ = jax.lax.scan(step, start, (jnp.arange(horizon), jnp.swapaxes(actions, 0, 1)))
    total = total + tail_steps * jnp.where(alive, last, 0.0)
    returns = total.reshape(num_particles, population).mean(axis=0)
    return jnp.where(jnp.isfinite(returns), returns, -jnp.inf)
