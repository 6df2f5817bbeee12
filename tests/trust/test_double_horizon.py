"""The model of a double-horizon run is looked into like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import EPISODE_STEPS, SHORT

from mbpo import MBPODH
from mbpo.agents.value_gradient import sample_action
from mbpo.cli.main import main
from mbpo.trust import measure as measure_module
from mbpo.trust.measure import measure
from mbpo.trust.subject import read_subject

SETTINGS = {
    "random_steps": 30,
    "replay_capacity": 100,
    "model_train_freq": 25,
    "critic_updates": 3,
    "first_updates": 5,
    "rollout_freq": 5,
    "rollout_batch_size": 8,
    "rollout_length": 4,
    "termination": "never",
    "eval_freq": 50,
    "eval_episodes": 2,
    "learner": {"hidden_sizes": [8, 8], "num_critics": 2, "horizon": 2, "batch_size": 8},
    "model": {"hidden_sizes": [8, 8], "ensemble_size": 3, "max_epochs": 4, "batch_size": 16},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dh") / "run"
    MBPODH(SHORT, seed=0, out=folder, **SETTINGS).learn(80).close()
    return folder


def test_the_policy_s_density_is_that_of_its_draws(run):
    subject = read_subject(run)
    agent = MBPODH.load(run)
    learned, state = agent.learned
    obs = subject.replay.obs[:20]
    actor, eyes = state.learner.params.actor, learned.eyes(state.model.ensemble.inputs)
    action, density = sample_action(actor, jnp.asarray(obs), jax.random.key(0), eyes)
    np.testing.assert_allclose(subject.policy.log_prob(obs, np.asarray(action)), density, rtol=1e-3, atol=1e-2)
    assert subject.policy.gamma == 0.995
    agent.close()


def test_everything_is_measured(run, capsys):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROWS_PER_SHARE": 60, "DATA_ROWS": (80, 80), "VARIATION_STATES": 16}.items():
            patch.setattr(measure_module, name, value)
        found = measure(run, episodes=2)
        assert main(["trust", str(run), "--episodes", "1"]) == 0
    assert (found.algo, found.real_rows, found.steps) == ("mbpo-dh", 80, EPISODE_STEPS)
    assert 0 < found.on_policy_error < 1
    assert [curve.rows for curve in found.shift.curves] == [5, 20, 80]
    assert f"mbpo-dh on {SHORT} at environment step 80" in capsys.readouterr().out
