"""Episodes as an objective: a function of parameters and seed, and of nothing else."""

import doctest
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from problems import bits

from blackbox_es import SNES, VanillaES

gymnasium = pytest.importorskip("gymnasium")
pytestmark = pytest.mark.gym

import blackbox_es.gymnasium  # noqa: E402
from blackbox_es.gymnasium import Rollouts, mlp  # noqa: E402

spaces = gymnasium.spaces


class Corridor(gymnasium.Env):
    """Five steps; observations are noise of the seed, the reward is the action, or its sum."""

    def __init__(self, actions):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2, 2))
        self.action_space = actions
        self.taken = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return self._look(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.taken.append(action)
        self.left -= 1
        return self._look(), float(np.sum(action)), self.left == 0, False, {}

    def _look(self):
        return self.np_random.normal(3.0, [[1.0, 2.0], [4.0, 0.0]], (2, 2))


def discrete():
    return Corridor(spaces.Discrete(3, start=10))


def box():
    low, high = np.float32([[-2, -np.inf], [0, -np.inf]]), np.float32([[2, np.inf], [4, 1]])
    return Corridor(spaces.Box(low, high))


def test_the_value_is_minus_the_mean_total_reward():
    """Of the episodes with the seeds that follow from the one given."""
    cost = Rollouts("CartPole-v1", n_episodes=3)
    x = cost.start((4,), seed=1)
    x[-1]["weight"][:] = 1.0
    rewards = cost.rewards(x, 3, seed=5)
    assert cost(x, seed=5) == -rewards.mean()
    assert bits(cost.rewards(x, 5, seed=5)[:3]) == bits(rewards)
    assert len(set(cost.rewards(x, 20, seed=5))) > 1
    noise = Rollouts(box, policy=lambda p, o: o)
    assert noise(0.0) != noise(0.0)  # no seed, other episodes: continuous rewards


def test_it_depends_on_parameters_and_seed_alone():
    """Not on what was played before, nor in which thread, nor after a pickle; pairs share it."""
    cost = Rollouts("CartPole-v1").normalized(n_episodes=2)
    rng = np.random.default_rng(0)
    points = [[{"weight": rng.normal(size=(2, 4)), "bias": np.zeros(2)}] for _ in range(8)]
    expected = [cost(x, seed=7) for x in points]
    again = pickle.loads(pickle.dumps(cost))
    assert [again(x, seed=7) for x in reversed(points)] == expected[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda x: cost(x, seed=7), points)] == expected


def test_workers_give_the_same_bits():
    """They make environments of their own."""
    searches = []
    for n_jobs in (1, 2):
        cost = Rollouts("CartPole-v1")
        es = VanillaES(max_iter=2, n_pairs=4, random_state=0, n_jobs=n_jobs)
        searches.append(es.fit(cost, cost.start((3,))))
    assert bits(searches[0].x_) == bits(searches[1].x_)
    assert bits(searches[0].history_) == bits(searches[1].history_)


def test_a_discrete_action_is_the_largest_output():
    """Counted from where the space begins."""
    cost = Rollouts(discrete, policy=lambda p, o: p)
    assert (cost.n_inputs, cost.n_outputs) == (4, 3)
    for i in range(3):
        assert cost(np.eye(3)[i], seed=0) == -5.0 * (10 + i)


def test_actions_of_a_box_are_within_it():
    """By tanh where both bounds are finite, else cut off, in shape and dtype of the space."""
    env = box()
    cost = Rollouts(lambda: env, policy=lambda p, o: p)
    cost(np.array([0.5, 7.0, -99.0, 2.0]), seed=0)
    expected = np.float32([[2 * np.tanh(0.5), 7.0], [0.0, 1.0]])
    np.testing.assert_allclose(env.taken, [expected] * 5, rtol=1e-6)


def test_policies():
    """Layers of tanh, the last one linear; outputs of zero at the start, hidden ones are not."""
    cost = Rollouts(discrete)
    params = cost.start((5, 4), seed=3)
    assert [layer["weight"].shape for layer in params] == [(5, 4), (4, 5), (3, 4)]
    assert bits(cost.start((5, 4), seed=3)) == bits(params)
    assert bits(mlp(params, np.ones(4))) == bits(np.zeros(3))
    assert abs(params[0]["weight"]).min() > 0
    weight, bias = np.arange(12.0).reshape(3, 4), np.ones(3)
    assert bits(mlp([{"weight": weight, "bias": bias}], np.ones(4))) == bits(weight.sum(1) + 1)
    hidden = [{"weight": np.eye(4), "bias": np.ones(4)}, {"weight": weight, "bias": bias}]
    np.testing.assert_allclose(mlp(hidden, np.zeros(4)), np.tanh(1) * weight.sum(1) + 1)


def test_statistics_are_those_of_what_was_seen():
    """Measured beforehand, by random actions or by a policy, and fixed; what is constant stays."""
    seen = []

    def look(params, observation):
        seen.append(observation)
        return params

    plain = Rollouts(discrete, look)
    cost = plain.normalized(n_episodes=200, seed=1)
    assert not seen
    np.testing.assert_allclose(cost.mean, 3.0, atol=0.5)
    np.testing.assert_allclose(cost.scale[:3], [1.0, 2.0, 4.0], rtol=0.1)
    assert cost.scale[3] == 1.0
    assert bits(cost.mean) == bits(plain.normalized(n_episodes=200, seed=1).mean)
    pole = Rollouts("CartPole-v1")  # where observations depend on actions
    assert bits(pole.normalized(seed=1).scale) == bits(pole.normalized(seed=1).scale)
    plain.rewards(np.zeros(3), 2, seed=4)
    raw, seen[:] = np.array(seen), []
    cost.rewards(np.zeros(3), 2, seed=4)
    np.testing.assert_allclose(seen, (raw - cost.mean) / cost.scale)
    by_policy = plain.normalized(np.zeros(3), n_episodes=2, seed=4)
    np.testing.assert_allclose(by_policy.mean, raw.mean(axis=0))
    assert plain.mean == 0.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"env": 3}, TypeError, "env=3: expected the id"),
        ({"policy": "mlp"}, TypeError, "policy='mlp': expected policy"),
        ({"n_episodes": 0}, ValueError, "n_episodes=0"),
        ({"mean": [1.0, 2.0]}, ValueError, r"mean=\[1. 2.\]: expected 4 finite numbers"),
        ({"mean": np.nan}, ValueError, "mean=nan"),
        ({"scale": 0.0}, ValueError, "scale=0.0: expected positive"),
        ({"env": lambda: Corridor(spaces.MultiBinary(2))}, TypeError, "MultiBinary"),
    ],
)
def test_arguments_that_are_refused(options, error, message):
    """By name."""
    with pytest.raises(error, match=message):
        Rollouts(**{"env": discrete, **options})


def test_outputs_of_another_size():
    """Are refused: nothing is chosen from what is not an action."""
    with pytest.raises(
        ValueError, match=r"what the policy returned has shape \(2,\): expected \(3,\)"
    ):
        Rollouts(discrete, policy=lambda p, o: np.zeros(2))(0.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_pole_is_balanced(seed):
    """475 of 500 over 100 fresh episodes, by a linear policy."""
    cost = Rollouts("CartPole-v1")
    es = SNES(sigma=0.5, n_pairs=8, max_iter=25, random_state=seed).fit(cost, cost.start())
    assert cost.rewards(es.x_, 100, seed=10**9).mean() >= 475


def test_the_car_climbs():
    """90 over 100 fresh episodes: a continuous task, for which observations are normalised."""
    cost = Rollouts("MountainCarContinuous-v0").normalized()
    es = VanillaES(sigma=1.0, learning_rate=0.3, shaping="centered_ranks", max_iter=20,
                   random_state=0).fit(cost, cost.start())  # fmt: skip
    assert cost.rewards(es.x_, 100, seed=10**9).mean() >= 90


def test_docstrings():
    """The example in the docstring runs."""
    assert doctest.testmod(blackbox_es.gymnasium).failed == 0
