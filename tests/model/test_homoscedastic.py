"""The ensemble with one noise per member and output: what it predicts, and steps with gradients."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.model.differentiable import as_differentiable_step
from mbpo.model.ensemble import Ensemble, absorb_normalizers, as_model_step, predict_normalized, unfitted
from mbpo.model.homoscedastic import HomoscedasticParams, decay_shares, make_homoscedastic
from mbpo.model.termination import never
from mbpo.nn.normalizer import Normalizer
from mbpo.nn.normed_mlp import NormedMLP

MEMBERS = 4


def linear_ensemble(noise: float = 0.0, num_elites: int = MEMBERS) -> Ensemble:
    """Member m says Δobs = m + a and reward = 10 m, for one obs and one action, noise as given."""
    weight = jnp.tile(jnp.array([[0.0, 0.0], [1.0, 0.0]]), (MEMBERS, 1, 1))
    bias = jnp.arange(MEMBERS)[:, None] * jnp.array([1.0, 10.0])
    network = NormedMLP((weight,), (bias,), (0.0,), ())
    log_std = jnp.full((MEMBERS, 2), jnp.log(max(noise, 1e-9)))
    ensemble = unfitted(
        HomoscedasticParams(network, log_std), 1, 1, ensemble_size=MEMBERS, num_elites=num_elites, residual=True
    )
    return eqx.tree_at(lambda e: e.elites, ensemble, jnp.arange(MEMBERS - num_elites, MEMBERS))


def test_shares_of_weight_decay():
    assert decay_shares(4) == (0.25, 0.5, 0.75, 1.0)
    assert decay_shares(1) == (1.0,)
    np.testing.assert_allclose(decay_shares(3), (0.25, 0.625, 1.0))


def test_layers_are_normalised_and_dropped_as_published():
    params = make_homoscedastic(jax.random.key(0), 5, 3, ensemble_size=2, hidden_sizes=(8, 8, 8), dropout=0.01)
    assert params.network.norm_eps == (0.0, 1.0, pytest.approx(0.1), pytest.approx(0.01))
    assert params.network.dropout == pytest.approx((0.0075, 0.005, 0.0025))
    assert params.log_std.shape == (2, 3)
    assert not params.log_std.any()


def test_new_normalisers_change_no_prediction():
    params = make_homoscedastic(jax.random.key(0), 5, 3, ensemble_size=2, hidden_sizes=(8, 8), dropout=0.0)
    draw = lambda seed, size: Normalizer(  # noqa: E731
        jax.random.normal(jax.random.key(seed), (size,)), jnp.exp(jax.random.normal(jax.random.key(seed + 1), (size,)))
    )
    old, new = (draw(1, 5), draw(3, 3)), (draw(5, 5), draw(7, 3))
    x = jax.random.normal(jax.random.key(9), (2, 20, 5))
    before, log_var_before = predict_normalized(params, old[0].normalize(x))
    after, log_var_after = predict_normalized(absorb_normalizers(params, old, new), new[0].normalize(x))
    np.testing.assert_allclose(new[1].denormalize(after), old[1].denormalize(before), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        jnp.exp(log_var_after / 2) * new[1].std, jnp.exp(log_var_before / 2) * old[1].std, rtol=1e-4
    )


def test_a_step_gives_each_row_a_random_member_in_equal_shares():
    step = jax.jit(as_differentiable_step(linear_ensemble(), never))
    obs, action = jnp.zeros((8, 1)), jnp.full((8, 1), 0.5)
    members = np.stack([step(obs, action, key).reward / 10 for key in jax.random.split(jax.random.key(0), 400)])
    assert all(np.array_equal(np.bincount(np.rint(row).astype(int)), [2, 2, 2, 2]) for row in members)
    for column in members.T:
        assert all(abs(np.mean(np.rint(column) == m) - 0.25) < 0.08 for m in range(MEMBERS))
    out = step(obs, action, jax.random.key(1))
    np.testing.assert_allclose(out.next_obs[:, 0], out.reward / 10 + 0.5, atol=1e-5)


def test_only_elites_step_and_rows_need_not_divide():
    step = jax.jit(as_differentiable_step(linear_ensemble(num_elites=2), never))
    out = step(jnp.zeros((7, 1)), jnp.zeros((7, 1)), jax.random.key(0))
    assert set(np.rint(out.reward / 10)) == {2.0, 3.0}
    assert out.next_obs.shape == (7, 1)


def test_gradients_pass_by_obs_and_action_and_noise_is_in_the_state_alone():
    step = as_differentiable_step(linear_ensemble(noise=0.3), never)
    obs, action = jnp.zeros((8, 1)), jnp.zeros((8, 1))

    def total(obs, action):
        return step(obs, action, jax.random.key(0)).next_obs.sum()

    by_obs, by_action = jax.grad(total, argnums=(0, 1))(obs, action)
    np.testing.assert_allclose(by_obs, np.ones((8, 1)))
    np.testing.assert_allclose(by_action, np.ones((8, 1)))
    keys = jax.random.split(jax.random.key(1), 2000)
    out = jax.jit(jax.vmap(partial(step, obs, action)))(keys)
    noise = np.asarray(out.next_obs[..., 0] - out.reward / 10)
    assert noise.std() == pytest.approx(0.3, rel=0.03)
    assert abs(noise.mean()) < 0.01
    np.testing.assert_allclose(out.reward / 10, np.rint(out.reward / 10), atol=1e-5)
    assert float(out.uncertainty.mean()) == pytest.approx(0.3, rel=1e-5)


def test_it_is_an_ensemble_like_the_other():
    out = jax.jit(as_model_step(linear_ensemble(noise=0.3), never))(
        jnp.zeros((8, 1)), jnp.zeros((8, 1)), jax.random.key(0)
    )
    assert out.uncertainty.shape == (8,)
    assert float(out.uncertainty.mean()) == pytest.approx(0.3, rel=1e-5)
