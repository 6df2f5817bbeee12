"""SAC's losses by hand on networks that can be read off, and one update of everything."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import linear_mlp
from scipy.stats import norm

from mbpo.agents.config import SACConfig
from mbpo.agents.sac import (
    ActionBounds,
    SACParams,
    action_bounds,
    action_distribution,
    actor_loss,
    alpha_loss,
    critic_loss,
    critic_target,
    init_sac,
    mean_action,
    q_values,
    resolve_target_entropy,
    sac_update,
    sac_updates,
    sample_action,
    update_noise,
)
from mbpo.nn.distributions import standard_normal
from mbpo.types import Spec, Transition

UNIT = ActionBounds(scale=np.ones(1, np.float32), center=np.zeros(1, np.float32))
SPEC = Spec(1, np.array([-1.0], np.float32), np.array([1.0], np.float32))
LOPSIDED = Spec(2, np.array([-1.0, 2.0], np.float32), np.array([3.0, 2.5], np.float32))
CONFIG = SACConfig(hidden_sizes=(8,), batch_size=6, learning_rate=1e-2, tau=0.1)
NO_ALPHA = jnp.float32(-100.0)  # exp(−100) = 0 in float32

TARGET = jax.jit(critic_target, static_argnames="gamma")


@partial(jax.jit, static_argnames=("spec", "config"))
def UPDATE(state, batch, key, *, spec, config):
    noise = update_noise(key, batch.reward.shape[0], spec.action_dim)
    return sac_update(state, batch, noise, spec=spec, config=config)


def draws(rows: int, seed: int = 0):
    """N(0, 1) for one action dimension."""
    return standard_normal(jax.random.key(seed), (rows, 1))


def constant_actor(mean: float, log_std: float):
    return linear_mlp([[0.0, 0.0]], [mean, log_std])


def critics(obs_weights, action_weights, biases):
    """Two linear critics over one observation and one action."""
    rows = zip(obs_weights, action_weights, biases, strict=True)
    return tuple(linear_mlp([[of_obs], [of_action]], [bias]) for of_obs, of_action, bias in rows)


FIVE_AND_THREE = critics([0.0, 0.0], [0.0, 0.0], [5.0, 3.0])


def make_batch(next_obs, reward, terminated, obs=None) -> Transition:
    rows = len(reward)
    return Transition(
        obs=jnp.zeros((rows, 1)) if obs is None else jnp.asarray(obs, jnp.float32)[:, None],
        action=jnp.zeros((rows, 1)),
        reward=jnp.asarray(reward, jnp.float32),
        next_obs=jnp.asarray(next_obs, jnp.float32)[:, None],
        terminated=jnp.asarray(terminated),
    )


def random_batches(shape, seed=0) -> Transition:
    rng = np.random.default_rng(seed)
    columns = (rng.standard_normal((*shape, *dims)).astype(np.float32) for dims in ((1,), (1,), (), (1,)))
    obs, action, reward, next_obs = columns
    return Transition(obs, np.tanh(action), reward, next_obs, rng.random(shape) < 0.2)


# --- Critics -------------------------------------------------------------------------------------


def test_target_bootstraps_from_the_smaller_critic_and_never_past_termination():
    # y = 1 + 0.9 · min(5, 3) = 3.7; terminated: y = r alone. A time limit is an ordinary row: there is no
    # field to carry it.
    assert "truncated" not in Transition._fields
    params = SACParams(constant_actor(0.3, -1.0), FIVE_AND_THREE, NO_ALPHA)
    batch = make_batch([0.0] * 4, [1.0, 1.0, -2.0, -2.0], [False, True, False, True])
    y = TARGET(params, FIVE_AND_THREE, batch, draws(len(batch.reward)), UNIT, gamma=0.9)
    np.testing.assert_allclose(y, [3.7, 1.0, 0.7, -2.0], rtol=1e-6)


def test_the_minimum_is_taken_row_by_row_at_the_next_state_with_the_target_critics():
    # Q̄₁ = s', Q̄₂ = −s': the minimum is −|s'|. The online critics (5 and 3) must not matter.
    params = SACParams(constant_actor(0.0, -1.0), FIVE_AND_THREE, NO_ALPHA)
    batch = make_batch([2.0, -4.0], [0.0, 0.0], [False, False], obs=[100.0, 100.0])
    y = TARGET(params, critics([1.0, -1.0], [0.0, 0.0], [0.0, 0.0]), batch, draws(len(batch.reward)), UNIT, gamma=0.5)
    np.testing.assert_allclose(y, [-1.0, -2.0], rtol=1e-6)


def test_the_next_action_is_drawn_from_the_policy():
    # An almost certain actor at u = artanh(0.6): Q̄ = 10 a' = 6.
    params = SACParams(constant_actor(math.atanh(0.6), -12.0), FIVE_AND_THREE, NO_ALPHA)
    batch = make_batch([0.0], [0.0], [False])
    y = TARGET(params, critics([0.0, 0.0], [10.0, 10.0], [0.0, 0.0]), batch, draws(len(batch.reward)), UNIT, gamma=1.0)
    assert float(y[0]) == pytest.approx(6.0, abs=1e-3)


def tanh_gaussian_entropy(mean: float, std: float) -> float:
    """−E[log π] over actions in [−1, 1], by quadrature."""
    u = np.linspace(mean - 9 * std, mean + 9 * std, 20_001)
    log_slope = np.log(4) - 2 * np.logaddexp(u, -u)
    return 0.5 * math.log(2 * math.pi * math.e * std**2) + float(np.trapezoid(norm.pdf(u, mean, std) * log_slope, u))


def test_target_adds_the_entropy_of_the_next_action_unless_terminated():
    rows, alpha = 50_000, 0.5
    params = SACParams(constant_actor(0.4, math.log(0.7)), FIVE_AND_THREE, jnp.float32(math.log(alpha)))
    batch = make_batch(np.zeros(rows), np.ones(rows), np.arange(rows) % 2 == 0)
    y = TARGET(params, FIVE_AND_THREE, batch, draws(len(batch.reward)), UNIT, gamma=0.9)
    expected = 1 + 0.9 * (3 + alpha * tanh_gaussian_entropy(0.4, 0.7))
    # The standard error is about 0.9 · 0.5 · 0.7 / √25000 = 0.002.
    assert float(y[1::2].mean()) == pytest.approx(expected, abs=0.01)
    assert expected != pytest.approx(3.7, abs=0.1), "the entropy must matter for this to test anything"
    np.testing.assert_array_equal(y[::2], 1.0)


def test_critic_loss_by_hand():
    # Q = 1 and 2 against targets (0, 3): ½ (1 + 4)/2 + ½ (4 + 1)/2 = 2.5; mean Q 1.5.
    batch = make_batch([0.0, 0.0], [0.0, 0.0], [False, False])
    loss, q_mean = critic_loss(critics([0.0, 0.0], [0.0, 0.0], [1.0, 2.0]), batch, jnp.array([0.0, 3.0]))
    assert (float(loss), float(q_mean)) == (2.5, 1.5)


def test_q_values_by_hand():
    q = q_values(critics([2.0, 0.0], [3.0, -1.0], [0.5, 0.0]), jnp.array([[1.0], [2.0]]), jnp.array([[10.0], [20.0]]))
    np.testing.assert_allclose(q, [[2 + 30 + 0.5, 4 + 60 + 0.5], [-10, -20]])


# --- Actor and temperature -----------------------------------------------------------------------


def test_actor_loss_by_hand():
    # α E[log π] − min(5, 3), and the entropy reported beside it, by quadrature.
    rows, alpha = 50_000, 0.5
    loss, entropy = jax.jit(actor_loss)(
        constant_actor(0.4, math.log(0.7)),
        FIVE_AND_THREE,
        jnp.float32(math.log(alpha)),
        jnp.zeros((rows, 1)),
        draws(rows),
        UNIT,
    )
    expected = tanh_gaussian_entropy(0.4, 0.7)
    assert float(entropy) == pytest.approx(expected, abs=0.01)
    assert float(loss) == pytest.approx(-alpha * expected - 3, abs=0.01)


def test_the_actor_climbs_the_smaller_critic():
    # Q₁ = 100 + a, Q₂ = −a: the smaller one falls with a, so the mean must fall, and by 1 − tanh²(0) = 1.
    grads = jax.grad(
        lambda actor: actor_loss(
            actor,
            critics([0.0, 0.0], [1.0, -1.0], [100.0, 0.0]),
            NO_ALPHA,
            jnp.zeros((4, 1)),
            draws(4),
            UNIT,
        )[0]
    )(constant_actor(0.0, -12.0))
    assert float(grads.biases[0][0]) == pytest.approx(1.0, abs=1e-3)


def test_alpha_loss_by_hand():
    # log α (H − H̄) = 0.5 · (1 + 1) = 1; its slope H − H̄ makes α fall while there is entropy to spare.
    assert float(alpha_loss(jnp.float32(0.5), jnp.float32(1.0), -1.0)) == 1.0
    assert float(jax.grad(alpha_loss)(jnp.float32(0.5), jnp.float32(1.0), -1.0)) == 2.0


@pytest.mark.parametrize(("target_entropy", "direction"), [(50.0, 1), (-50.0, -1)])
def test_alpha_rises_below_the_target_entropy_and_falls_above(target_entropy, direction):
    config = SACConfig(hidden_sizes=(8,), learning_rate=1e-2, target_entropy=target_entropy)
    state = init_sac(SPEC, config, jax.random.key(0))
    after, metrics = UPDATE(state, random_batches((6,)), jax.random.key(1), spec=SPEC, config=config)
    # Adam's first step is the learning rate, in log α.
    assert float(after.params.log_alpha) == pytest.approx(direction * 0.01, rel=1e-3)
    assert float(metrics["alpha"]) == pytest.approx(math.exp(direction * 0.01), rel=1e-5)


def test_target_entropy_is_minus_the_number_of_actions_unless_set():
    assert resolve_target_entropy(LOPSIDED, SACConfig()) == -2.0
    assert resolve_target_entropy(LOPSIDED, SACConfig(target_entropy=-0.5)) == -0.5


# --- Actions -------------------------------------------------------------------------------------


def test_actions_fill_a_lopsided_box_and_stay_inside():
    bounds = action_bounds(LOPSIDED)
    np.testing.assert_array_equal(bounds.scale, [2.0, 0.25])
    np.testing.assert_array_equal(bounds.center, [1.0, 2.25])
    wide = linear_mlp(np.zeros((2, 4)), [0.0, 0.0, 2.0, 2.0])
    actions, log_prob = jax.jit(sample_action)(wide, jnp.zeros((5000, 2)), jax.random.key(0), bounds)
    assert log_prob.shape == (5000,)
    for dim in range(2):
        low, high = LOPSIDED.action_low[dim], LOPSIDED.action_high[dim]
        assert low <= actions[:, dim].min() < low + 0.01 * (high - low)
        assert high >= actions[:, dim].max() > high - 0.01 * (high - low)
    # Saturated either way, the bounds themselves.
    ends = linear_mlp(np.zeros((2, 4)), [30.0, -30.0, 0.0, 0.0])
    np.testing.assert_allclose(mean_action(ends, jnp.zeros((1, 2)), bounds), [[3.0, 2.0]])
    # The mean action is centre + scale · tanh(mean).
    some = linear_mlp(np.zeros((2, 4)), [0.5, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(
        mean_action(some, jnp.zeros((1, 2)), bounds), [[1 + 2 * math.tanh(0.5), 2.25]], rtol=1e-6
    )


def test_the_units_of_the_action_change_nothing_that_is_learned():
    # The same draws in a box 6 wide and in one 0.1 wide: the densities are those of tanh(u), so the
    # entropy bonus for surviving a step does not depend on whether torque is in Nm or in kNm.
    actor, obs, key = constant_actor(0.4, math.log(0.7)), jnp.zeros((50_000, 1)), jax.random.key(0)
    wide, narrow = (ActionBounds(np.full(1, half, np.float32), np.ones(1, np.float32)) for half in (3.0, 0.05))
    actions, log_prob = jax.jit(sample_action)(actor, obs, key, wide)
    narrow_actions, narrow_log_prob = jax.jit(sample_action)(actor, obs, key, narrow)
    np.testing.assert_allclose((actions - 1) / 3.0, (narrow_actions - 1) / 0.05, atol=1e-4)
    np.testing.assert_allclose(log_prob, narrow_log_prob, atol=1e-5)
    assert -float(log_prob.mean()) == pytest.approx(tanh_gaussian_entropy(0.4, 0.7), abs=0.01)


def test_log_std_is_bounded():
    for raw, bounded in [(50.0, 2.0), (-50.0, -20.0), (0.7, 0.7)]:
        mean, log_std = action_distribution(constant_actor(raw, raw), jnp.zeros((1, 1)))
        assert float(mean[0, 0]) == pytest.approx(raw)
        assert float(log_std[0, 0]) == pytest.approx(bounded)


# --- One update ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    return init_sac(SPEC, CONFIG, jax.random.key(0))


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_critics_start_different_and_targets_start_as_copies(state):
    assert_equal(state.params.critics, state.target_critics)
    first, second = state.params.critics
    assert float(abs(first.weights[0] - second.weights[0]).min()) > 0
    # Copies, not the same memory: a donated state must not hold one buffer twice.
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)


def test_initial_alpha_is_the_setting():
    made = init_sac(SPEC, SACConfig(hidden_sizes=(8,), initial_alpha=0.1), jax.random.key(0))
    assert float(jnp.exp(made.params.log_alpha)) == pytest.approx(0.1)


def test_targets_move_by_tau_towards_the_updated_critics(state):
    after, _ = UPDATE(state, random_batches((6,)), jax.random.key(1), spec=SPEC, config=CONFIG)
    for old, new, target in zip(
        *(jax.tree.leaves(t) for t in (state.target_critics, after.params.critics, after.target_critics)), strict=True
    ):
        np.testing.assert_allclose(target, 0.9 * np.asarray(old) + 0.1 * np.asarray(new), rtol=1e-5, atol=1e-7)
        assert float(abs(new - old).max()) > 1e-3
    assert all(
        float(abs(a - b).max()) > 1e-3
        for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True)
    )


def test_no_gradient_flows_where_none_belongs(state):
    # The critics must not feel the actor's loss: theirs is the regression alone, and Adam's first moment
    # is (1 − β₁) = 0.1 of the gradient.
    batch, key = random_batches((6,)), jax.random.key(1)
    after, metrics = UPDATE(state, batch, key, spec=SPEC, config=CONFIG)
    next_noise, actor_noise = update_noise(key, 6, 1)
    bounds = action_bounds(SPEC)
    target = TARGET(state.params, state.target_critics, batch, next_noise, bounds, gamma=CONFIG.gamma)
    (loss, _), grads = jax.jit(jax.value_and_grad(critic_loss, has_aux=True))(state.params.critics, batch, target)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(lambda moment, g: close(moment, 0.1 * g), after.optimizer_state[0].mu.critics, grads)
    assert float(metrics["critic_loss"]) == pytest.approx(float(loss), rel=1e-5)
    (loss, _), grads = jax.jit(jax.value_and_grad(actor_loss, has_aux=True))(
        state.params.actor, state.params.critics, state.params.log_alpha, batch.obs, actor_noise, bounds
    )
    jax.tree.map(lambda moment, g: close(moment, 0.1 * g), after.optimizer_state[0].mu.actor, grads)
    assert float(metrics["actor_loss"]) == pytest.approx(float(loss), rel=1e-5)


def test_many_updates_are_that_many_single_ones(state):
    batches, key = random_batches((3, 6)), jax.random.key(2)
    together, metrics = jax.jit(sac_updates, static_argnames=("spec", "config"))(
        state, batches, key, spec=SPEC, config=CONFIG
    )
    alone, losses = state, []
    for i, update_key in enumerate(jax.random.split(key, 3)):
        batch = jax.tree.map(lambda a, i=i: a[i], batches)
        alone, single = UPDATE(alone, batch, update_key, spec=SPEC, config=CONFIG)
        losses.append(float(single["critic_loss"]))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), together, alone)
    assert float(metrics["critic_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    assert int(together.optimizer_state[0].count) == 3


def test_an_update_keeps_types_so_that_the_next_one_does_not_recompile(state):
    after, _ = jax.eval_shape(
        partial(sac_update, spec=SPEC, config=CONFIG), state, random_batches((6,)), draws(6)[None].repeat(2, 0)
    )
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


def test_critics_regress_to_a_known_value():
    # Every row terminal with reward 2: Q must learn 2, whatever the networks bootstrap.
    config = SACConfig(hidden_sizes=(16,), learning_rate=1e-2, batch_size=32)
    batches = random_batches((300, 32))
    batches = batches._replace(reward=np.full((300, 32), 2.0, np.float32), terminated=np.ones((300, 32), bool))
    state = init_sac(SPEC, config, jax.random.key(0))
    after, _ = jax.jit(sac_updates, static_argnames=("spec", "config"))(
        state, batches, jax.random.key(1), spec=SPEC, config=config
    )
    q = q_values(after.params.critics, jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    np.testing.assert_allclose(q, 2.0, atol=0.05)
    assert float(abs(q_values(state.params.critics, jnp.zeros((1, 1)), jnp.zeros((1, 1))) - 2).min()) > 0.5


def test_the_critics_mean_instead_of_their_minimum():
    # Target: 1 + 0.9 · mean(5, 3) = 4.6. Actor: −mean(5, 3), with no temperature to speak of.
    params = SACParams(constant_actor(0.3, -1.0), FIVE_AND_THREE, NO_ALPHA)
    batch = make_batch([0.0], [1.0], [False])
    target = partial(critic_target, params, FIVE_AND_THREE, batch, draws(1), UNIT, 0.9)
    np.testing.assert_allclose(target("mean"), [4.6], rtol=1e-6)
    np.testing.assert_allclose(target("min"), [3.7], rtol=1e-6)
    for pooling, expected in (("mean", -4.0), ("min", -3.0)):
        loss, _ = actor_loss(params.actor, FIVE_AND_THREE, NO_ALPHA, batch.obs, draws(1), UNIT, pooling)
        assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_the_setting_reaches_the_update():
    batch = jax.tree.map(jnp.asarray, random_batches((32,)))
    spec = Spec(1, np.float32([-1.0]), np.float32([1.0]))
    after = {}
    for pooling in ("min", "mean"):
        config = SACConfig(hidden_sizes=(8,), critic_pooling=pooling)
        state = init_sac(spec, config, jax.random.key(1))
        for step in range(3):  # Adam's first step is its rate in every weight, whatever the gradient's size.
            state, _ = UPDATE(state, batch, jax.random.key(step), spec=spec, config=config)
        after[pooling] = state.params
    for part in ("actor", "critics"):
        one, other = (jax.tree.leaves(getattr(after[pooling], part)) for pooling in ("min", "mean"))
        assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
