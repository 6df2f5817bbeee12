"""The ensemble as a world: who predicts which row, in which units, and under which normalisers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import linear_mlp

from mbpo.model import ensemble as ensemble_module
from mbpo.model.ensemble import (
    Ensemble,
    EnsembleParams,
    absorb_normalizers,
    as_model_step,
    make_ensemble,
    make_targets,
    predict_normalized,
    split_prediction,
)
from mbpo.nn.normalizer import Normalizer, identity_normalizer
from mbpo.types import Transition

OBS, ACT, OUT, MEMBERS = 2, 1, 3, 7
ELITES = (6, 2, 5)


def never(obs, action, next_obs):
    return jnp.zeros(obs.shape[:-1], bool)


def planted(residual=False, log_var=-40.0, **changes) -> Ensemble:
    """Members without hidden layers: next_obs (or its change) = obs, reward = the member's number."""
    weight = jnp.zeros((MEMBERS, OBS + ACT, 2 * OUT)).at[:, 0, 0].set(1.0).at[:, 1, 1].set(1.0)
    bias = jnp.zeros((MEMBERS, 2 * OUT)).at[:, OBS].set(jnp.arange(MEMBERS)).at[:, OUT:].set(log_var)
    params = EnsembleParams(linear_mlp(weight, bias), jnp.full((MEMBERS, OUT), -50.0), jnp.full((MEMBERS, OUT), 10.0))
    made = Ensemble(
        params,
        identity_normalizer(OBS + ACT),
        identity_normalizer(OUT),
        elites=jnp.array(ELITES),
        holdout_scores=jnp.zeros(MEMBERS),
        residual=residual,
    )
    for name, value in changes.items():
        made = eqx.tree_at(lambda e, name=name: getattr(e, name), made, value)
    return made


def drawn(hidden_sizes) -> Ensemble:
    """Three members of random weights, made in one compiled call."""
    options = {"ensemble_size": 3, "num_elites": 2, "hidden_sizes": hidden_sizes, "residual": True}
    return jax.jit(lambda key: make_ensemble(key, OBS, ACT, **options))(jax.random.key(0))


STEP = jax.jit(as_model_step(planted(), never))


def batch_of(rows: int):
    obs = jnp.asarray(np.random.default_rng(rows).standard_normal((rows, OBS)), jnp.float32)
    return obs, jnp.zeros((rows, ACT))


def members_of(out) -> np.ndarray:
    return np.asarray(out.reward).round().astype(int)


@pytest.mark.parametrize("rows", [12, 10, 3, 1])
def test_each_row_has_one_elite_and_each_elite_an_equal_share(rows):
    obs, action = batch_of(rows)
    share = -(-rows // len(ELITES))
    for seed in range(3):
        out = STEP(obs, action, jax.random.key(seed))
        members = members_of(out)
        assert set(members) <= set(ELITES)
        counts = [int((members == e).sum()) for e in ELITES]
        assert sum(counts) == rows
        assert max(counts) <= share
        if rows % len(ELITES) == 0:
            assert counts == [share] * len(ELITES)
        # Each prediction went back to the row that it was made from.
        np.testing.assert_allclose(out.next_obs, obs, rtol=1e-5)
        np.testing.assert_allclose(out.reward, members, atol=1e-4)


def test_rows_are_dealt_anew_at_every_step():
    obs, action = batch_of(12)
    deals = np.stack([members_of(STEP(obs, action, jax.random.key(seed))) for seed in range(300)])
    for elite in ELITES:
        # Each row meets each elite a third of the time: 100 ± 8 of 300.
        assert (abs((deals == elite).sum(axis=0) - 100) < 41).all()
    # The same key deals the same.
    np.testing.assert_array_equal(deals[0], members_of(STEP(obs, action, jax.random.key(0))))


def test_padding_favours_no_elite():
    obs, action = batch_of(10)
    deals = np.stack([members_of(STEP(obs, action, jax.random.key(seed))) for seed in range(300)])
    for elite in ELITES:
        # 1000 of 3000 rows; the first two rows are the ones dealt twice.
        assert 930 < (deals == elite).sum() < 1070
        assert (abs((deals == elite).sum(axis=0) - 100) < 41).all()


def test_only_one_member_is_evaluated_per_row(monkeypatch):
    evaluated = []

    def watched(params, x):
        evaluated.append(x.shape)
        return predict_normalized(params, x)

    monkeypatch.setattr(ensemble_module, "predict_normalized", watched)
    obs, action = batch_of(100)
    jax.eval_shape(as_model_step(planted(), never), obs, action, jax.random.key(0))
    # 100 rows over three elites: 34 each, two of them padding; evaluating all for all would be 300 or 700.
    assert evaluated == [(3, 34, OBS + ACT)]


def test_residual_adds_the_observation_and_direct_does_not():
    obs, action = jnp.array([[1.0, -2.0]]), jnp.zeros((1, 1))
    for residual, expected in [(True, [[2.0, -4.0]]), (False, [[1.0, -2.0]])]:
        out = jax.jit(as_model_step(planted(residual=residual), never))(obs, action, jax.random.key(0))
        np.testing.assert_allclose(out.next_obs, expected, rtol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
def test_targets_are_undone_by_split_prediction(residual):
    obs, next_obs = jnp.array([[1.0, -2.0]]), jnp.array([[4.0, -7.0]])
    rows = Transition(obs, jnp.zeros((1, 1)), jnp.array([9.0]), next_obs, jnp.zeros(1, bool))
    target = make_targets(planted(residual=residual), rows)
    np.testing.assert_array_equal(target, [[3.0, -5.0, 9.0]] if residual else [[4.0, -7.0, 9.0]])
    got_obs, got_reward = split_prediction(planted(residual=residual), obs, target)
    np.testing.assert_array_equal(got_obs, next_obs)
    np.testing.assert_array_equal(got_reward, [9.0])


def test_samples_have_the_predicted_mean_and_spread_in_the_environments_units():
    # Normalised: mean z = (x − 1) / 2 for the first observation, σ = e^(log 0.25 / 2) = 0.5.
    # Target units: 10 + 4 z, so x = 5 gives mean 18 and standard deviation 2; uncertainty stays 0.5.
    made = planted(
        log_var=np.log(0.25),
        inputs=Normalizer(mean=jnp.array([1.0, 0.0, 0.0]), std=jnp.array([2.0, 1.0, 1.0])),
        targets=Normalizer(mean=jnp.array([10.0, 0.0, 0.0]), std=jnp.array([4.0, 1.0, 1.0])),
    )
    rows = 30_000
    out = jax.jit(as_model_step(made, never))(jnp.full((rows, OBS), 5.0), jnp.zeros((rows, ACT)), jax.random.key(0))
    first = np.asarray(out.next_obs[:, 0], float)
    assert first.mean() == pytest.approx(18.0, abs=0.06)
    assert first.std() == pytest.approx(2.0, rel=0.03)
    # Outputs are drawn independently of each other.
    assert abs(np.corrcoef(first, out.next_obs[:, 1])[0, 1]) < 0.03
    np.testing.assert_allclose(out.uncertainty, 0.5, rtol=1e-3)


def test_termination_is_the_tasks_rule_on_the_predicted_state():
    obs = jnp.array([[3.0, 0.0], [1.0, 0.0]])
    action = jnp.array([[0.0], [9.0]])

    def rule(before, act, after):
        return (after[..., 0] > 4) | (act[..., 0] > 8)

    out = jax.jit(as_model_step(planted(residual=True), rule))(obs, action, jax.random.key(0))
    np.testing.assert_array_equal(out.terminated, [True, True])
    out = jax.jit(as_model_step(planted(residual=False), rule))(obs, action, jax.random.key(0))
    np.testing.assert_array_equal(out.terminated, [False, True])


def random_normalizer(rng, dim) -> Normalizer:
    return Normalizer(
        mean=jnp.asarray(rng.normal(size=dim), jnp.float32), std=jnp.asarray(np.exp(rng.normal(size=dim)), jnp.float32)
    )


@jax.jit
def predict_in_units(params, inputs, targets, x):
    mean, log_var = predict_normalized(params, jnp.broadcast_to(inputs.normalize(x), (3, *x.shape)))
    return targets.denormalize(mean), targets.std * jnp.exp(0.5 * log_var)


@pytest.mark.parametrize("hidden_sizes", [(16, 16), ()])
def test_absorbed_normalisers_change_no_prediction(hidden_sizes):
    made = drawn(hidden_sizes)
    x = jnp.asarray(np.random.default_rng(9).normal(0, 3, (50, OBS + ACT)), jnp.float32)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        old, new = ((random_normalizer(rng, OBS + ACT), random_normalizer(rng, OUT)) for _ in range(2))
        before = predict_in_units(made.params, *old, x)
        after = predict_in_units(jax.jit(absorb_normalizers)(made.params, old, new), *new, x)
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        # The test would pass on nothing if the normalisers did not matter.
        unabsorbed = predict_in_units(made.params, *new, x)
        assert float(abs(unabsorbed[0] - before[0]).max()) > 0.1
        assert float(abs(unabsorbed[1] / before[1] - 1).max()) > 0.1


def test_members_start_different_with_pets_bounds_and_nobody_ranked():
    made = drawn((8,))
    first = np.asarray(made.params.network.weights[0])
    assert first.shape == (3, OBS + ACT, 8)
    assert abs(first[0] - first[1]).min() > 0 and abs(first[1] - first[2]).min() > 0
    np.testing.assert_array_equal(made.params.min_log_var, np.full((3, OUT), -10.0))
    np.testing.assert_array_equal(made.params.max_log_var, np.full((3, OUT), 0.5))
    assert made.elites.tolist() == [0, 1]
    assert np.isinf(made.holdout_scores).all()
    assert made.ensemble_size == 3
