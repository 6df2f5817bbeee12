"""A probabilistic ensemble: what happens next, and how sure each member is.

Chua et al. 2018 (PETS, arXiv:1805.12114, §4), as MBPO uses it (Janner et al. 2019, §4.1 and
appendix C): every member maps a normalised (obs, action) to a diagonal Gaussian over the
normalised target (Δobs or next_obs, reward), its log-variance softly clamped by learned bounds.
This file predicts; `fit` learns; `rollout` imagines.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mbpo.model.homoscedastic import HomoscedasticParams, absorb_homoscedastic
from mbpo.nn.distributions import soft_clamp, standard_normal
from mbpo.nn.networks import MLP, make_mlp
from mbpo.nn.normalizer import Normalizer, identity_normalizer
from mbpo.types import ModelOutput, ModelStep, TerminationFn, Transition

INITIAL_MAX_LOG_VAR = 0.5
INITIAL_MIN_LOG_VAR = -10.0
"""Where the learned bounds start (PETS), in units of the normalised target's log-variance."""


class EnsembleParams(eqx.Module):
    """All that gradient descent changes; every array has a leading `member` axis."""

    network: MLP
    """Maps normalised inputs to `2 · out` numbers: means, then raw log-variances."""
    min_log_var: Float[Array, "member out"]
    max_log_var: Float[Array, "member out"]


Params: TypeAlias = EnsembleParams | HomoscedasticParams
"""With a noise that depends on the input, or without."""
MembersT = TypeVar("MembersT")
ResultT = TypeVar("ResultT")


class Ensemble(eqx.Module):
    """The parameters, the normalisers they are to be read with, and who is trusted."""

    params: Params
    inputs: Normalizer
    targets: Normalizer
    elites: Int[Array, " elite"]
    """Members with the best hold-out scores; only these imagine."""
    holdout_scores: Float[Array, " member"]
    """Each member's hold-out error at the weights it now has; ∞ before the first fit."""
    residual: bool = eqx.field(static=True)
    """Predict `next_obs − obs` (True) or `next_obs` itself (False)."""
    normalize_targets: bool = eqx.field(static=True, default=True)
    """Predict targets standardised over the real data; else as they are, and `targets` changes nothing."""

    @property
    def ensemble_size(self) -> int:
        return int(self.holdout_scores.shape[0])


def make_ensemble(
    key: Key[Array, ""],
    obs_dim: int,
    action_dim: int,
    *,
    ensemble_size: int,
    num_elites: int,
    hidden_sizes: Sequence[int],
    residual: bool,
    angles: tuple[int, ...] = (),
) -> Ensemble:
    """An ensemble that has seen nothing: members differ by their random start.

    Args:
        angles: Which numbers of an observation are angles.
    """
    out = obs_dim + 1

    def make_member(member_key: Key[Array, ""]) -> MLP:
        return make_mlp(
            member_key,
            obs_dim + action_dim + len(angles),
            hidden_sizes,
            2 * out,
            activation=jax.nn.silu,
            init="truncated_normal",
        )

    params = EnsembleParams(
        network=jax.vmap(make_member)(jax.random.split(key, ensemble_size)),
        min_log_var=jnp.full((ensemble_size, out), INITIAL_MIN_LOG_VAR, jnp.float32),
        max_log_var=jnp.full((ensemble_size, out), INITIAL_MAX_LOG_VAR, jnp.float32),
    )
    return unfitted(
        params,
        obs_dim,
        action_dim,
        ensemble_size=ensemble_size,
        num_elites=num_elites,
        residual=residual,
        angles=angles,
    )


def unfitted(
    params: Params,
    obs_dim: int,
    action_dim: int,
    *,
    ensemble_size: int,
    num_elites: int,
    residual: bool,
    normalize_targets: bool = True,
    angles: tuple[int, ...] = (),
) -> Ensemble:
    """An ensemble of these parameters that has seen nothing."""
    return Ensemble(
        params=params,
        inputs=identity_normalizer(obs_dim + action_dim, angles),
        targets=identity_normalizer(obs_dim + 1),
        elites=jnp.arange(num_elites, dtype=jnp.int32),
        holdout_scores=jnp.full((ensemble_size,), jnp.inf, jnp.float32),
        residual=residual,
        normalize_targets=normalize_targets,
    )


def predict_member(
    member: EnsembleParams, x: Float[Array, "batch in"]
) -> tuple[Float[Array, "batch out"], Float[Array, "batch out"]]:
    """Mean and log-variance of the normalised target as one member sees it (no `member` axis)."""
    mean, raw = jnp.split(member.network(x), 2, axis=-1)
    return mean, soft_clamp(raw, member.min_log_var, member.max_log_var)


def predict_normalized(
    params: Params, x: Float[Array, "member batch in"]
) -> tuple[Float[Array, "member batch out"], Float[Array, "member batch out"]]:
    """Mean and log-variance of the normalised target, each member on its own rows."""
    if isinstance(params, HomoscedasticParams):
        return params.predict(x)
    return over_members(lambda member: predict_member(*member), (params, x))


def over_members(fn: Callable[[MembersT], ResultT], members: MembersT) -> ResultT:
    """`fn` of every member; all arrays have a leading `member` axis.

    On a CPU one member after the other: products of plain matrices, whose operands stay in its cache, and
    one network to compile. Where JAX computes elsewhere by default, all at once: fewer, larger operations to launch.
    """
    return jax.lax.map(fn, members) if jax.default_backend() == "cpu" else jax.vmap(fn)(members)


def make_targets(ensemble: Ensemble, rows: Transition) -> Float[Array, "*batch out"]:
    """What the ensemble is to predict: (Δobs or next_obs, reward). An angle changes by no more than half a turn, so
    that one which the environment wraps, from π to −π, does not jump."""
    outcome = rows.next_obs
    if ensemble.residual:
        outcome = outcome - rows.obs
        for i in ensemble.inputs.angles:
            outcome = outcome.at[..., i].add(-2 * jnp.pi * jnp.round(outcome[..., i] / (2 * jnp.pi)))
    return jnp.concatenate([outcome, rows.reward[..., None]], axis=-1)


def split_prediction(
    ensemble: Ensemble, obs: Float[Array, "*batch obs"], target: Float[Array, "*batch out"]
) -> tuple[Float[Array, "*batch obs"], Float[Array, "*batch"]]:
    """Undo `make_targets`: `(next_obs, reward)` from a denormalised target."""
    next_obs = obs + target[..., :-1] if ensemble.residual else target[..., :-1]
    return next_obs, target[..., -1]


def as_model_step(ensemble: Ensemble, termination_fn: TerminationFn) -> ModelStep:
    """The ensemble as a world to step through: TS1, one member evaluated per row.

    At every step each row is given to an elite drawn at random (PETS's TS1; MBPO, algorithm 2)
    and its target drawn from that member's Gaussian. The rows are dealt out in equal random
    shares, so only one member is evaluated per row instead of all of them.

    The reported uncertainty is the mean, over outputs, of the member's standard deviation in
    units of the target's spread over the real data.
    """
    elites = ensemble.elites.shape[0]
    elite_params = jax.tree.map(lambda leaf: leaf[ensemble.elites], ensemble.params)

    def model_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        deal_key, noise_key = jax.random.split(key)
        batch = obs.shape[0]
        share = -(-batch // elites)
        # Sorting random numbers once shuffles in half the time of `jax.random.permutation`. Padding
        # repeats the first rows, so that every member gets the same number of them.
        order = jnp.argsort(jax.random.bits(deal_key, (share * elites,)))
        place = jnp.zeros_like(order).at[order].set(jnp.arange(share * elites, dtype=order.dtype))[:batch]
        x = ensemble.inputs.normalize(jnp.concatenate([obs, action], axis=-1))
        mean, log_var = predict_normalized(elite_params, x[order % batch].reshape(elites, share, -1))
        mean, log_var = (a.reshape(share * elites, -1)[place] for a in (mean, log_var))
        std = jnp.exp(0.5 * log_var)
        target = ensemble.targets.denormalize(mean + std * standard_normal(noise_key, mean.shape))
        next_obs, reward = split_prediction(ensemble, obs, target)
        return ModelOutput(next_obs, reward, termination_fn(obs, action, next_obs), std.mean(axis=-1))

    return model_step


def absorb_normalizers(
    params: Params, old: tuple[Normalizer, Normalizer], new: tuple[Normalizer, Normalizer]
) -> Params:
    """Parameters that predict the same under new normalisers as under the old ones.

    With inputs x and targets y, normalised by (m, s) → (m', s') and (n, t) → (n', t'), the first
    and the last layer take up the change exactly:

        (x − m)/s = (x − m')/s' · s'/s + (m' − m)/s      ⇒  W₁ ← diag(s'/s) W₁,  b₁ ← b₁ + (m' − m)/s · W₁
        mean' = (mean · t + n − n') / t'                 ⇒  W_L, b_L columns of the mean likewise
        log_var' = log_var + 2 log(t/t')                 ⇒  raw biases and both bounds move by 2 log(t/t')
    """
    if isinstance(params, HomoscedasticParams):
        return absorb_homoscedastic(params, old, new)
    (old_in, old_out), (new_in, new_out) = old, new
    network = params.network
    first = network.weights[0]
    biases = list(network.biases)
    biases[0] = biases[0] + jnp.einsum("i,mio->mo", (new_in.mean - old_in.mean) / old_in.std, first)
    weights = [first * (new_in.std / old_in.std)[:, None], *network.weights[1:]]

    ratio = old_out.std / new_out.std
    log_shift = 2 * jnp.log(ratio)
    scale = jnp.concatenate([ratio, jnp.ones_like(ratio)])
    shift = jnp.concatenate([(old_out.mean - new_out.mean) / new_out.std, log_shift])
    weights[-1] = weights[-1] * scale
    biases[-1] = biases[-1] * scale + shift
    return EnsembleParams(
        network=eqx.tree_at(lambda n: (n.weights, n.biases), network, (tuple(weights), tuple(biases))),
        min_log_var=params.min_log_var + log_shift,
        max_log_var=params.max_log_var + log_shift,
    )
