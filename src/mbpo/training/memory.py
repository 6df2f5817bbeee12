"""Whether a run's settings fit into this machine, said before memory is taken for them."""

import itertools
import math
import os

from mbpo.agents.config import MBPOConfig, ModelConfig
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig
from mbpo.agents.pets import PETSConfig
from mbpo.agents.sac_agent import SACAgentConfig
from mbpo.errors import ConfigError
from mbpo.training.config import RunConfig
from mbpo.types import Spec, TabularSpec

FLOAT = 4


def check_memory(config: RunConfig, spec: Spec | TabularSpec) -> None:
    """Refuse settings that alone take more than the machine has: a mistyped zero, or a forged file.

    Raises:
        ConfigError: With what they would take.
    """
    needed, held = least_bytes(config, spec) + batch_bytes(config, spec), _physical_bytes()
    if held is not None and needed > held:
        raise ConfigError(
            f"Replay buffers, networks and batches of these settings take at least {needed / 2**30:.1f} GiB of memory, "
            f"and this machine has {held / 2**30:.1f}. Smaller replay_capacity, rollout_batch_size, batch_size, "
            "population or hidden_sizes need less."
        )


def least_bytes(config: RunConfig, spec: Spec | TabularSpec) -> int:
    """Bytes of the replay buffers and the networks; what computing takes comes on top."""
    chosen = config.chosen
    if isinstance(spec, TabularSpec):
        return FLOAT * spec.num_states * spec.num_actions
    row = FLOAT * (2 * spec.obs_dim + spec.action_dim + 1) + 1
    total = 0
    if isinstance(chosen, MBPOConfig | MBPODHConfig | PETSConfig | SACAgentConfig):
        total += chosen.replay_capacity * row
    if isinstance(chosen, MBPOConfig | PETSConfig):
        total += _ensemble(chosen.model, spec, 2 * (spec.obs_dim + 1))
    if isinstance(chosen, MBPOConfig):
        rounds = max(chosen.epoch_length // chosen.model_train_freq, 1) * chosen.model_retain_epochs
        total += rounds * chosen.num_branches * chosen.max_rollout_length * row
    if isinstance(chosen, MBPODHConfig):
        total += chosen.retain_rollouts * chosen.rollout_batch_size * chosen.rollout_length * row
        total += _ensemble(chosen.model, spec, spec.obs_dim + 1)
        total += _learner(spec, chosen.learner.hidden_sizes, chosen.learner.num_critics)
    if isinstance(chosen, MBPOConfig | SACAgentConfig):
        total += _learner(spec, chosen.sac.hidden_sizes, 2)
    return total


def batch_bytes(config: RunConfig, spec: Spec | TabularSpec) -> int:
    """Bytes of the largest batch that is held at once: the rows of one update, the candidates of one plan."""
    chosen, sizes = config.chosen, [0]
    if isinstance(spec, TabularSpec):
        return 0
    row = FLOAT * (2 * spec.obs_dim + spec.action_dim + 1) + 1
    if isinstance(chosen, MBPOConfig | SACAgentConfig):
        # Every layer's outputs are kept for the gradient; the batches of all updates of a step are drawn at once.
        sizes.append(chosen.sac.batch_size * (chosen.utd_ratio * row + 2 * FLOAT * sum(chosen.sac.hidden_sizes)))
    if isinstance(chosen, MBPODHConfig):
        sizes.append(chosen.learner.batch_size * (row + FLOAT * sum(chosen.learner.hidden_sizes)))
        sizes.append(chosen.model.batch_size * (row + FLOAT * sum(chosen.model.hidden_sizes)))
    if isinstance(chosen, MBPOConfig | PETSConfig):
        model = chosen.model
        sizes.append(model.batch_size * FLOAT * (spec.obs_dim + sum(model.hidden_sizes)))
    if isinstance(chosen, PETSConfig):
        sizes.append(chosen.population * chosen.horizon * spec.action_dim * FLOAT)
        sizes.append(chosen.population * chosen.num_particles * FLOAT * (spec.obs_dim + max(chosen.model.hidden_sizes)))
    return max(sizes)


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
