"""Worlds with known answers, as the plain functions that the package takes its worlds as.

- `LinearGaussian`: Gaussian k-step futures in closed form, as a source of data and as a `ModelStep`.
- `countdown_step`: ends or breaks each branch at a step that the state itself announces.
- `pendulum_step`: the exact dynamics of Gymnasium's Pendulum-v1, vectorised.
- `pendulum_optimum`: what a near-optimal controller scores on Pendulum-v1, by dynamic programming.
- `PointMass`: the smallest control task with bounded actions, as an environment loop sees it.
- `linear_mlp`: a network without hidden layers, so that its outputs can be read off its weights.

Run as a script, this file prints the near-optimum of Pendulum-v1 at full resolution.
"""

import math
import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbpo.nn.networks import MLP
from mbpo.types import ModelOutput, Spec, Transition

# --- Linear-Gaussian world -----------------------------------------------------------------------


class LinearGaussian(NamedTuple):
    """s' = A s + B a + c + ε,  r = w·s + v·a + η,  a = K s + ξ, all noises independent Gaussians."""

    A: np.ndarray
    B: np.ndarray
    c: np.ndarray
    state_std: np.ndarray
    w: np.ndarray
    v: np.ndarray
    reward_std: float
    K: np.ndarray
    action_std: float

    def mean(self, obs, action):
        """Expected `(next_obs, reward)`; works on NumPy and JAX arrays alike."""
        return obs @ self.A.T + action @ self.B.T + self.c, obs @ self.w + action @ self.v

    def model_step(self, obs, action, key) -> ModelOutput:
        next_obs, reward = self.mean(obs, action)
        # The key itself, as in `policy`: handed the same one, action and state noise would coincide.
        next_obs = next_obs + self.state_std * jax.random.normal(key, next_obs.shape)
        reward = reward + self.reward_std * jax.random.normal(jax.random.fold_in(key, 1), reward.shape)
        return ModelOutput(next_obs, reward, jnp.zeros(reward.shape, bool), jnp.zeros(reward.shape))

    def policy(self, obs, key):
        action = obs @ self.K.T
        return action + self.action_std * jax.random.normal(key, action.shape)

    def sample_transitions(self, seed: int, rows: int) -> Transition:
        """Rows with standard normal states and actions, drawn without JAX."""
        rng = np.random.default_rng(seed)
        obs = rng.standard_normal((rows, self.A.shape[0]))
        action = rng.standard_normal((rows, self.B.shape[1]))
        next_obs, reward = self.mean(obs, action)
        next_obs = next_obs + self.state_std * rng.standard_normal(next_obs.shape)
        reward = reward + self.reward_std * rng.standard_normal(rows)
        columns = (np.asarray(a, np.float32) for a in (obs, action, reward, next_obs))
        return Transition(*columns, terminated=np.zeros(rows, bool))

    def moments(self, start: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the state `steps` steps after `start` under the policy.

        With M = A + B K:  μ ← M μ + c,   Σ ← M Σ Mᵀ + σ_a² B Bᵀ + diag(σ_s²).
        """
        closed = self.A + self.B @ self.K
        mean, covariance = np.asarray(start, float), np.zeros(self.A.shape)
        for _ in range(steps):
            mean = closed @ mean + self.c
            covariance = (
                closed @ covariance @ closed.T + self.action_std**2 * self.B @ self.B.T + np.diag(self.state_std**2)
            )
        return mean, covariance


LINEAR_GAUSSIAN = LinearGaussian(
    A=np.array([[0.9, 0.2], [-0.1, 0.8]], np.float32),
    B=np.array([[0.5, 0.0], [0.1, 0.3]], np.float32),
    c=np.array([0.2, -0.1], np.float32),
    state_std=np.array([0.1, 0.3], np.float32),
    w=np.array([1.0, -0.5], np.float32),
    v=np.array([0.3, 0.0], np.float32),
    reward_std=0.2,
    K=np.array([[-0.4, 0.1], [0.0, -0.3]], np.float32),
    action_std=0.4,
)
"""Two states and two actions: action and state noise have one shape, so a key used for both would show."""


# --- A world that ends by a known rule -----------------------------------------------------------


def countdown_step(obs, action, key) -> ModelOutput:
    """`obs = (name, until_end, until_nan)`: both counters fall by one; 0 terminates, or breaks, the branch.

    A start value of 0 or less never gets there. The reward is the branch's name.
    """
    next_obs = obs - jnp.array([0.0, 1.0, 1.0])
    next_obs = jnp.where((next_obs[:, 2] == 0)[:, None], jnp.nan, next_obs)
    return ModelOutput(next_obs, obs[:, 0], next_obs[:, 1] == 0, jnp.full(obs.shape[:1], 0.5))


# --- Pendulum-v1 ---------------------------------------------------------------------------------

GRAVITY, TIME_STEP, MAX_SPEED, MAX_TORQUE = 10.0, 0.05, 8.0, 2.0
EPISODE_STEPS = 200


def wrap_angle(theta):
    """The same angle in [−π, π)."""
    return (theta + math.pi) % (2 * math.pi) - math.pi


def pendulum_dynamics(theta, speed, torque):
    """One step of Gymnasium's Pendulum-v1 with m = l = 1: `(next_theta, next_speed, reward)`."""
    torque = jnp.clip(torque, -MAX_TORQUE, MAX_TORQUE)
    reward = -(wrap_angle(theta) ** 2 + 0.1 * speed**2 + 0.001 * torque**2)
    speed = speed + (1.5 * GRAVITY * jnp.sin(theta) + 3.0 * torque) * TIME_STEP
    speed = jnp.clip(speed, -MAX_SPEED, MAX_SPEED)
    return theta + speed * TIME_STEP, speed, reward


def pendulum_step(obs, action, key) -> ModelOutput:
    """Pendulum-v1 as a `ModelStep`: `obs = (cos θ, sin θ, θ̇)`, never terminates, certain of itself."""
    theta, speed, reward = pendulum_dynamics(jnp.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2], action[:, 0])
    next_obs = jnp.stack([jnp.cos(theta), jnp.sin(theta), speed], axis=-1)
    return ModelOutput(next_obs, reward, jnp.zeros(reward.shape, bool), jnp.zeros(reward.shape))


def _interpolate(values, theta, speed):
    """Bilinear value at `(θ, θ̇)` from a grid over [−π, π] × [−8, 8], ends included."""
    rows, columns = values.shape
    x = (wrap_angle(theta) + math.pi) / (2 * math.pi) * (rows - 1)
    y = (speed + MAX_SPEED) / (2 * MAX_SPEED) * (columns - 1)
    i = jnp.clip(x.astype(jnp.int32), 0, rows - 2)
    j = jnp.clip(y.astype(jnp.int32), 0, columns - 2)
    x, y = x - i, y - j
    flat, corner = values.reshape(-1), i * columns + j
    low = flat[corner] * (1 - y) + flat[corner + 1] * y
    high = flat[corner + columns] * (1 - y) + flat[corner + columns + 1] * y
    return low * (1 - x) + high * x


def _best_action(values, theta, speed, torques, gamma):
    """Greedy one-step lookahead: the best discounted return-to-go and the torque that earns it."""

    def consider(i, best):
        next_theta, next_speed, reward = pendulum_dynamics(theta, speed, torques[i])
        value = reward + gamma * _interpolate(values, next_theta, next_speed)
        return jnp.maximum(best[0], value), jnp.where(value > best[0], torques[i], best[1])

    start = (jnp.full(theta.shape, -jnp.inf), jnp.zeros(theta.shape))
    return jax.lax.fori_loop(0, torques.shape[0], consider, start)


@partial(jax.jit, static_argnames=("grid", "num_torques"))
def _pendulum_returns(theta, speed, gamma, *, grid: int, num_torques: int):
    torques = jnp.linspace(-MAX_TORQUE, MAX_TORQUE, num_torques)
    axes = jnp.linspace(-math.pi, math.pi, grid), jnp.linspace(-MAX_SPEED, MAX_SPEED, grid)
    mesh = jnp.meshgrid(*axes, indexing="ij")

    def back_up(values, _):
        # Yields the values of what remains after each step, last step first.
        return _best_action(values, *mesh, torques, gamma)[0], values

    _, values_after = jax.lax.scan(back_up, jnp.zeros((grid, grid)), length=EPISODE_STEPS)

    def roll(state, values):
        _, torque = _best_action(values, *state, torques, gamma)
        next_theta, next_speed, reward = pendulum_dynamics(*state, torque)
        return (wrap_angle(next_theta), next_speed), reward

    _, rewards = jax.lax.scan(roll, (theta, speed), values_after, reverse=True)
    return rewards.sum(axis=0)


def pendulum_optimum_from(theta, speed, *, gamma: float = 1.0, grid: int = 401, num_torques: int = 41):
    """Undiscounted 200-step returns of the greedy policy of a dynamic programme, from given starts.

    Value iteration backwards over a `grid × grid` table of (θ, θ̇), bilinear between its points; the
    policy it implies is then run in the exact dynamics, so every return is truly attainable. With
    `gamma` below 1 the policy is the best one for discounted returns; what is given back is always
    undiscounted, so it tells what a discount costs.

    Args:
        theta: Angles `[starts]`; 0 is upright.
        speed: Angular speeds `[starts]`.

    Returns:
        A NumPy array `[starts]`, float64.
    """
    starts = jnp.asarray(theta, jnp.float32), jnp.asarray(speed, jnp.float32)
    return np.asarray(_pendulum_returns(*starts, gamma, grid=grid, num_torques=num_torques), np.float64)


def pendulum_optimum(
    *, gamma: float = 1.0, grid: int = 401, num_torques: int = 41, resets: int = 20_000, seed: int = 0
):
    """`pendulum_optimum_from` random resets, drawn as Gymnasium draws them; `[resets]`, float64."""
    theta_key, speed_key = jax.random.split(jax.random.key(seed))
    theta = jax.random.uniform(theta_key, (resets,), minval=-math.pi, maxval=math.pi)
    speed = jax.random.uniform(speed_key, (resets,), minval=-1.0, maxval=1.0)
    return pendulum_optimum_from(theta, speed, gamma=gamma, grid=grid, num_torques=num_torques)


class PointMass:
    """A point on a line to be pushed to 0: x' = x + 0.25 a, r = −x'², 20 steps, x₀ ~ U(−2, 2).

    The action box is lopsided, [−1, 3], so an actor that ignores the box's centre fails. Leaving
    |x| ≤ 3 terminates, at a reward of −9 or worse: dying early must not look cheap.
    """

    spec = Spec(obs_dim=1, action_low=np.array([-1.0], np.float32), action_high=np.array([3.0], np.float32))
    steps = 20
    step_size = 0.25
    limit = 3.0

    @staticmethod
    def terminated(obs, action, next_obs):
        """The termination rule, a `TerminationFn`."""
        return abs(next_obs[..., 0]) > PointMass.limit

    @staticmethod
    def transition(x: float, action: np.ndarray) -> Transition:
        next_x = x + PointMass.step_size * float(action[0])
        return Transition(
            obs=np.array([x], np.float32),
            action=np.asarray(action, np.float32),
            reward=np.float32(-(next_x**2)),
            next_obs=np.array([next_x], np.float32),
            terminated=np.bool_(abs(next_x) > PointMass.limit),
        )

    @staticmethod
    def mean_return(predict, starts=None) -> float:
        """Average return of `predict: [batch, 1] -> [batch, 1]` from `starts`, or a fixed row of them.

        A start that leaves the limits is charged its last reward for every step it misses.
        """
        x = np.linspace(-2, 2, 21) if starts is None else np.asarray(starts, float)
        total, out = np.zeros(len(x)), np.zeros(len(x), bool)
        for _ in range(PointMass.steps):
            action = np.asarray(predict(x[:, None].astype(np.float32)))[:, 0]
            x = np.where(out, x, x + PointMass.step_size * action)
            out |= abs(x) > PointMass.limit
            total -= x**2
        return float(total.mean())


# --- Networks that can be read -------------------------------------------------------------------


def linear_mlp(weight, bias) -> MLP:
    """A network that is `x @ weight + bias` and nothing else; a leading axis makes it a set of them."""
    return MLP(
        weights=(jnp.asarray(weight, jnp.float32),),
        biases=(jnp.asarray(bias, jnp.float32),),
        norm_scales=(),
        norm_offsets=(),
        activation=jax.nn.relu,
    )


if __name__ == "__main__":
    for discount in (1.0, 0.99, 0.98, 0.97):
        found = pendulum_optimum(gamma=discount)
        error = found.std(ddof=1) / math.sqrt(found.size)
        sys.stdout.write(
            f"Pendulum-v1, optimal for gamma {discount}: {found.mean():.2f} ± {error:.2f} (s.e.) undiscounted, "
            f"over {found.size} random resets\n"
        )
