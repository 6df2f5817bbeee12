"""Whether a run's settings fit into this machine, said before memory is taken for them."""

import itertools
import math
import os

from mbpo.agents.config import MBPOConfig, ModelConfig
from mbpo.agents.dyna_q import DynaQConfig
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig
from mbpo.agents.pets import PETSConfig
from mbpo.agents.sac_agent import SACAgentConfig
from mbpo.errors import ConfigError
from mbpo.training.config import RunConfig
from mbpo.types import Spec, TabularSpec

FLOAT = 4
OUTCOME, PAIR, STATE = 13, 20, 4
"""Bytes of a table for each distinct outcome, pair and state."""

Bytes = dict[str, int]
"""By the settings that decide how many."""


def check_memory(config: RunConfig, spec: Spec | TabularSpec) -> None:
    """Refuse settings that alone take more than the machine has: a mistyped zero, or a forged file.

    Raises:
        ConfigError: With what they would take, and the settings that most of it is due to.
    """
    kept, batches = kept_bytes(config, spec), batch_bytes(config, spec)
    needed, held = sum(kept.values()) + max(batches.values(), default=0), _physical_bytes()
    if held is not None and needed > held:
        settings, most = max((kept | batches).items(), key=lambda item: item[1])
        raise ConfigError(
            f"Replay buffers, networks and batches of these settings take at least {needed / 2**30:.1f} GiB of memory, "
            f"and this machine has {held / 2**30:.1f}. Most of it, {most / 2**30:.1f} GiB, is decided by {settings}: "
            "smaller values need less."
        )


def kept_bytes(config: RunConfig, spec: Spec | TabularSpec) -> Bytes:
    """What the replay buffers, tables and networks take; what computing takes comes on top."""
    chosen = config.chosen
    if isinstance(spec, TabularSpec):
        assert isinstance(chosen, DynaQConfig)
        table = spec.num_states * (spec.num_actions * (chosen.max_outcomes * OUTCOME + PAIR) + STATE)
        return {"max_outcomes and the numbers of states and actions": table}
    row, kept = _row(spec), Bytes()
    if isinstance(chosen, MBPOConfig | MBPODHConfig | PETSConfig | SACAgentConfig):
        # With every row of MBPO's, the Gaussian that its action was drawn from.
        behaviour = 2 * FLOAT * spec.action_dim if isinstance(chosen, MBPOConfig) else 0
        kept["replay_capacity"] = chosen.replay_capacity * (row + behaviour)
    if isinstance(chosen, MBPOConfig | PETSConfig):
        kept["model.hidden_sizes and model.ensemble_size"] = _ensemble(chosen.model, spec, 2 * (spec.obs_dim + 1))
    if isinstance(chosen, MBPOConfig):
        rounds = max(chosen.epoch_length // chosen.model_train_freq, 1) * chosen.model_retain_epochs
        by_schedule = chosen.rollout == "schedule" or (chosen.rollout == "infoprop" and not chosen.infoprop.branches)
        length = "rollout_length.end" if by_schedule else f"{chosen.rollout}.max_length"
        branches = "infoprop.branches" if chosen.rollout == "infoprop" and not by_schedule else "rollout_batch_size"
        kept[f"{branches}, {length}, model_retain_epochs and epoch_length / model_train_freq"] = (
            rounds * chosen.num_branches * chosen.max_rollout_length * row
        )
    if isinstance(chosen, MBPODHConfig):
        states = chosen.retain_rollouts * chosen.rollout_batch_size * chosen.rollout_length
        kept["rollout_batch_size, rollout_length and retain_rollouts"] = states * row
        kept["model.hidden_sizes and model.ensemble_size"] = _ensemble(chosen.model, spec, spec.obs_dim + 1)
        learner = _learner(spec, chosen.learner.hidden_sizes, chosen.learner.num_critics)
        kept["learner.hidden_sizes and learner.num_critics"] = learner
    if isinstance(chosen, MBPOConfig | SACAgentConfig):
        kept["sac.hidden_sizes"] = _learner(spec, chosen.sac.hidden_sizes, 2)
    return kept


def batch_bytes(config: RunConfig, spec: Spec | TabularSpec) -> Bytes:
    """What batches take, of which one is held at a time: the rows of one update, the candidates of one plan."""
    chosen = config.chosen
    if isinstance(spec, TabularSpec):
        assert isinstance(chosen, DynaQConfig)
        return {} if chosen.prioritized else {"planning_steps": 3 * FLOAT * chosen.planning_steps}
    row, batches = _row(spec), Bytes()
    if isinstance(chosen, MBPOConfig | SACAgentConfig):
        # Every layer's outputs are kept for the gradient; the batches of all updates of a step are drawn at once.
        update = chosen.utd_ratio * row + 2 * FLOAT * sum(chosen.sac.hidden_sizes)
        batches["sac.batch_size and utd_ratio"] = chosen.sac.batch_size * update
    if isinstance(chosen, MBPODHConfig):
        rows, width = chosen.learner.batch_size + chosen.learner.real_rows, sum(chosen.learner.hidden_sizes)
        batches["learner.batch_size and learner.real_rows"] = rows * (row + FLOAT * width)
    if isinstance(chosen, MBPOConfig | MBPODHConfig | PETSConfig):
        width = spec.obs_dim + sum(chosen.model.hidden_sizes)
        batches["model.batch_size"] = chosen.model.batch_size * FLOAT * width
    if isinstance(chosen, MBPOConfig):
        if chosen.rollout == "infoprop":
            everyone = chosen.model.num_elites * 2 * FLOAT * (spec.obs_dim + 1)  # Each elite's mean and variance.
            batches["infoprop.calibration_rows"] = chosen.infoprop.calibration_rows * everyone
    if isinstance(chosen, PETSConfig):
        batches["population and horizon"] = chosen.population * chosen.horizon * spec.action_dim * FLOAT
        particle = FLOAT * (spec.obs_dim + max(chosen.model.hidden_sizes))
        batches["population and num_particles"] = chosen.population * chosen.num_particles * particle
    return batches


def _row(spec: Spec) -> int:
    """A transition: two observations, an action, a reward and whether it ended."""
    return FLOAT * (2 * spec.obs_dim + spec.action_dim + 1) + 1


def _ensemble(model: ModelConfig | HomoscedasticConfig, spec: Spec, outputs: int) -> int:
    return FLOAT * model.ensemble_size * _network(spec.seen_dim + spec.action_dim, model.hidden_sizes, outputs)


def _learner(spec: Spec, sizes: tuple[int, ...], critics: int) -> int:
    """An actor and critics with Adam's two moments, and the critics' targets."""
    actor = _network(spec.seen_dim, sizes, 2 * spec.action_dim)
    return FLOAT * (3 * actor + 4 * critics * _network(spec.seen_dim + spec.action_dim, sizes, 1))


def _network(inputs: int, hidden: tuple[int, ...], outputs: int) -> int:
    sizes = (inputs, *hidden, outputs)
    return sum(math.prod(pair) for pair in itertools.pairwise(sizes))


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
