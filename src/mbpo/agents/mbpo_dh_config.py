"""The settings of double-horizon MBPO: one default for all tasks, and what each value was published as."""

from dataclasses import field
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator

from mbpo.agents.settings import (
    Epochs,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Sizes,
    TimesLonger,
    settings,
)
from mbpo.errors import ConfigError


@settings
class ValueGradientConfig:
    """The learner: value gradients through short rollouts (Kubo et al. 2025)."""

    hidden_sizes: Sizes = (256, 256, 256)
    """Hidden layers of the actor and of each critic, SiLU."""
    num_critics: Annotated[int, Ge(2)] = 5
    """Critics. The actor hears their mean; a target takes the smaller of two drawn at random."""
    critic_layer_norm: bool = True
    """LayerNorm between the critics' layers."""
    critic_dropout: Annotated[float, Ge(0), Lt(1)] = 0.001
    """Share of the critics' hidden units dropped in training."""
    horizon: PositiveInt = 5
    """H: imagined steps that gradients pass through."""
    batch_size: PositiveInt = 256
    """Start states per update."""
    real_rows: NonNegativeInt = 0
    """Real transitions per update that the critics learn from besides: they hear of ends that really came, whatever
    the model says of them. Not published; 0: none, as published."""
    learning_rate: PositiveFloat = 3e-4
    """Adam, for actor, critics and temperature alike; also how fast the bounds of Q move."""
    actor_learning_rate: PositiveFloat | None = None
    """Adam, for the actor alone; None: as for the others, as published."""
    gamma: Annotated[float, Ge(0), Lt(1)] = 0.995
    """Discount per environment step."""
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the critics that flows into the target critics per update."""
    initial_alpha: PositiveFloat = 0.1
    """The temperature at the start; learned from then on."""
    target_entropy: float | None = None
    """Entropy the temperature aims at, in nats, for actions rescaled to [-1, 1]; None: minus the
    number of action dimensions."""
    judge_ends: bool = False
    """Let the critics judge the last state before an end for the actor, instead of counting nothing
    after it: then ends have a slope. Not published."""
    row_limit: PositiveFloat | None = None
    """How far one start state may pull at the actor at each imagined step, in medians of the batch's gradients;
    None: as far as it does, as published. Not published."""
    actor_average_rate: Annotated[float, Gt(0), Le(1)] = 1e-3
    """Share of the actor that flows into its average per update, more at first. The average's mean action is what is
    evaluated; the actor explores and learns as without it. Not published. 1: no average, the actor itself."""
    bound_quantile: Annotated[float, Ge(0), Lt(0.5)] | None = 0.01
    """Q is believed to lie between this and the opposite quantile of the soft rewards, over 1 - gamma: critics are
    scaled to that, and targets cut. None: critics in units of return, and no target is cut. A run keeps to the one or
    the other."""


@settings
class HomoscedasticConfig:
    """The ensemble with one noise per member and output (Kubo et al. 2025), and how it is fitted.

    The fit's own settings are not the published ones: small batches and long steps come to the same
    error in a tenth of the arithmetic (docs/algorithms/mbpo_dh.md, "What a fit costs").
    """

    ensemble_size: PositiveInt = 8
    """Members; all of them imagine."""
    hidden_sizes: Sizes = (256, 256, 256)
    """Hidden layers of each member, SiLU, with LayerNorm between them."""
    residual: bool = True
    """Predict the change of the observation rather than the next one."""
    normalize_targets: bool = True
    """Standardise what is predicted, each number over the real data; else it is predicted in the environment's units,
    in which the large numbers decide, and model_holdout_error and model_noise are logged in these."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.01
    """Share of hidden units dropped in training, less towards the output (times one minus the share of
    weight decay, which is 1/4 in the first layer and 1 in the last)."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW, at the second epoch of a fit, the highest. Published: 1e-3."""
    final_rate_share: Annotated[float, Gt(0), Le(1)] = 0.03
    """The learning rate of a fit's first and last epoch as a share of that; it falls linearly from the second
    on (a fit of two epochs ends at all of it). Published: 1."""
    batch_size: PositiveInt = 128
    """Rows per member and gradient step. Published: 2048."""
    weight_decay: NonNegativeFloat = 1e-3
    """Decoupled, of the last layer; 1/4 of it in the first."""
    weight_decay_rows: NonNegativeInt = 0
    """Real rows up to which weight_decay holds; with more it falls as 1 / rows. 0: it never falls, as published."""
    unseen_noise: bool = False
    """Let the noise of imagined steps be as wide as the model is wrong on rows that it was not fitted to: before a
    fit on those that came since the last one, or after it on the held-out, whichever is more; of these there
    should be some hundred. Else as wide as on the rows that it learns from, as published."""
    end_margin: NonNegativeFloat = 0.0
    """Imagined episodes also end where the next state would with Gaussian noise on each number, of so many standard
    deviations of the real observations: for the actor, the critics' targets and long rollouts alike. Not published;
    0: only where the episode itself would, as published."""
    holdout_ratio: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of real rows never trained on."""
    bootstrap: bool = True
    """Draw each member's rows with replacement, so that it learns from about two thirds of those that are not
    held out; else every member learns from all of these, as what learns when episodes end does anyway.
    Published: weights drawn from an exponential distribution."""
    max_holdout: PositiveInt = 5000
    """Held-out rows scored after each epoch, at most."""
    min_epoch_batches: PositiveInt = 50
    """Gradient steps of one epoch, at least."""
    max_epoch_batches: PositiveInt = 100
    """Gradient steps of one epoch, at most; fewer while there are fewer whole batches of rows. Published: 5."""
    patience: Annotated[float, Gt(0), Le(10_000)] = 10.0
    """Epochs without a better score before a fit ends, for each natural logarithm of the number of
    outputs: 25 for Hopper's 12, so none ends early. Published: 50, with its short epochs."""
    max_epochs: Epochs = 15
    """Epochs of one fit, at most; the published code has no bound."""
    first_fit_factor: TimesLonger = 5
    """How many times as long the first fit may take: it has that many times the data of a later one."""
    improvement: Annotated[float, Gt(0), Le(1)] = 1.0
    """What a fit leaves behind is the last epoch that a paired test over held-out rows found better than the
    one kept before, with a p of at most this. 0.5: its mean score is lower; 1: the last epoch of all.
    Published: 0.1."""

    @model_validator(mode="after")
    def _fits_together(self) -> "HomoscedasticConfig":
        if self.min_epoch_batches > self.max_epoch_batches:
            raise ConfigError(
                f"min_epoch_batches ({self.min_epoch_batches}) cannot exceed "
                f"max_epoch_batches ({self.max_epoch_batches})."
            )
        if self.unseen_noise and self.improvement < 1:
            raise ConfigError(
                f"unseen_noise goes with improvement = 1, and improvement is {self.improvement}: an epoch is judged by "
                "the noise it has learned, and would be compared with the noise that was set after the fit before."
            )
        return self


@settings
class MBPODHConfig:
    """Double-horizon model-based policy optimization (Kubo et al. 2025, arXiv:2512.15439)."""

    random_steps: Annotated[int, Ge(10)] = 5000
    """Uniformly random actions before the first model fit, in environment steps."""
    random_action_hold: PositiveInt = 1
    """Environment steps each of these actions is held for."""
    replay_capacity: Annotated[int, Ge(10)] = 400_000
    """Real transitions kept."""
    model_train_freq: PositiveInt = 1000
    """Environment steps between refits of the model."""
    critic_updates: NonNegativeInt = 250
    """Updates of the critics alone right after each refit: they judge by a model that is new."""
    first_updates: NonNegativeInt = 5000
    """Updates right after the first fit, to catch up with the random steps."""
    utd_ratio: PositiveInt = 1
    """Updates per environment step."""
    updates_at_refit: bool = False
    """Whether the policy rests between refits and all updates follow the next one, as published; else
    they are made while the data come in. What comes in after the last refit of a run is then not learned from."""
    rollout_freq: PositiveInt = 20
    """Updates between long rollouts, which bring new start states. While learning all along, those of whole environment
    steps: the next lower multiple of utd_ratio, or utd_ratio itself."""
    rollout_batch_size: PositiveInt = 256
    """Long rollouts at a time."""
    rollout_length: PositiveInt = 20
    """Steps of each, without gradients."""
    retain_rollouts: PositiveInt = 10
    """Rounds of long rollouts whose states are kept to start from, if none ends early; more where some do: what is
    kept is so many states."""
    learner: ValueGradientConfig = field(default_factory=ValueGradientConfig)
    model: HomoscedasticConfig = field(default_factory=HomoscedasticConfig)

    @model_validator(mode="after")
    def _capacity_holds_the_start(self) -> "MBPODHConfig":
        if self.replay_capacity < self.random_steps:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold at least random_steps ({self.random_steps})."
            )
        return self
