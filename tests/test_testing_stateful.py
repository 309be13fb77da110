"""The state machine passes for what is right, and finds what is planted."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis.stateful import run_state_machine_as_test
from problems import bits, bowl, make, slope, state, takes

from blackbox_es.strategies import STRATEGIES
from blackbox_es.testing import CheckFailed
from blackbox_es.testing.adapters import OneByOne, WithSurrogate
from blackbox_es.testing.stateful import OptimizerMachine, optimizer_machine


def run(machine):
    """Raises if a law is broken."""
    run_state_machine_as_test(machine)


# -- what is right -------------------------------------------------------------------------------


class Started:
    """Makes a strategy of the registry, with a surrogate where one is taken."""

    def __init__(self, name, **options):
        self.name, self.options = name, options

    def __call__(self, x0, seed):
        es = make(self.name, random_state=seed, **self.options).start(x0)
        return WithSurrogate(es, slope) if es.takes_surrogate else es


def seen(optimizer):
    """All that a strategy shows of itself."""
    return state(optimizer.es if isinstance(optimizer, WithSurrogate) else optimizer)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.float64, {}),
        (np.float32, {"shaping": "standardized", "optimizer": "sgd"}),
        (np.float64, {"optimizer": "clipup", "n_pairs": 1}),
        (np.float64, {"bounds": [(0.45, 0.6), (-1, -1), (None, 2.0)]}),
    ],
    ids=str,
)
def test_strategies_keep_all_laws(name, dtype, options):
    """Points and everything fitted are those of a plain loop, whatever happens in between."""
    x0 = np.array([0.5, -1.0, 2.0], dtype)
    factory = Started(name, **{key: v for key, v in options.items() if takes(name, **{key: v})})
    run(optimizer_machine(factory, x0=x0, objective=bowl, asks_again=True, result=seen))


@pytest.mark.parametrize("copies_continue", [False, True])
def test_cmaes_keeps_the_laws_it_means_to_keep(copies_continue):
    """CMA does, one point at a time; but a copy of it gets another generator."""
    cmaes = pytest.importorskip("cmaes")
    machine = optimizer_machine(
        lambda x0, seed: OneByOne(cmaes.CMA(x0, sigma=0.5, seed=seed)),
        copies_continue=copies_continue,
    )
    if copies_continue:
        with pytest.raises(CheckFailed, match="continues as it"):
            run(machine)
    else:
        run(machine)


def test_cmaes_sep_cma_writes_x0():
    """SepCMA moves the array it was given as a mean."""
    cmaes = pytest.importorskip("cmaes")

    def sep_cma(x0, seed):
        return OneByOne(cmaes.SepCMA(x0, sigma=0.5, seed=seed))

    with pytest.raises(CheckFailed, match=r"not written later: violated\.\n    written: x0"):
        run(optimizer_machine(sep_cma, copies_continue=False))


def test_pycma_keeps_the_laws_with_a_generator_of_its_own():
    """By default it takes NumPy's global generator, as the machine says; it can be given one."""
    cma = pytest.importorskip("cma")

    def pycma(x0, seed):
        return cma.CMAEvolutionStrategy(x0, 0.5, {"verbose": -9, "seed": seed + 1})

    def by_itself(x0, seed):
        randn = np.random.RandomState(seed).randn
        return cma.CMAEvolutionStrategy(x0, 0.5, {"verbose": -9, "seed": np.nan, "randn": randn})

    with pytest.raises(CheckFailed, match="used: NumPy's global generator"):
        run(optimizer_machine(pycma))
    run(optimizer_machine(by_itself))


# -- what is planted -----------------------------------------------------------------------------


class Toy:
    """A search that keeps all laws: normals of its own generator around the best points so far."""

    asks_again, copies_continue = False, True

    def __init__(self, x0, seed):
        self.x = self.center(x0)
        self.rng = np.random.default_rng(seed)
        self.t = 0

    def center(self, x0):
        return np.array(x0)

    def noise(self):
        return self.rng.standard_normal((4, self.x.size))

    def ask(self):
        return self.x + self.noise()

    def tell(self, X, values):
        if len(values) != 4:
            raise ValueError(f"{len(values)} values: expected 4")
        self.learn(X, values)

    def learn(self, X, values):
        self.t += 1
        self.x = (self.x + X[int(np.argmin(values))]) / 2


class AliasesTheStart(Toy):
    def center(self, x0):
        return x0


class WritesTheStart(Toy):
    def center(self, x0):
        return x0

    def learn(self, X, values):
        self.x += (X[int(np.argmin(values))] - self.x) / 2


class ReusesItsBuffer(Toy):
    def ask(self):
        if self.t == 0:
            self.buffer = np.empty((4, self.x.size))
        np.add(self.x, self.noise(), out=self.buffer)
        return self.buffer


class KeepsPointsTold(Toy):
    def learn(self, X, values):
        self.x = X[int(np.argmin(values))]


class KeepsValuesTold(Toy):
    def learn(self, X, values):
        past = getattr(self, "past", values)
        super().learn(X, values if min(values) < max(past) else past)
        self.past = values

    def ask(self):
        return super().ask() * (1.0 if self.t == 0 else 1.0 + 1e-9 * sum(self.past))


class SortsValues(Toy):
    def learn(self, X, values):
        super().learn(X, values)
        values.sort()


class HalfUpdated(Toy):
    def tell(self, X, values):
        self.x = (self.x + X[0]) / 2
        super().tell(X, values)


class AcceptsAnyNumber(Toy):
    def tell(self, X, values):
        self.learn(X, values[:4])


class ForgetsItsGenerator(Toy):
    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "rng"}

    def __setstate__(self, kept):
        self.__dict__.update(kept)
        self.rng = np.random.default_rng(12345)


class PicklesItsBirth(Toy):
    """Its copies begin again, with the seed of the first."""

    def __reduce__(self):
        return type(self), (self.x, 0)


class CannotBePickled(Toy):
    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        self.log = lambda: None


class CopySharesTheGenerator(Toy):
    def __deepcopy__(self, memo):
        twin = object.__new__(type(self))
        twin.__dict__ = vars(self) | {"x": self.x.copy()}
        return twin


class UsesTheGlobalGenerator(Toy):
    def noise(self):
        return np.random.standard_normal((4, self.x.size))  # noqa: NPY002


class SeedsTheGlobalGenerator(Toy):
    def noise(self):
        np.random.seed(self.t)  # noqa: NPY002
        return super().noise()


class SharesItsState(Toy):
    shared = np.zeros(3)

    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        type(self).shared = np.zeros(self.x.size)

    def learn(self, X, values):
        super().learn(X, values)
        self.shared[:] = self.x

    def ask(self):
        return self.shared + self.noise()


class CountsItsKind(Toy):
    made = 0

    def __init__(self, x0, seed):
        type(self).made += 1
        super().__init__(x0, seed + self.made)


class AsksAnew(Toy):
    """Said to ask the same points again."""

    asks_again = True


class ByTrials(Toy):
    """Keeps all laws, and takes trials."""

    asks_again = True

    def __init__(self, x0, seed):
        super().__init__(x0, seed)
        self.points, self.told = None, {}

    def ask(self):
        if self.points is None:
            self.points = super().ask()
        return self.points.copy()

    def ask_trials(self):
        X = self.ask()
        return [SimpleNamespace(id=i, x=X[i]) for i in range(4) if i not in self.told]

    def tell_trial(self, id, value):
        self.told[id] = value
        if len(self.told) == 4:
            self.tell(self.points, self.in_order())

    def in_order(self):
        return [self.told[i] for i in range(4)]

    def learn(self, X, values):
        super().learn(X, values)
        self.points, self.told = None, {}


class TrialsInOrderOfArrival(ByTrials):
    def in_order(self):
        return list(self.told.values())


class LosesTrials(ByTrials):
    """Keeps all laws, and is told of evaluations that were lost."""

    def tell_failed(self, id):
        pass


class TakesLostForTold(LosesTrials):
    def tell_failed(self, id):
        self.told[id] = 0.0


class ForgetsWhatWasTold(LosesTrials):
    def tell_failed(self, id):
        self.told.clear()


class ForgetsTrialsInAPickle(ByTrials):
    def __getstate__(self):
        return vars(self) | {"told": {}}


class RefusesCopies(Toy):
    copies_continue = False  # which would be broken as well

    def ask(self):
        self.asked = super().ask()
        return self.asked

    def tell(self, X, values):
        if X is not self.asked:
            raise ValueError("these are not the points asked")
        super().tell(X, values)


PLANTED = {
    AliasesTheStart: "What is written into x0 after use changes nothing",
    WritesTheStart: "Arrays handed in or out are not written later",
    ReusesItsBuffer: "Arrays handed in or out are not written later",
    KeepsPointsTold: "What is written into points after use changes nothing",
    KeepsValuesTold: "What is written into values after use changes nothing",
    SortsValues: "Arrays handed in or out are not written later",
    HalfUpdated: "A tell that was refused changes nothing",
    AcceptsAnyNumber: "A wrong number of values is refused",
    ForgetsItsGenerator: "Pickled and loaded, it continues as it would have",
    PicklesItsBirth: "Pickled and loaded, it continues as it would have",
    CannotBePickled: "Pickled and loaded, it continues as it would have",
    CopySharesTheGenerator: "What a copy does changes nothing in the original",
    UsesTheGlobalGenerator: "The global random generators are neither read nor written",
    SeedsTheGlobalGenerator: "The global random generators are neither read nor written",
    SharesItsState: "Another optimizer at the same time changes nothing",
    CountsItsKind: "Optimizers of one seed ask the same points",
    AsksAnew: "Asked again, it asks the same points",
    TrialsInOrderOfArrival: "Trials told in any order are a generation told at once",
    TakesLostForTold: "A trial whose evaluation was lost is given out again, no more",
    ForgetsWhatWasTold: "A trial whose evaluation was lost is given out again, no more",
    ForgetsTrialsInAPickle: "Pickled and loaded, it continues as it would have",
    RefusesCopies: "Points may be told as copies, and values in an array",
}


def machine_of(toy):
    return optimizer_machine(toy, asks_again=toy.asks_again, copies_continue=toy.copies_continue)


@pytest.mark.parametrize("toy", [Toy, ByTrials, LosesTrials])
def test_toys_are_sound(toy):
    """What the bugs are planted in keeps all laws."""
    run(machine_of(toy))


@pytest.mark.slow
@pytest.mark.parametrize("toy", PLANTED, ids=lambda toy: toy.__name__)
def test_planted_bugs_are_found(toy):
    """The first line says which law is broken; then come seed, points and what happened."""
    with pytest.raises(CheckFailed) as found:
        run(machine_of(toy))
    first, *rest = str(found.value).splitlines()
    assert first == f"{PLANTED[toy]}: violated."
    assert {"seed", "x0", "generation", "what happened", "values told before"} <= {
        line.strip().partition(":")[0] for line in rest
    }


# -- how it is said ------------------------------------------------------------------------------


class Stubborn(Toy):
    def tell(self, X, values):
        raise RuntimeError("not today")


class AsksOnePoint(Toy):
    def ask(self):
        return self.x


@pytest.mark.parametrize(
    ("toy", "message"),
    [(Stubborn, r"raised: RuntimeError\('not today'\)"), (AsksOnePoint, r"asked: \[ 0.5, -1. ,")],
)
def test_the_plain_loop_has_to_run(toy, message):
    """An optimizer that cannot be asked and told is told so, with what it raised or asked."""
    with pytest.raises(
        CheckFailed, match=rf"A plain loop of ask and tell runs: violated.\n *{message}"
    ):
        run(machine_of(toy))


def test_results_are_compared_too():
    """What else should be as in the plain loop is, by ==, after each generation."""
    calls = iter(range(10**9))
    with pytest.raises(CheckFailed, match=r"result of the plain loop: [0-9]"):
        run(optimizer_machine(Toy, result=lambda toy: next(calls)))


class Subclassed(OptimizerMachine):
    """The other way to make one."""

    factory = Toy
    x0 = (1, 2)  # whole numbers begin at floats

    @staticmethod
    def objective(x):
        assert x.dtype == float
        return abs(x).sum()


TestSubclassed = Subclassed.TestCase


def test_settings_never_flake():
    """Every machine has examples that are the same each time, and no deadline."""
    for machine in (Subclassed, optimizer_machine(Toy)):
        assert machine.TestCase.settings.derandomize
        assert machine.TestCase.settings.deadline is None


# -- adapters ------------------------------------------------------------------------------------


class Single(Toy):
    """Asks for one point at a time, and is told pairs."""

    population_size = 4

    def ask(self):
        return super().ask()[0]

    def tell(self, pairs):
        super().tell(*zip(*pairs, strict=True))


def test_one_by_one_keeps_all_laws():
    """The adapter asks for a generation, is copied and pickled, and refuses wrong numbers."""
    run(optimizer_machine(lambda x0, seed: OneByOne(Single(x0, seed))))


def test_one_by_one_leaves_missing_values_to_the_optimizer():
    """Too few values reach the optimizer, which has to refuse them; too many cannot be pairs."""
    adapter = OneByOne(Single(np.zeros(2), 0))
    X = adapter.ask()
    with pytest.raises(ValueError, match="3 values: expected 4"):
        adapter.tell(X, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="5 values for 4 points"):
        adapter.tell(X, [1.0, 2.0, 3.0, 4.0, 5.0])


def test_surrogate_is_asked_at_the_center():
    """The loop of the adapter is that of a strategy with its surrogate."""
    es, adapter = make("guided-es").start([1.0, 2.0, 3.0]), Started("guided-es")([1.0, 2.0, 3.0], 7)
    for _ in range(3):
        X = es.ask(slope(es.x_))
        assert bits(adapter.ask()) == bits(X)
        for one in (es, adapter):
            one.tell(X, bowl(X))
