"""The algorithms by name: what each hands to the one loop that drives them all."""

from pathlib import Path
from typing import Any, ClassVar

from mbpo.agents.base import Agent
from mbpo.agents.dyna_q import DynaQAgent
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.mbpo_dh import MBPODHAgent
from mbpo.agents.pets import PETSAgent
from mbpo.agents.sac_agent import SACAgent
from mbpo.training.algorithm import Algorithm
from mbpo.training.config import Algo
from mbpo.training.run_folder import read_description
from mbpo.training.seeding import Stream, stream_key


class MBPO(Algorithm):
    """Model-based policy optimization (Janner et al. 2019, arXiv:1906.08253)."""

    algo: ClassVar[Algo] = "mbpo"

    def _make_agent(self) -> Agent[Any]:
        split_key = stream_key(self.config.seed, Stream.SPLIT)
        return MBPOAgent(self.spec, self.config.mbpo, self._termination_fn, split_key, self._reward_fn)


class MBPODH(Algorithm):
    """Double-horizon MBPO (Kubo et al. 2025, arXiv:2512.15439): the policy climbs the model's own gradient."""

    algo: ClassVar[Algo] = "mbpo-dh"

    def _make_agent(self) -> Agent[Any]:
        split_key = stream_key(self.config.seed, Stream.SPLIT)
        return MBPODHAgent(self.spec, self.config.mbpo_dh, self._termination_fn, split_key, self._reward_fn)


class SAC(Algorithm):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905): MBPO's learner without the model."""

    algo: ClassVar[Algo] = "sac"
    has_model: ClassVar[bool] = False

    def _make_agent(self) -> Agent[Any]:
        return SACAgent(self.spec, self.config.sac)


class PETS(Algorithm):
    """Probabilistic ensembles with trajectory sampling (Chua et al. 2018, arXiv:1805.12114)."""

    algo: ClassVar[Algo] = "pets"

    def _make_agent(self) -> Agent[Any]:
        split_key = stream_key(self.config.seed, Stream.SPLIT)
        return PETSAgent(self.spec, self.config.pets, self._termination_fn, split_key, self._reward_fn)


class DynaQ(Algorithm):
    """Tabular Dyna-Q, Dyna-Q+ and prioritized sweeping (Sutton & Barto 2018, chapter 8)."""

    algo: ClassVar[Algo] = "dyna-q"
    has_model: ClassVar[bool] = False

    def _make_agent(self) -> Agent[Any]:
        return DynaQAgent(self.spec, self.config.dyna_q)


ALGORITHMS: dict[str, type[Algorithm]] = {kind.algo: kind for kind in (MBPO, MBPODH, SAC, PETS, DynaQ)}


def load(folder: Path, *, resume: bool = False) -> Algorithm:
    """Bring back whatever algorithm a run folder holds; errors and `resume` as in `Algorithm.load`."""
    return ALGORITHMS[read_description(folder).config.algo].load(folder, resume=resume)
