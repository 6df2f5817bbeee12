"""The double-horizon learner against numbers computed by hand, in a world of one line."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.agents.mbpo_dh_config import ValueGradientConfig
from mbpo.agents.sac import ActionBounds
from mbpo.agents.value_gradient import (
    MIN_STD,
    Eyes,
    ReturnBounds,
    ShortRollout,
    actor_loss,
    critic_loss,
    critic_target,
    expanded_value,
    judged_value,
    last_alive,
    mean_action,
    q_values,
    real_step,
    short_rollout,
)
from mbpo.agents.value_updates import (
    ActorAverage,
    critic_only_update,
    followed,
    init_value,
    moved_bounds,
    target_q,
    value_update,
)
from mbpo.nn.normalizer import Normalizer
from mbpo.nn.normed_mlp import NormedMLP, make_normed_mlp
from mbpo.types import ModelOutput, Spec, Transition

GAMMA, LIMIT = 0.9, 3.0
SPEC = Spec(obs_dim=1, action_low=np.array([-1.0], np.float32), action_high=np.array([3.0], np.float32))
EYES = Eyes(
    Normalizer(jnp.array([0.5]), jnp.array([2.0])),
    ActionBounds(scale=np.array([2.0], np.float32), center=np.array([1.0], np.float32)),
)
STARTS = jnp.array([[0.3], [-1.2], [2.5]])
BOUNDS = ReturnBounds(jnp.asarray(-4.0), jnp.asarray(10.0))
"""Centre 3, width 7."""


def world(obs, action, key) -> ModelOutput:
    """s' = 0.8 s + 0.5 a, r = 2 s − a; ends beyond 3."""
    next_obs = 0.8 * obs + 0.5 * action
    reward = 2 * obs[:, 0] - action[:, 0]
    return ModelOutput(next_obs, reward, next_obs[:, 0] > LIMIT, jnp.zeros(obs.shape[:1]))


def linear(weight, bias) -> NormedMLP:
    weight = jnp.asarray(weight, jnp.float32)
    return NormedMLP((weight,), (jnp.asarray(bias, jnp.float32),), (0.0,), ())


def sure_actor(weight: float = 0.7, bias: float = -0.2) -> NormedMLP:
    """u = weight · normalised s + bias, with next to no noise."""
    return linear([[weight, 0.0]], [bias, -30.0])


CRITICS = linear([[[0.5], [0.2]], [[0.1], [-0.3]]], [[0.1], [0.4]])
"""Q / 7 − 3/7 = w · (normalised s, rescaled a) + b, for two critics."""


def act(s, weight=0.7, bias=-0.2):
    return 1.0 + 2.0 * np.tanh(weight * (s - 0.5) / 2.0 + bias)


def q_by_hand(s, a):
    """Both critics, in units of return."""
    x = np.array([(s - 0.5) / 2.0, (a - 1.0) / 2.0])
    return 7.0 * np.array([x @ [0.5, 0.2] + 0.1, x @ [0.1, -0.3] + 0.4]) + 3.0


def value_by_hand(s, horizon, weight=0.7, bias=-0.2):
    """Σ γ^t r_t + γ^H mean Q, cut off at an end; no entropy."""
    value, discount = 0.0, 1.0
    for _ in range(horizon):
        a = act(s, weight, bias)
        value, discount, s = value + discount * (2 * s - a), discount * GAMMA, 0.8 * s + 0.5 * a
        if s > LIMIT:
            return value
    return value + discount * q_by_hand(s, act(s, weight, bias)).mean()


def roll(horizon: int, actor=None) -> ShortRollout:
    actor = sure_actor() if actor is None else actor
    return short_rollout(actor, world, STARTS, jax.random.key(0), horizon=horizon, eyes=EYES)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_expanded_value_by_hand(horizon):
    rollout = roll(horizon)
    last_q = q_values(CRITICS, BOUNDS, rollout.obs[-1], rollout.actions[-1], EYES).mean(axis=0)
    found = expanded_value(rollout, last_q, jnp.asarray(0.0), GAMMA)
    np.testing.assert_allclose(found, [value_by_hand(float(s), horizon) for s in STARTS[:, 0]], rtol=1e-3)


def test_an_end_masks_what_follows():
    rollout = roll(5, sure_actor(0.0, 0.9))
    # a = 1 + 2 tanh 0.9 = 2.4326; from 2.5: 3.2163 > 3 at once; from 0.3: 1.4563, 2.3813, 3.1214.
    np.testing.assert_array_equal(rollout.alive.sum(axis=0), [3, 4, 1])
    loud = rollout._replace(rewards=jnp.where(rollout.alive[:-1], rollout.rewards, 1e6))
    quiet = rollout._replace(rewards=jnp.where(rollout.alive[:-1], rollout.rewards, 0.0))
    one, other = (expanded_value(r, jnp.full(3, 1e6), jnp.asarray(0.0), GAMMA) for r in (loud, quiet))
    np.testing.assert_array_equal(one, other)
    assert float(one[2]) == pytest.approx(5 - 2.4326, abs=1e-3)


def test_entropy_counts_from_the_first_step_in_the_value_and_from_the_second_in_the_target():
    alpha, log_probs = jnp.asarray(0.5), jnp.array([[1.0], [2.0], [4.0]])
    rollout = ShortRollout(
        obs=jnp.zeros((3, 1, 1)),
        actions=jnp.zeros((3, 1, 1)),
        rewards=jnp.array([[10.0], [20.0]]),
        log_probs=log_probs,
        alive=jnp.ones((3, 1), bool),
    )
    value = expanded_value(rollout, jnp.array([100.0]), alpha, GAMMA)
    assert float(value[0]) == pytest.approx(9.5 + 0.9 * 19 + 0.81 * 98)
    target = critic_target(rollout, jnp.array([100.0]), alpha, GAMMA)
    assert float(target[0]) == pytest.approx(10 + 0.9 * 19 + 0.81 * 98)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_actor_climbs_the_value_through_the_model(horizon):
    """Its gradient is that of the value computed by hand, by central differences."""

    def loss(weight, bias):
        actor = linear(jnp.stack([weight, jnp.zeros(())])[None], jnp.stack([bias, jnp.asarray(-30.0)]))
        return actor_loss(
            actor,
            CRITICS,
            BOUNDS,
            jnp.asarray(0.0),
            world,
            STARTS,
            jax.random.key(1),
            horizon=horizon,
            gamma=GAMMA,
            eyes=EYES,
        )[0]

    found = jax.grad(loss, argnums=(0, 1))(jnp.asarray(0.7), jnp.asarray(-0.2))

    def by_hand(weight, bias):
        return -np.mean([value_by_hand(float(s), horizon, weight, bias) for s in STARTS[:, 0]])

    step = 1e-4
    expected = (
        (by_hand(0.7 + step, -0.2) - by_hand(0.7 - step, -0.2)) / (2 * step),
        (by_hand(0.7, -0.2 + step) - by_hand(0.7, -0.2 - step)) / (2 * step),
    )
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert abs(expected[0]) > 0.05


def test_a_judged_end_by_hand_and_its_slope():
    rollout = roll(5, sure_actor(0.0, 0.9))
    a = 1 + 2 * np.tanh(0.9)
    path = [0.3]
    for _ in range(2):
        path.append(0.8 * path[-1] + 0.5 * a)
    obs, _ = last_alive(rollout)
    np.testing.assert_allclose(obs[:, 0], [path[-1], -1.2 * 0.8**3 + 0.5 * a * (1 + 0.8 + 0.64), 2.5], rtol=1e-4)
    found = judged_value(rollout, jnp.array([50.0, 0.0, 70.0]), jnp.asarray(0.0), GAMMA)
    rewards = [2 * s - a for s in path]
    assert float(found[0]) == pytest.approx(rewards[0] + 0.9 * rewards[1] + 0.81 * 50, rel=1e-4)
    assert float(found[2]) == pytest.approx(70.0)

    def slope(bias, judge_ends):
        actor = linear([[0.0, 0.0]], jnp.stack([bias, jnp.asarray(-30.0)]))
        same = {"horizon": 5, "gamma": GAMMA, "eyes": EYES, "judge_ends": judge_ends}
        start = STARTS[2:]
        return actor_loss(actor, CRITICS, BOUNDS, jnp.asarray(0.0), world, start, jax.random.key(1), **same)[0]

    # One action and it is over: without judgement only the reward 2 s − a has a gradient, with it only Q.
    da = 2 * (1 - np.tanh(0.9) ** 2)
    assert float(jax.grad(slope)(jnp.asarray(0.9), False)) == pytest.approx(da, rel=1e-3)
    assert float(jax.grad(slope)(jnp.asarray(0.9), True)) == pytest.approx(-7 * (0.2 - 0.3) / 2 * da / 2, rel=1e-3)


def test_a_row_that_pulls_too_hard_is_limited_and_what_the_critics_learn_is_not():
    def slopes(weights, limit):
        """By a bias of the actor's mean, of each row's loss by itself and of all together."""

        def loss(bias):
            same = {"horizon": 1, "gamma": GAMMA, "eyes": EYES, "row_limit": limit}
            actor = linear([[0.0, 0.0]], jnp.stack([bias, jnp.asarray(-30.0)]))

            def steep(obs, action, key):
                return world(obs, action, key)._replace(reward=weights * action[:, 0])

            return actor_loss(actor, CRITICS, BOUNDS, jnp.asarray(0.0), steep, STARTS[:2], jax.random.key(0), **same)[0]

        return float(loss(0.3)), float(jax.grad(loss)(0.3))

    same, one, other = jnp.asarray([1.0, 1.0]), jnp.asarray([1.0, 0.0]), jnp.asarray([1.0, 99.0])
    assert slopes(other, None) == slopes(other, 1000.0)
    assert slopes(other, 1.0)[0] == slopes(other, None)[0]
    # Two rows: the median is between them, and the longer one is cut to it.
    base = slopes(jnp.zeros(2), None)[1]
    alone = slopes(one, None)[1] - base
    assert slopes(other, None)[1] == pytest.approx(base + 100 * alone, rel=1e-3)
    shorter, longer = sorted((slopes(jnp.asarray(w), None)[1] - base / 2 for w in ([1.0, 0.0], [0.0, 99.0])), key=abs)
    assert slopes(other, 1.0)[1] == pytest.approx(shorter + (shorter + longer) / 2, rel=1e-3)
    assert slopes(same, 1.0)[1] == pytest.approx(slopes(same, None)[1], rel=1e-3)

    config = ValueGradientConfig(hidden_sizes=(8, 8), num_critics=3, horizon=2, batch_size=3)
    state = init_value(SPEC, config, jax.random.key(5))
    plain, kept = (
        jax.jit(partial(value_update, model_step=world, start_obs=STARTS, eyes=EYES, config=each))(
            state, key=jax.random.key(6)
        )[0].params
        for each in (config, replace(config, row_limit=0.5))
    )
    differs = jax.tree.map(lambda a, b: bool((a != b).any()), plain, kept)
    assert any(jax.tree.leaves(differs.actor)) and not any(jax.tree.leaves(differs.critics))


def test_no_gradient_passes_through_the_target():
    def target_of(actor, critics):
        rollout = roll(2, actor)
        last_q = target_q(critics, BOUNDS, rollout, jax.random.key(0), EYES)
        return critic_target(rollout, last_q, jnp.asarray(0.1), GAMMA).sum()

    for gradient in jax.grad(target_of, argnums=(0, 1))(sure_actor(), CRITICS):
        assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))


def test_critic_loss_by_hand():
    rollout = roll(1)
    target = jnp.array([1.0, 2.0, 3.0])
    found, mean = critic_loss(CRITICS, BOUNDS, rollout.obs[0], rollout.actions[0], target, EYES, None)
    q = np.array([q_by_hand(float(s), act(float(s))) for s in STARTS[:, 0]])
    assert float(found) == pytest.approx((((q - np.asarray(target)[:, None]) / 7.0) ** 2).mean(axis=0).sum(), rel=1e-4)
    assert float(mean) == pytest.approx(q.mean(), rel=1e-4)


def test_target_takes_the_smaller_of_two_and_cuts_it():
    rollout = roll(1)
    s = [0.8 * float(s) + 0.5 * act(float(s)) for s in STARTS[:, 0]]
    q = np.array([q_by_hand(x, act(x)) for x in s])
    alive = np.asarray(rollout.alive[-1])
    found = np.asarray(target_q(CRITICS, BOUNDS, rollout, jax.random.key(0), EYES))
    np.testing.assert_allclose(found[alive], q.min(axis=1)[alive], rtol=1e-3)
    tight = ReturnBounds(jnp.asarray(-4.0), jnp.asarray(10.0))._replace(high=jnp.asarray(-1.0))
    assert float(target_q(CRITICS, tight, rollout, jax.random.key(0), EYES).max()) <= -1.0


def test_of_many_critics_every_pair_is_asked():
    critics = linear(np.zeros((4, 2, 1)), np.arange(4.0)[:, None])
    rollout, unit = roll(1), ReturnBounds(jnp.asarray(-10.0), jnp.asarray(10.0))
    asked = jax.jit(partial(target_q, critics, unit, rollout, eyes=EYES))
    smaller = [float(asked(key)[0]) for key in jax.random.split(jax.random.key(0), 300)]
    # Of six pairs three have 0 as the smaller, two have 1, one has 2; in units of the width 10.
    counts = {value: smaller.count(value) for value in set(smaller)}
    assert set(counts) == {0.0, 10.0}  # 20 is beyond the bound.
    assert 120 < counts[0.0] < 180


SEEN = Transition(
    obs=jnp.array([[0.4], [1.0]]),
    action=jnp.array([[-0.5], [2.0]]),
    reward=jnp.array([5.0, -2.0]),
    next_obs=jnp.array([[0.9], [0.2]]),
    terminated=jnp.array([False, True]),
)
"""Not what `world` would say of these states and actions: its rewards are 1.3 and 0, and neither ends."""


def test_the_target_of_a_real_step_by_hand():
    alpha = jnp.asarray(0.1)
    real = real_step(sure_actor(), SEEN, jax.random.key(0), EYES)
    last_q = target_q(CRITICS, BOUNDS, real, jax.random.key(0), EYES)
    log_prob = float(real.log_probs[1, 0])
    assert log_prob != 0
    goes_on = 5.0 + GAMMA * (q_by_hand(0.9, act(0.9)).min() - 0.1 * log_prob)
    found = critic_target(real, last_q, alpha, GAMMA)
    np.testing.assert_allclose(found, [goes_on, -2.0], rtol=1e-3)
    np.testing.assert_array_equal(real.obs[0], SEEN.obs)
    np.testing.assert_array_equal(real.actions[0], SEEN.action)


def test_critics_learn_from_what_was_seen_and_the_actor_does_not():
    config = ValueGradientConfig(
        hidden_sizes=(16, 16), num_critics=3, critic_dropout=0.0, horizon=2, batch_size=3, learning_rate=3e-3
    )
    first = init_value(SPEC, config, jax.random.key(0))
    update = jax.jit(partial(value_update, eyes=EYES, config=config), static_argnums=1)
    seen = jax.tree.map(lambda leaf: jnp.repeat(leaf[1:], 9, axis=0), SEEN)
    after, other = (update(first, world, STARTS, jax.random.key(1), rows)[0] for rows in (seen, None))
    jax.tree.map(np.testing.assert_array_equal, after.params.actor, other.params.actor)
    jax.tree.map(np.testing.assert_array_equal, after.bounds, other.bounds)

    def taught(rows: Transition | None) -> float:
        def lap(i, state):
            return critic_only_update(state, world, STARTS, jax.random.key(i), rows, eyes=EYES, config=config)

        state = jax.jit(lambda state: jax.lax.fori_loop(0, 500, lap, state))(first)
        return float(q_values(state.params.critics, state.bounds, seen.obs[:1], seen.action[:1], EYES).mean())

    # An end pays its reward and nothing after it, though the model does not know of it.
    assert taught(seen) == pytest.approx(-2.0, abs=1.5)
    assert taught(None) < -5.0


def test_bounds_hold_zero_and_follow_slowly():
    config = ValueGradientConfig(gamma=GAMMA, learning_rate=0.1, bound_quantile=0.0)
    rollout = roll(1)._replace(rewards=jnp.array([[1.0, 2.0, 3.0]]), log_probs=jnp.zeros((2, 3)))
    first = moved_bounds(ReturnBounds(jnp.zeros(()), jnp.zeros(())), rollout, jnp.asarray(0.0), config)
    assert (float(first.low), float(first.high)) == (0.0, pytest.approx(30.0))
    worse = rollout._replace(rewards=jnp.array([[-1.0, 2.0, 3.0]]))
    second = moved_bounds(first, worse, jnp.asarray(0.0), config)
    assert (float(second.low), float(second.high)) == (pytest.approx(-1.0), pytest.approx(30.0))


def test_without_bounds_critics_are_in_units_of_return_and_no_target_is_cut():
    config = ValueGradientConfig(
        hidden_sizes=(16, 16), num_critics=2, critic_dropout=0.0, horizon=1, learning_rate=1e-2, bound_quantile=None
    )
    update = jax.jit(partial(critic_only_update, eyes=EYES, config=config), static_argnums=1)
    state = init_value(SPEC, config, jax.random.key(0))
    # Targets far beyond ±1: each critic says 50 of what follows.
    far = jax.tree.map(jnp.zeros_like, state.target_critics)
    far = replace(far, biases=(*far.biases[:-1], far.biases[-1] + 50.0))
    for i in range(300):
        state = update(replace(state, target_critics=far), world, STARTS[:2], jax.random.key(i))
    assert (float(state.bounds.low), float(state.bounds.high)) == (-1.0, 1.0)
    assert (float(state.bounds.center), float(state.bounds.width)) == (0.0, 1.0)
    rollout = short_rollout(state.params.actor, world, STARTS[:2], jax.random.key(0), horizon=1, eyes=EYES)
    q = q_values(state.params.critics, state.bounds, STARTS[:2], rollout.actions[0], EYES)
    assert float(q.min()) > 30


def test_mean_action_and_the_noise_around_it():
    obs = jnp.array([[0.3]])
    assert float(mean_action(sure_actor(), obs, EYES)[0, 0]) == pytest.approx(act(0.3), rel=1e-5)
    wide = linear([[0.7, 0.0]], [-0.2, 1.0])
    draw = jax.vmap(lambda k: short_rollout(wide, world, obs, k, horizon=1, eyes=EYES).actions[0])
    u = np.arctanh((np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))[:, 0, 0] - 1) / 2)
    assert u.std() == pytest.approx(np.log1p(np.exp(1.0)) + MIN_STD, rel=0.05)


def test_updates_change_what_they_should():
    config = ValueGradientConfig(hidden_sizes=(8, 8), num_critics=3, horizon=2, batch_size=3)
    state = init_value(SPEC, config, jax.random.key(0))
    assert all(not leaf.any() for leaf in (state.params.critics.weights[-1], state.params.critics.biases[-1]))
    update = jax.jit(partial(critic_only_update, eyes=EYES, config=config), static_argnums=1)
    after = update(state, world, STARTS, jax.random.key(1))
    same = lambda a, b: all(map(jnp.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))  # noqa: E731
    assert same(after.params.actor, state.params.actor)
    assert not same(after.params.critics, state.params.critics)
    assert float(after.bounds.high) > 0
    joint, metrics = jax.jit(partial(value_update, eyes=EYES, config=config), static_argnums=1)(
        after, world, STARTS, jax.random.key(2)
    )
    assert not same(joint.params.actor, after.params.actor)
    assert not same(joint.target_critics, after.target_critics)
    assert float(joint.params.log_alpha) != float(after.params.log_alpha)
    assert set(metrics) >= {"critic_loss", "actor_loss", "alpha", "entropy", "q_mean", "q_low", "q_high"}
    moved = jax.tree.map(
        lambda new, old, t: new * config.tau + old * (1 - config.tau) - t,
        joint.params.critics,
        after.target_critics,
        joint.target_critics,
    )
    assert all(float(jnp.abs(leaf).max()) < 1e-6 for leaf in jax.tree.leaves(moved))


def test_an_average_follows_the_actor_and_changes_nothing_else():
    rate = 0.25
    kept = ValueGradientConfig(hidden_sizes=(8, 8), num_critics=3, horizon=2, batch_size=3, actor_average_rate=rate)
    plain = replace(kept, actor_average_rate=1.0)
    states = {}
    for config in (kept, plain):
        state = init_value(SPEC, config, jax.random.key(0))
        update = jax.jit(partial(value_update, eyes=EYES, config=config), static_argnums=1)
        states[config] = [state, *(state := update(state, world, STARTS, jax.random.key(i))[0] for i in (1, 2))]
    first, second = (state.params.actor for state in states[kept][1:])
    # The first update's actor is all there is to average; the second's counts 1 / 1.1.
    averages = [first, jax.tree.map(lambda old, new: old + (new - old) / 1.1, first, second)]
    for after, other, average in zip(states[kept][1:], states[plain][1:], averages, strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after.policy, average)
        jax.tree.map(np.testing.assert_array_equal, after.params, other.params)
        jax.tree.map(np.testing.assert_array_equal, other.policy, other.params.actor)
    assert float(jnp.abs(average.weights[0] - after.params.actor.weights[0]).max()) > 1e-5
    assert states[plain][-1].average is None


@pytest.mark.parametrize(("updates", "over"), [(100, 10), (1000, 100), (30_000, 1000)])
def test_an_average_is_over_a_tenth_of_the_updates_or_over_a_thousand(updates, over):
    """An actor that counts its updates: how far behind is its average?"""
    counting = make_normed_mlp(jax.random.key(0), 1, (1,), 1)

    def actor(n):
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, n), counting)

    step = jax.jit(lambda n, average: followed(average, actor(n + 1.0), 1e-3))
    average = jax.lax.fori_loop(0, updates, step, ActorAverage(actor(-1e6), jnp.zeros((), jnp.int32)))
    assert int(average.updates) == updates
    lag = updates - float(average.actor.weights[0].reshape(-1)[0])
    assert over * 0.8 < lag < over * 1.1
