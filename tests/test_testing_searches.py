"""check_optimizer: planted bugs, the strategies of the package, and other packages' optimizers."""

import random
import threading
from typing import ClassVar

import numpy as np
import pytest

from blackbox_es.strategies import STRATEGIES
from blackbox_es.testing import check_optimizer, parametrize_with_optimizer_checks
from blackbox_es.testing.adapters import OneByOne, WithSurrogate
from blackbox_es.testing.search_laws import SEARCH_CHECKS


class Plain:
    """A sound evolution strategy in few lines; the bugs below are changes of it."""

    sigma, rate, pairs = 0.5, 0.5, 6

    def __init__(self, x0, seed):
        self.mean = np.array(x0, float)
        self.rng = np.random.default_rng(seed)

    def noise(self, shape):
        return self.rng.standard_normal(shape)

    def ask(self):
        z = self.noise((self.pairs, self.mean.size))
        self.X = self.mean + self.sigma * np.concatenate([z, -z])
        return self.X.copy()

    def tell(self, X, values):
        values = np.array(values, float)
        if values.shape != (len(X),):
            raise ValueError(f"{len(values)} values for {len(X)} points")
        self.update(values)

    def update(self, values):
        good = np.isfinite(values)
        if good.any():
            ranks = np.where(good, values, np.inf).argsort().argsort() / len(values) - 0.5
            self.step(-2 * self.rate * ranks @ (self.X - self.mean) / len(values))

    def step(self, by):
        self.mean = self.mean + by


class AliasesX0(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        self.mean = x0


class WritesX0(AliasesX0):
    def step(self, by):
        self.mean += by


class GlobalSeed(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        np.random.seed(seed)  # noqa: NPY002

    def noise(self, shape):
        return np.random.standard_normal(shape)  # noqa: NPY002


class GlobalPython(Plain):
    def noise(self, shape):
        return np.array([random.gauss(0, 1) for _ in range(np.prod(shape))]).reshape(shape)


class UnseededGlobal(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, np.random.randint(2**31))  # noqa: NPY002


class ZeroIsNone(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, seed or None)


class IgnoresSeed(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, 7)


class FreshEntropy(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, None)


class SameNoise(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        self.z = super().noise((self.pairs, self.mean.size))

    def noise(self, shape):
        return self.z


class OneBuffer(Plain):
    def ask(self):
        X = super().ask()
        self.buffer = getattr(self, "buffer", X)
        self.buffer[:] = X
        return self.buffer


class OwnPoints(Plain):
    """Returns the array it computes with, one generation late."""

    last = 0.0

    def ask(self):
        super().ask()
        return self.X

    def update(self, values):
        super().update(values)
        self.last, self.kept = values.argmin(), self.X

    def noise(self, shape):
        z = super().noise(shape)
        if hasattr(self, "kept"):
            z[0] = (self.kept[self.last] - self.mean) / self.sigma
        return z


class SortsValues(Plain):
    def tell(self, X, values):
        super().tell(X, values)
        values.sort()


class MendsNaN(Plain):
    def tell(self, X, values):
        good = [v for v in values if v == v]
        for i, v in enumerate(values):
            if v != v and good:
                values[i] = max(good)
        super().tell(X, values)


class WritesPoints(Plain):
    def tell(self, X, values):
        super().tell(X, values)
        X -= self.mean


class AnyLength(Plain):
    def tell(self, X, values):
        n = min(len(X), len(values))
        padded = np.full(len(X), np.inf)
        padded[:n] = values[:n]
        self.update(padded)


class HalfDone(Plain):
    def tell(self, X, values):
        self.sigma *= 0.9
        super().tell(X, values)


class AsksAgain(Plain):
    """A refused tell has drawn from the generator."""

    def tell(self, X, values):
        self.noise(3)
        super().tell(X, values)


class PickleForgets(Plain):
    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "rng"}

    def __setstate__(self, state):
        vars(self).update(state)
        self.rng = np.random.default_rng()


class PickleForgetsPoints(Plain):
    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "X"}


class NoPickle(Plain):
    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        self.lock = threading.Lock()


class SharedMean(Plain):
    """Its mean is of the class: two searches pull at one."""

    means: ClassVar = [None]

    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        self.means[0] = self.mean

    def step(self, by):
        self.means[0] = self.mean = self.means[0] + by


class DividesByZero(Plain):
    def update(self, values):
        z = (values - values.mean()) / values.std()
        self.step(-self.rate * z @ (self.X - self.mean) / len(z))


class NaNPoisons(Plain):
    def update(self, values):
        if np.ptp(values) != 0:
            z = np.clip(values - np.median(values), -1, 1)
            self.step(-self.rate * z @ (self.X - self.mean) / len(z))


class InfinityPoisons(Plain):
    def update(self, values):
        values = np.where(np.isnan(values), np.nanmax([*values, 0.0]), values)
        z = values - np.mean(values)
        self.step(-self.rate * 0.1 * z @ (self.X - self.mean) / len(z))


class Maximises(Plain):
    def step(self, by):
        super().step(-by)


class StandsStill(Plain):
    def step(self, by):
        pass


class Integers(Plain):
    def ask(self):
        return np.rint(super().ask()).astype(int)


class OnePoint(Plain):
    def ask(self):
        super().ask()
        return self.X[0].copy()


class AsksNaN(Plain):
    def ask(self):
        X = super().ask()
        X[-1, 0] = np.nan
        return X


class OutOfBounds(Plain):
    """Clips the mean, but not the points."""

    def step(self, by):
        self.mean = np.clip(self.mean + by, -1.5, 2.5)


class InBounds(Plain):
    def ask(self):
        super().ask()
        self.X = np.clip(self.X, -1.5, 2.5)
        return self.X.copy()


BUGS = {
    "check_points_asked": [Integers, OnePoint, AsksNaN],
    "check_bounds": [OutOfBounds],
    "check_points_stay": [OneBuffer],
    "check_points_are_yours": [OwnPoints],
    "check_new_generation": [SameNoise],
    "check_x0_not_written": [WritesX0],
    "check_x0_not_aliased": [AliasesX0],
    "check_told_untouched": [SortsValues, MendsNaN, WritesPoints],
    "check_global_state": [GlobalSeed],
    "check_same_seed": [FreshEntropy, GlobalPython, UnseededGlobal],
    "check_seed_zero": [ZeroIsNone],
    "check_other_seed": [IgnoresSeed],
    "check_independent": [SharedMean],
    "check_wrong_length": [AnyLength, HalfDone, AsksAgain],
    "check_pickle": [PickleForgets, PickleForgetsPoints, NoPickle],
    "check_constant_objective": [DividesByZero],
    "check_nan_values": [NaNPoisons],
    "check_infinite_values": [InfinityPoisons],
    "check_sphere_gets_better": [Maximises, StandsStill],
}
BOX = {OutOfBounds: [(-1.5, 2.5)] * 5}


@pytest.mark.parametrize(
    ("name", "bug"), [(name, bug) for name, bugs in BUGS.items() for bug in bugs]
)
def test_planted_bugs_are_found(name, bug):
    """By the check that names the law, and it alone."""
    report = check_optimizer(bug, bounds=BOX.get(bug), on_fail=None)
    assert report.failed == [name], report


def test_every_check_has_found_a_bug():
    """No check is there that nothing fails."""
    assert {check.name for check in SEARCH_CHECKS} == set(BUGS)


# -- sound ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [Plain, InBounds])
def test_sound_optimizers(optimizer):
    """Nothing is found where there is nothing."""
    bounds = [(-1.5, 2.5)] * 5 if optimizer is InBounds else None
    assert not check_optimizer(optimizer, bounds=bounds).failed


def test_costs_are_bounds():
    """Each check spends at most what it says."""
    costs = {check.name: check.cost(None) for check in SEARCH_CHECKS}
    for result in check_optimizer(InBounds, bounds=[(-1.5, 2.5)] * 5):
        assert 0 < result["cost"] <= costs[result["check_name"]]


# -- strategies, and other packages' optimizers ----------------------------------------------------


def strategy(name, **params):
    """A factory of one of the package's strategies; with a surrogate if it takes one."""

    def factory(x0, seed):
        alone = {"slopes": False} if name == "adaptive-es" else {}  # slopes are of no seed
        es = STRATEGIES[name](**{"random_state": seed, **alone, **params}).start(x0)
        return WithSurrogate(es, biased) if es.takes_surrogate else es

    return factory


def biased(x):
    return x - 0.3


def pycma(x0, seed):
    cma = pytest.importorskip("cma")
    return cma.CMAEvolutionStrategy(x0, 0.5, {"seed": seed, "verbose": -9})


def pycma_with_its_own_generator(x0, seed):
    cma = pytest.importorskip("cma")
    randn = np.random.default_rng(seed).standard_normal
    options = {"seed": np.nan, "randn": lambda *shape: randn(shape), "verbose": -9}
    return cma.CMAEvolutionStrategy(x0, 0.5, options)


def cmaes_full(x0, seed):
    return OneByOne(pytest.importorskip("cmaes").CMA(mean=x0, sigma=0.5, seed=seed))


def cmaes_separable(x0, seed):
    return OneByOne(pytest.importorskip("cmaes").SepCMA(mean=x0, sigma=0.5, seed=seed))


# What they do is known: name of the check and what happens.
PEERS = {
    pycma: {
        "check_seed_zero": "seed 0 is the time",
        "check_told_untouched": "NaN is replaced by the median in the caller's list",
        "check_global_state": "NumPy's generator is reseeded",
    },
    pycma_with_its_own_generator: {
        "check_told_untouched": "NaN is replaced by the median in the caller's list",
    },
    cmaes_full: {"check_pickle": "the generator is left out"},
    cmaes_separable: {
        "check_x0_not_written": "the caller's mean is moved",
        "check_pickle": "the generator is left out",
    },
}


def installed(factory):
    try:
        factory(np.zeros(5), 1)
    except pytest.skip.Exception:
        return False
    return True


@parametrize_with_optimizer_checks({name: strategy(name) for name in STRATEGIES})
def test_strategies(optimizer, check):
    """The package's strategies keep all laws."""
    check(optimizer)


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_with_bounds(name):
    """They keep to them, and all other laws."""
    bounds = [(-0.5, 2.0), (-3.0, 1.5), (None, 2.0), (-1.0, None), (None, None)]
    x0 = np.array([1.0, -2.0, 0.5, 0.0, 1.0])
    report = check_optimizer(strategy(name, bounds=bounds), x0, bounds=bounds)
    assert report.failed == []


@pytest.mark.parametrize("factory", PEERS)
def test_of_other_packages(factory):
    """What is wrong with them is found and named, and nothing else."""
    if not installed(factory):
        pytest.skip("it is not installed")
    assert check_optimizer(factory, on_fail=None).failed == list(PEERS[factory])


def healthy():
    """Factories and options, by name; those of other packages if they are installed."""
    return {
        "plain": (Plain, {}),
        "in bounds": (InBounds, {"bounds": [(-1.5, 2.5)] * 5}),
        **{name: (strategy(name), {}) for name in STRATEGIES},
        **{
            peer.__name__: (peer, {"expected_failed_checks": known})
            for peer, known in PEERS.items()
            if installed(peer)
        },
    }
