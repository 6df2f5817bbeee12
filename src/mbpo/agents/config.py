"""The settings of each algorithm, with where each default comes from.

Frozen and validated: an unknown name, a wrong type or an impossible value is an error that says
so. The defaults are the paper's (Janner et al. 2019, appendix C, and its published settings);
what a task wants otherwise is in a file of `mbpo/presets`.
"""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator

from mbpo.agents.settings import (
    Epochs,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    Sizes,
    TimesLonger,
    settings,
)
from mbpo.errors import ConfigError

Pooling = Literal["min", "mean"]


@settings
class SACConfig:
    """Soft actor-critic: the learner (Haarnoja et al. 2018, arXiv:1812.05905)."""

    hidden_sizes: Sizes = (256, 256)
    """Hidden layers of the actor and of each critic, ReLU."""
    learning_rate: PositiveFloat = 3e-4
    """Adam, for actor, critics and temperature alike."""
    batch_size: PositiveInt = 256
    """Rows per gradient step, real and imagined together."""
    gamma: Share = 0.99
    """Discount per environment step."""
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the critics that flows into the target critics per gradient step."""
    initial_alpha: PositiveFloat = 1.0
    """The temperature at the start; learned from then on."""
    target_entropy: float | None = None
    """Entropy the temperature aims at, in nats, for actions rescaled to [-1, 1]; None: minus the
    number of action dimensions, SAC's own choice. MBPO's published runs use higher values."""
    critic_pooling: Pooling = "min"
    """What the two critics say together. SAC takes the smaller value, against overestimation (Fujimoto
    et al. 2018, arXiv:1802.09477); the mean errs less where that is no danger (Moskovitz et al. 2021,
    arXiv:2102.03765, find that it depends on the task)."""
    critic_layer_norm: bool = False
    """LayerNorm in the critics: steadier at many gradient steps per real step."""
    max_grad_norm: PositiveFloat | None = None
    """Norm that the gradients of actor, critics and temperature are each clipped to; None: not at all."""
    reward_range: tuple[float, float] | None = None
    """Lowest and highest reward of the task: the critics' targets are then held within what such rewards
    allow (`agents.limits`). None: not at all."""

    @model_validator(mode="after")
    def _range_bounds_something(self) -> "SACConfig":
        if self.reward_range is not None and (self.reward_range[0] > self.reward_range[1] or self.gamma == 1):
            raise ConfigError(
                f"reward_range ({self.reward_range}) needs its lower end first and a gamma below 1, not {self.gamma}: "
                "at 1 no return is bounded."
            )
        return self


@settings
class ModelConfig:
    """The probabilistic ensemble and how it is fitted (PETS; MBPO, appendix C)."""

    ensemble_size: PositiveInt = 7
    """Members."""
    num_elites: PositiveInt = 5
    """Members with the best hold-out scores, which imagine."""
    hidden_sizes: Sizes = (200, 200, 200, 200)
    """Hidden layers of each member, swish."""
    residual: bool = True
    """Predict the change of the observation rather than the next one."""
    learning_rate: PositiveFloat = 1e-3
    """Adam."""
    batch_size: PositiveInt = 64
    """Rows per member and gradient step. Published: 256; as many steps with a quarter of the rows come
    as far, for a third of the time (docs/algorithms/mbpo.md, "What a refit costs")."""
    weight_decay: NonNegativeFloat = 1e-4
    """Of the last layer; earlier ones follow the published profile (¼, ½, ¾, ¾, 1)."""
    holdout_ratio: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of real rows never trained on."""
    bootstrap: bool = True
    """Draw each member's rows with replacement, so that it learns from about two thirds of those that are not held
    out, as published; else every member learns from all of these, as what learns when episodes end does anyway."""
    max_holdout: PositiveInt = 5000
    """Held-out rows scored after each epoch, at most."""
    patience: Epochs = 5
    """Epochs without a score that is better by 0.5 % before a fit ends."""
    max_epochs: Epochs = 10
    """Epochs of one fit, at most. The published code has no bound, which made refitting two
    thirds of all time; warm starts make up for the bound over a few refits."""
    first_fit_factor: TimesLonger = 5
    """How many times as long the first fit may take: it has no warm start."""
    min_epoch_batches: PositiveInt = 40
    """Gradient steps of one epoch, at least: with little data, a few steps tell nothing."""
    max_epoch_batches: PositiveInt = 40
    """Gradient steps of one epoch, at most; with `max_epochs`, the bound on a refit's cost."""
    max_grad_norm: PositiveFloat | None = None
    """Norm that each member's gradient is clipped to; None: not at all."""

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelConfig":
        if self.min_epoch_batches > self.max_epoch_batches:
            raise ConfigError(
                f"min_epoch_batches ({self.min_epoch_batches}) cannot exceed "
                f"max_epoch_batches ({self.max_epoch_batches})."
            )
        if self.num_elites > self.ensemble_size:
            raise ConfigError(f"num_elites ({self.num_elites}) cannot exceed ensemble_size ({self.ensemble_size}).")
        return self


@settings
class RolloutLengthConfig:
    """Rollout length k: `start` until `start_epoch`, then linear to `end` at `end_epoch`."""

    start_epoch: NonNegativeInt = 20
    end_epoch: NonNegativeInt = 150
    start: PositiveInt = 1
    end: PositiveInt = 1

    @model_validator(mode="after")
    def _grows(self) -> "RolloutLengthConfig":
        if self.end < self.start:
            raise ConfigError(f"rollout_length.end ({self.end}) is below rollout_length.start ({self.start}).")
        if self.end > self.start and self.end_epoch <= self.start_epoch:
            raise ConfigError(
                f"rollout_length.end_epoch ({self.end_epoch}) must come after "
                f"rollout_length.start_epoch ({self.start_epoch})."
            )
        return self


@settings
class MacuraConfig:
    """Gate `macura`: a branch stops where members disagree (Frauenknecht et al. 2024, arXiv:2405.19014)."""

    quantile: Share = 0.95
    """ζ: quantile of the disagreement at the first rollout step. Published: 0.95, Hopper 0.9."""
    scale: PositiveFloat = 5.0
    """ξ: κ is this times that quantile. Published: Hopper 30, Ant 5, Humanoid 5, HalfCheetah 2, Walker2d 0.3."""
    rounds: PositiveInt = 2000
    """Refits that κ is averaged over; published value."""
    max_length: PositiveInt = 10
    """Steps per branch, at most; published value."""


@settings
class InfopropConfig:
    """Gate `infoprop`: a branch stops where information is lost (Frauenknecht et al. 2025, arXiv:2501.16918)."""

    step_quantile: Share = 0.9999
    """λ₁: this quantile of the information loss of real (s, a), for a single step. Published value."""
    path_quantile: Share = 0.01
    """λ₂: `horizon` times this quantile, for a whole branch. Published value."""
    horizon: PositiveInt = 100
    """Published value."""
    max_length: PositiveInt = 100
    """Steps per branch, at most."""
    branches: PositiveInt | None = None
    """Branches per refit; None: so many that they cannot store more rows than the schedule's longest
    would (`rollout_batch_size · rollout_length.end`). With the defaults that is 100k rows, the number
    after which the published runs stop."""
    calibration_rows: PositiveInt = 10_000
    """Real (s, a) drawn for the quantiles at each refit; published: 100k."""


@settings
class BoundConfig:
    """Gate `bound`: k from theorem 4.3 (Janner et al. 2019) and the terms measured at each refit."""

    max_length: PositiveInt = 25
    """Steps per branch, at most: the longest that MBPO's published schedules ever use."""
    resolution: PositiveFloat = 0.5
    """Width at which prediction and outcome are told apart for the on-policy error, in units of each
    target's standard deviation over the real data. Measured whatever the gate."""


@settings
class MBPOConfig:
    """Model-based policy optimization (Janner et al. 2019, arXiv:1906.08253, algorithm 2)."""

    random_steps: Annotated[int, Ge(10)] = 5000
    """Uniformly random actions before the first model fit, in environment steps."""
    random_action_hold: PositiveInt = 1
    """Environment steps each of these actions is held for. New ones at every step average out, and
    leave a heavy body about where it was; held ones show the model more of the world (Eberhard et
    al. 2023, "Pink noise is all you need", make the same case for correlated noise)."""
    replay_capacity: Annotated[int, Ge(10)] = 400_000
    """Real transitions kept; the paper's longest run is 400k steps."""
    epoch_length: PositiveInt = 1000
    """Environment steps per epoch, the unit of the rollout-length schedule; epoch 0 begins after
    the random steps."""
    model_train_freq: PositiveInt = 250
    """Environment steps between refits of the model, each followed by new rollouts."""
    rollout_batch_size: PositiveInt = 100_000
    """Branches per refit: 400 for each of the 250 steps."""
    rollout: Literal["schedule", "macura", "infoprop", "bound"] = "schedule"
    """When a branch must stop: after `rollout_length` steps; where the ensemble's members disagree;
    where too much information is lost; or after as many steps as the return bound recommends."""
    rollout_length: RolloutLengthConfig = field(default_factory=RolloutLengthConfig)
    macura: MacuraConfig = field(default_factory=MacuraConfig)
    infoprop: InfopropConfig = field(default_factory=InfopropConfig)
    bound: BoundConfig = field(default_factory=BoundConfig)
    model_retain_epochs: PositiveInt = 1
    """Epochs of rollouts that the imagined buffer keeps."""
    real_ratio: Share = 0.05
    """Share of real rows in each batch."""
    utd_ratio: PositiveInt = 20
    """Gradient steps per environment step."""
    utd_follows_rollouts: bool = False
    """As many gradient steps as surviving data allow, as MACURA has it: 2 · `utd_ratio` times the share
    that the last rollouts stored of what they could have stored, and 1 at least."""
    sac: SACConfig = field(default_factory=SACConfig)
    model: ModelConfig = field(default_factory=ModelConfig)

    @model_validator(mode="after")
    def _capacity_holds_the_start(self) -> "MBPOConfig":
        if self.replay_capacity < self.random_steps:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold at least random_steps ({self.random_steps})."
            )
        return self

    @model_validator(mode="after")
    def _bound_needs_a_discount(self) -> "MBPOConfig":
        if self.rollout == "bound" and not 0 < self.sac.gamma < 1:
            raise ConfigError(
                f"rollout 'bound' needs 0 < sac.gamma < 1, not {self.sac.gamma}: at 1 no bound is finite."
            )
        return self

    @model_validator(mode="after")
    def _elites_are_compared(self) -> "MBPOConfig":
        if self.rollout in ("macura", "infoprop") and self.model.num_elites < 2:
            raise ConfigError(
                f"rollout '{self.rollout}' compares the model's elites with each other, and model.num_elites is "
                f"{self.model.num_elites}: at least 2 are needed, or another rollout."
            )
        return self

    @property
    def max_rollout_length(self) -> int:
        """Steps per branch, at most, whatever the run brings."""
        gates = {"macura": self.macura.max_length, "infoprop": self.infoprop.max_length, "bound": self.bound.max_length}
        return gates.get(self.rollout, self.rollout_length.end)

    @property
    def num_branches(self) -> int:
        """Branches per refit."""
        if self.rollout != "infoprop":
            return self.rollout_batch_size
        budget = self.rollout_batch_size * self.rollout_length.end // self.infoprop.max_length
        return self.infoprop.branches or max(budget, 1)
