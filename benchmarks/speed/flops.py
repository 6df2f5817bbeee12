"""Floating-point operations that a workload cannot do without: its matrix multiplications, nothing else.

A multiplication and an addition count as two operations. `sizes` are the widths of a network from
its input to its output; a layer's backward pass multiplies once for its weights' gradient and
once for its input's, which the first layer needs only where the network's input has a gradient.
Activations, optimisers, random numbers and copies count as nothing, so a fraction of peak says how
near to pure matrix multiplication a workload is.
"""

from collections.abc import Sequence
from itertools import pairwise


def forward(sizes: Sequence[int]) -> int:
    """One row through a network: 2 Σ in · out."""
    return 2 * sum(a * b for a, b in pairwise(sizes))


def backward_inputs(sizes: Sequence[int], needed_inputs: int = 0) -> int:
    """Gradients of one row's activations; of the network's input, only the first `needed_inputs` columns."""
    return forward(sizes) - 2 * (sizes[0] - needed_inputs) * sizes[1]


def sac_update(obs: int, act: int, hidden: Sequence[int], batch: int) -> int:
    """One update of two critics, an actor and a temperature.

    targets: actor and 2 target critics forward; critics: 2 forward, 2 backward for weights;
    actor: actor and 2 critics forward, 2 critics backward to the action, actor backward for weights.
    """
    actor, critic = (obs, *hidden, 2 * act), (obs + act, *hidden, 1)
    target = forward(actor) + 2 * forward(critic)
    critics = 2 * (forward(critic) + forward(critic) + backward_inputs(critic))
    through_critics = 2 * (forward(critic) + backward_inputs(critic, act))
    policy = forward(actor) + forward(actor) + backward_inputs(actor)
    return batch * (target + critics + through_critics + policy)


def model_sizes(obs: int, act: int, hidden: Sequence[int]) -> tuple[int, ...]:
    """A probabilistic member: (obs, action) to mean and variance of (Δobs, reward)."""
    return (obs + act, *hidden, 2 * (obs + 1))


def fit_step(obs: int, act: int, hidden: Sequence[int], members: int, batch: int) -> int:
    """One gradient step of all members, each on a batch of its own; hold-out scores count as nothing."""
    sizes = model_sizes(obs, act, hidden)
    return members * batch * (forward(sizes) + forward(sizes) + backward_inputs(sizes))


def rollout_row(obs: int, act: int, hidden: Sequence[int], policy_hidden: Sequence[int]) -> int:
    """One imagined transition: the actor and one member, forward."""
    return forward((obs, *policy_hidden, 2 * act)) + forward(model_sizes(obs, act, hidden))


def plan(obs: int, act: int, hidden: Sequence[int], evaluations: int) -> int:
    """One decision: `evaluations` = iterations · population · particles · horizon rows through one member."""
    return evaluations * forward(model_sizes(obs, act, hidden))
