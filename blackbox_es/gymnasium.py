"""Policies for environments of Gymnasium: an objective that plays episodes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from blackbox_es._validation import as_seed, as_values, check_count
from blackbox_es.noise import user_seed

Array = npt.NDArray[Any]

__all__ = ["Rollouts", "mlp"]


def mlp(params: list[dict[str, Array]], observation: Array) -> Array:
    """The outputs of a multilayer perceptron with tanh units; with one layer, a linear policy.

    Parameters
    ----------
    params : list of {"weight": (units, inputs), "bias": (units,)}
    observation : ndarray of shape (inputs,)
    """
    *hidden, last = params
    for layer in hidden:
        observation = np.tanh(layer["weight"] @ observation + layer["bias"])
    return np.asarray(last["weight"] @ observation + last["bias"])


class Rollouts:
    """Minus the mean total reward of a policy over some episodes: an objective with a seed.

    ::

        seed -> reset -> observation -> (o - mean) / scale -> policy(params, o) -> action -> reward

    An output of the policy for each action of a discrete space, the largest is taken; for a box one
    for each coordinate, mapped onto the interval by tanh where there are bounds.

    It is a function of parameters and seed and nothing else. So the two points of a pair play the
    same episodes, and results do not depend on the number of workers: statistics of observations
    are fixed, and measured beforehand by `normalized`, never as episodes go. To have new ones in a
    loop of ask and tell, make a new objective between two generations.

    Parameters
    ----------
    env : str or callable
        The id of an environment, or a function that makes one. Each thread and each worker makes
        its own.
    policy : callable
        ``policy(params, observation) -> outputs``, a vector. Params are what ``x0`` is.
    n_episodes : int
        In an evaluation.
    mean, scale : array-like of shape (inputs,), or numbers
        Statistics of observations.

    Attributes
    ----------
    n_inputs, n_outputs : int
        Of a policy: the size of a flattened observation, and of what it returns.

    Raises
    ------
    TypeError, ValueError
        For spaces of actions that are neither discrete nor boxes, and invalid parameters.

    Examples
    --------
    >>> from blackbox_es import SNES
    >>> cost = Rollouts("CartPole-v1")
    >>> es = SNES(sigma=0.5, max_iter=10, random_state=0).fit(cost, cost.start())
    >>> bool(cost.rewards(es.x_, 10, seed=1).mean() > 100.0)
    True
    """

    def __init__(
        self,
        env: str | Callable[[], Any],
        policy: Callable[[Any, Array], Any] = mlp,
        *,
        n_episodes: int = 1,
        mean: npt.ArrayLike = 0.0,
        scale: npt.ArrayLike = 1.0,
    ) -> None:
        if not isinstance(env, str) and not callable(env):
            raise TypeError(f"env={env!r:.99}: expected the id of an environment or a function")
        if not callable(policy):
            raise TypeError(f"policy={policy!r:.99}: expected policy(params, observation)")
        check_count("n_episodes", n_episodes)
        self.env, self.policy, self.n_episodes = env, policy, n_episodes
        self.mean, self.scale = np.asarray(mean, float), np.asarray(scale, float)
        self._made = threading.local()
        made = self._environment()
        self.n_inputs = int(spaces.flatdim(made.observation_space))
        self.n_outputs = _n_outputs(made.action_space)
        for name, held in (("mean", self.mean), ("scale", self.scale)):
            if held.shape not in ((), (self.n_inputs,)) or not np.isfinite(held).all():
                raise ValueError(f"{name}={held}: expected {self.n_inputs} finite numbers, or one")
        if not (self.scale > 0.0).all():
            raise ValueError(f"scale={self.scale}: expected positive numbers")

    def __call__(self, params: Any, seed: int | None = None) -> float:
        return -float(self.rewards(params, self.n_episodes, seed=seed).mean())

    def rewards(self, params: Any, n_episodes: int, *, seed: int | None = None) -> Array:
        """The total reward of each of some episodes; without a seed others each time."""
        return np.array([
            sum(reward for _, reward in self._episode(params, start))
            for start in _seeds(seed, n_episodes)
        ])  # fmt: skip

    def start(self, hidden_layer_sizes: tuple[int, ...] = (), *, seed: int = 0) -> list[Any]:
        """Parameters of `mlp` to begin with: random hidden layers, and outputs of zero.

        Parameters
        ----------
        hidden_layer_sizes : tuple of int
            None of them is a linear policy.
        """
        rng = np.random.default_rng(seed)
        sizes = [self.n_inputs, *hidden_layer_sizes, self.n_outputs]
        layers = [
            {"weight": rng.normal(size=(n, m)) / np.sqrt(m), "bias": np.zeros(n)}
            for m, n in pairwise(sizes)
        ]
        layers[-1]["weight"][:] = 0.0
        return layers

    def normalized(self, params: Any = None, n_episodes: int = 10, *, seed: int = 0) -> Rollouts:
        """The same objective with the mean and the standard deviation of the observations seen.

        Parameters
        ----------
        params
            Of the policy that plays; None takes random actions.
        n_episodes : int
        """
        check_count("n_episodes", n_episodes)
        seen = np.array([
            observation
            for start in _seeds(seed, n_episodes)
            for observation, _ in self._episode(params, start)
        ])  # fmt: skip
        scale = seen.std(axis=0)
        scale[scale < 1e-8] = 1.0  # what does not change
        return Rollouts(
            self.env,
            self.policy,
            n_episodes=self.n_episodes,
            mean=seen.mean(axis=0),
            scale=scale,
        )

    def _episode(self, params: Any, seed: int) -> Any:
        """Observations before they are normalised, and the reward of what is done then."""
        env = self._environment()
        env.action_space.seed(seed)  # for random actions
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            flat = spaces.flatten(env.observation_space, observation)
            if params is None:
                action = env.action_space.sample()
            else:
                outputs = self.policy(params, (flat - self.mean) / self.scale)
                outputs = as_values(outputs, (self.n_outputs,), "what the policy returned")
                action = _action(env.action_space, outputs)
            observation, reward, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            yield flat, float(reward)

    def _environment(self) -> Any:
        if not hasattr(self._made, "env"):
            self._made.env = gymnasium.make(self.env) if isinstance(self.env, str) else self.env()
        return self._made.env

    def __getstate__(self) -> dict[str, Any]:
        return {name: held for name, held in vars(self).items() if name != "_made"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _made=threading.local())


def _seeds(seed: int | None, n: int) -> list[int]:
    """Those of some episodes: the first ones are the same, however many there are."""
    seed = as_seed(seed)
    return [user_seed((seed, episode), 0) for episode in range(n)]


def _n_outputs(space: Any) -> int:
    """How many outputs of a policy choose an action."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    raise TypeError(f"the space of actions is {space}: expected Discrete or Box")


def _action(space: Any, outputs: Array) -> Any:
    """The action that outputs choose."""
    if isinstance(space, spaces.Discrete):
        return int(space.start) + int(outputs.argmax())
    low, high = space.low.ravel(), space.high.ravel()
    with np.errstate(invalid="ignore", over="ignore"):  # where there is no bound
        inside = (low + high) / 2 + (high - low) / 2 * np.tanh(outputs)
    action = np.where(np.isfinite(high - low), inside, np.clip(outputs, low, high))
    return action.reshape(space.shape).astype(space.dtype)
