"""Errors and calibration along branches, against the closed form of a linear-Gaussian world."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LINEAR_GAUSSIAN

from mbpo.trust.compounding import LEVELS, calibration, compounding, imagine
from mbpo.trust.picture import draw_branches, principal_directions
from mbpo.trust.trajectories import Episode, as_rows, cut_branches
from mbpo.types import ModelOutput

HORIZON = 6
SPREAD = np.array([0.5, 2.0, 1.0])


@pytest.fixture(scope="module")
def episodes():
    """Independent trajectories of the oracle, with random actions, drawn without JAX."""
    world, rng = LINEAR_GAUSSIAN, np.random.default_rng(0)
    found = []
    for _ in range(1500):
        action = rng.standard_normal((HORIZON, 2))
        obs, reward = [rng.standard_normal(2)], []
        for t in range(HORIZON):
            mean, paid = world.mean(obs[-1], action[t])
            obs.append(mean + world.state_std * rng.standard_normal(2))
            reward.append(paid + world.reward_std * rng.standard_normal())
        columns = (np.asarray(column, np.float32) for column in (obs, action, reward))
        found.append(Episode(*columns, terminated=False))
    return found


@pytest.fixture(scope="module")
def branches(episodes):
    return cut_branches(episodes, every=HORIZON, horizon=HORIZON)


@pytest.fixture(scope="module")
def imagined(branches):
    return imagine(LINEAR_GAUSSIAN.model_step, branches, jax.random.key(1), paths=24)


def open_loop_std(steps: int) -> np.ndarray:
    """Deviation of the oracle's state `steps` steps along given actions."""
    open_loop = LINEAR_GAUSSIAN._replace(K=np.zeros((2, 2)), action_std=0.0)
    return np.sqrt(np.diag(open_loop.moments(np.zeros(2), steps)[1]))


def test_the_exact_model_errs_by_the_noise_of_both(imagined, branches):
    found = compounding(imagined, branches, SPREAD)
    assert found.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.rows.tolist() == [1500] * HORIZON
    for t in range(HORIZON):
        # Truth and path are independent draws of one distribution: their difference has twice its variance.
        expected = np.sqrt(2) * open_loop_std(t + 1) / SPREAD[:2]
        np.testing.assert_allclose(found.output_rms[t, :2], expected, rtol=0.05)
    assert (found.nonfinite == 0).all()


def test_medians_and_upper_quantiles_are_those_of_a_normal(imagined, branches):
    found = compounding(imagined, branches, SPREAD)
    for t in range(HORIZON):
        scale = np.sqrt(2) * open_loop_std(t + 1) / SPREAD[:2]
        np.testing.assert_allclose(found.output_median[t, :2], 0.6745 * scale, rtol=0.08)
        np.testing.assert_allclose(found.output_upper[t, :2], 1.6449 * scale, rtol=0.08)
    assert (found.mean_path < found.median).all()
    assert (found.median < found.upper).all()


def test_a_bias_compounds_as_the_dynamics_stretch_it(branches):
    exact = branches._replace(truth=_noiseless(branches))
    bias = jnp.array([0.1, 0.0])

    def biased(obs, action, key):
        mean, reward = LINEAR_GAUSSIAN.mean(obs, action)
        return ModelOutput(mean + bias, reward, jnp.zeros(reward.shape, bool), jnp.zeros(reward.shape))

    paths = imagine(biased, exact, jax.random.key(0), paths=1)
    found = compounding(paths, exact, np.ones(3))
    gap = np.zeros(2)
    for t in range(HORIZON):
        gap = LINEAR_GAUSSIAN.A @ gap + np.array([0.1, 0.0])
        np.testing.assert_allclose(found.output_rms[t, :2], np.abs(gap), atol=2e-6)
        np.testing.assert_allclose(found.median[t], np.sqrt(np.mean(gap**2)), atol=2e-6)


def _noiseless(branches):
    world, obs, truth = LINEAR_GAUSSIAN, branches.start_obs, []
    for t in range(HORIZON):
        mean, reward = world.mean(obs, branches.action[:, t])
        truth.append(np.column_stack([mean, reward]))
        obs = mean
    return np.stack(truth, axis=1)


def test_the_exact_model_is_calibrated(imagined, branches):
    found = calibration(imagined, branches, (1, 3, 6, 99), np.random.default_rng(0))
    assert found.step.tolist() == [1, 3, 6]
    assert found.rows.tolist() == [1500] * 3
    np.testing.assert_allclose(found.coverage, np.broadcast_to(LEVELS, (3, 19)), atol=0.03)
    assert found.output_coverage.shape == (3, 19, 3)


def test_a_model_too_sure_of_itself_covers_too_little(branches):
    sure = LINEAR_GAUSSIAN._replace(state_std=LINEAR_GAUSSIAN.state_std / 2, reward_std=LINEAR_GAUSSIAN.reward_std / 2)
    paths = imagine(sure.model_step, branches, jax.random.key(2), paths=100)
    found = calibration(paths, branches, (1,), np.random.default_rng(0))
    # P(|z| < 1.6449/2) = 0.589 for the interval that should hold 90%.
    np.testing.assert_allclose(found.coverage[0, np.isclose(LEVELS, 0.9)], 0.589, atol=0.03)


def test_what_is_not_finite_counts_as_infinitely_wrong(imagined, branches):
    broken = imagined.copy()
    broken[:, :6, 2:] = np.nan
    found = compounding(broken, branches, SPREAD)
    np.testing.assert_allclose(found.nonfinite, [0, 0, 0.25, 0.25, 0.25, 0.25])
    assert np.isfinite(found.median).all()
    assert np.isinf(found.upper[2:]).all()


def test_branches_leave_every_so_many_steps_and_end_with_the_trajectory():
    def episode(length, name):
        obs = name + np.arange(length + 1, dtype=np.float32)[:, None]
        return Episode(obs, 10 + obs[:-1], -obs[:-1, 0], terminated=name == 100)

    episodes = [episode(5, 0), episode(2, 100)]
    found = cut_branches(episodes, every=2, horizon=3)
    assert found.episode.tolist() == [0, 0, 0, 1]
    assert found.start.tolist() == [0, 2, 4, 0]
    assert found.start_obs[:, 0].tolist() == [0, 2, 4, 100]
    assert found.valid.sum(axis=1).tolist() == [3, 3, 1, 2]
    assert found.action[1, :, 0].tolist() == [12, 13, 14]
    assert found.truth[1].tolist() == [[3, -2], [4, -3], [5, -4]]
    rows = as_rows(episodes)
    assert rows.next_obs[:, 0].tolist() == [1, 2, 3, 4, 5, 101, 102]
    assert rows.terminated.tolist() == [False] * 6 + [True]


def test_the_picture_shows_the_beginning_of_a_long_trajectory():
    obs = np.random.default_rng(0).standard_normal((501, 3)).astype(np.float32)
    episode = Episode(obs, np.zeros((500, 1), np.float32), np.zeros(500, np.float32), terminated=False)
    branches = cut_branches([episode], every=15, horizon=50)
    imagined = branches.truth[:, None].copy()
    imagined[:, 0, 3, 0] += 0.5
    projection = principal_directions(obs, np.array([0.5, 1.0, 1.0]))
    picture = draw_branches(projection, [episode], branches, imagined, episode=0, length=20)
    assert picture.start == (0, 30, 60, 90, 120, 150, 180)
    assert picture.truth.shape == (201, 2)
    assert [path.shape for path in picture.branches] == [(20, 2)] * 7
    # One of three numbers is off by one spread, at the fourth step alone; elsewhere branches lie on the truth.
    np.testing.assert_allclose(picture.errors[1], np.eye(20)[3] / np.sqrt(3), atol=1e-6)
    np.testing.assert_allclose(picture.branches[1][4:], picture.truth[35:51], atol=1e-5)


def test_one_observation_has_one_direction():
    projection = principal_directions(np.arange(5.0)[:, None], np.array([2.0]))
    np.testing.assert_allclose(projection(np.array([[4.0]])), [[1.0, 0.0]])
