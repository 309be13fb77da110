"""A state machine that uses an optimizer in every way it may be used, and looks at what it asks.

The model is a plain loop: an optimizer of the same seed that is asked and told, and nothing else.
Whatever happens in between, generation t asks the points of the plain loop, bit for bit.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from blackbox_es.testing._hypothesis import HealthCheck, Phase, settings, st, stateful
from blackbox_es.testing.checks import CheckFailed, shown

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

SETTINGS = settings(
    deadline=None,  # the first call of an optimizer may compile
    derandomize=True,  # a test that passes today passes tomorrow
    max_examples=60,
    stateful_step_count=25,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # slow, and of no use here
    report_multiple_bugs=False,  # one broken law, the simplest, on the first line
    suppress_health_check=list(HealthCheck),
)

_GENERATIONS = 4  # of the plain loop: enough for what is learnt in one to show in others

_RUNS = "A plain loop of ask and tell runs"
_PLAIN = "Optimizers of one seed ask the same points"
_GLOBAL = "The global random generators are neither read nor written"
_AGAIN = "Asked again, it asks the same points"
_TOLD = "Points may be told as copies, and values in an array"
_TRIALS = "Trials told in any order are a generation told at once"
_LOST = "A trial whose evaluation was lost is given out again, no more"
_ORDINARY = (_PLAIN, _TOLD, _TRIALS)  # ways of telling: to blame if nothing else happened
_REFUSED = "A wrong number of values is refused"
_UNCHANGED = "A tell that was refused changes nothing"
_LEFT_ALONE = "Arrays handed in or out are not written later"
_OVERWRITTEN = "What is written into {} after use changes nothing"
_COPY = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}
_COPIED = {
    "pickle": "Pickled and loaded, it continues as it would have",
    "deepcopy": "A deep copy continues as the original would have",
}
_INDEPENDENT = "What a copy does changes nothing in the original"
_OTHERS = "Another optimizer at the same time changes nothing"
_ADVICE = {
    _RUNS: "let the factory make an optimizer that can be asked and told four times",
    _PLAIN: "derive all randomness from the seed",
    _GLOBAL: "use a generator of the optimizer's own: `np.random.default_rng(seed)`",
    _AGAIN: "keep the points that were asked until they are told",
    _TOLD: "know points by their values, and take any sequence of values",
    _TRIALS: "wait until all trials of a generation are told, then take them in their order",
    _LOST: "keep a trial until its value is told",
    _REFUSED: "compare the number of values with that of points",
    _UNCHANGED: "check what is told before anything is changed",
    _LEFT_ALONE: "work on copies, and hand out new arrays",
    _INDEPENDENT: "let a copy have a generator and arrays of its own",
    _OTHERS: "keep all state in the object: no class attributes, no globals",
    **dict.fromkeys(
        map(_OVERWRITTEN.format, ("x0", "points", "values")),
        "copy what is handed in; hand out copies, or arrays that are read-only",
    ),
    **dict.fromkeys(_COPIED.values(), "keep generator and pending points in what is copied"),
}


class Step(NamedTuple):
    """A generation of the plain loop."""

    points: Array
    values: Array
    result: Any  # after its values were told


def _bowl(x: Array) -> float:
    return float(((x - 1.0) ** 2).sum())


class OptimizerMachine(stateful.RuleBasedStateMachine):
    """Whatever happens in between, generation t asks the points of a plain loop of ask and tell.

    In between: it is asked again, told by trials in any order, told wrong numbers of values; it is
    pickled and copied, and one of the copies goes elsewhere; arrays handed in or out are
    overwritten when they have been used; other optimizers run; the global generators are seeded.

    Subclass it and set what is listed here, or call `optimizer_machine`. Its ``TestCase`` is for
    pytest or unittest; for more examples set ``TestCase.settings``, see Hypothesis. The first line
    of a failure is the law that is broken, then come seed, points and values, and the steps.

    Attributes
    ----------
    factory : callable
        ``factory(x0, seed) -> optimizer`` with ``ask() -> X``, an array or a list of m vectors, and
        ``tell(X, values)``. It is called without ``self``. If the optimizer has ``ask_trials() ->
        trials``, with ``trial.x`` the points that have no value yet in the order of ``ask``, and
        ``tell_trial(trial.id, value)``, these are used as well, also for a part of a generation
        that is then told as a whole. With ``tell_failed(trial.id)``, which says that an evaluation
        was lost, each trial may be lost once.
    x0 : sequence of floats
        Where it begins: the factory is given a new array each time.
    objective : callable
        ``objective(x) -> float``, called without ``self``.
    asks_again : bool
        Asked twice before it is told, it gives the same points.
    copies_continue : bool
        A pickled or copied optimizer is to continue bit for bit. Set it to False for those that
        leave their generator behind, as those of cmaes do.
    result : callable
        ``result(optimizer)``: what else should be as in the plain loop after each generation, as a
        value that compares by ``==``.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> class Machine(OptimizerMachine):
    ...     asks_again = True
    ...     @staticmethod
    ...     def factory(x0, seed):
    ...         return VanillaES(n_pairs=2, random_state=seed).start(x0)
    >>> TestVanillaES = Machine.TestCase  # pytest finds it
    """

    factory: ClassVar[Callable[..., Any]]
    x0: ClassVar[Sequence[float]] = (0.5, -1.0, 2.0)
    objective: ClassVar[Callable[..., Any]] = _bowl
    asks_again: ClassVar[bool] = False
    copies_continue: ClassVar[bool] = True
    result: ClassVar[Callable[..., Any]] = lambda optimizer: None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.TestCase.settings = SETTINGS

    # -- the plain loop ----------------------------------------------------------------------------

    @stateful.initialize(seed=st.integers(0, 99))  # few, so that they shrink at once
    def start(self, seed: int) -> None:
        """Run the plain loop, then make the optimizer to be tested."""
        self.seed = seed
        self.generation = 0
        self.law = _RUNS  # which one is broken if something is wrong now
        self.history: list[str] = []
        self.globals = _global_state()
        self.held: dict[str, list[tuple[Any, Any]]] = {"x0": [], "points": [], "values": []}
        self.plain: list[Step] = []
        twin = self._make(seed)
        for _ in range(_GENERATIONS):
            self.plain.append(self._plain_step(twin))
        self.law = _PLAIN
        self.optimizer = self._make(seed)
        self._begin()

    def _make(self, seed: int) -> Any:
        x0 = np.array(self.x0) * 1.0  # no integers
        self._hold("x0", x0)
        return self._call(lambda: type(self).factory(x0, seed))

    def _plain_step(self, optimizer: Any) -> Step:
        X = self._call(optimizer.ask)
        points = self._call(lambda: _copied(X))
        if points.ndim != 2:
            self._broken(asked=X)
        values = np.array([float(type(self).objective(x.copy())) for x in points])
        self._call(lambda: optimizer.tell(X, values.tolist()))
        return Step(points, values, type(self).result(optimizer))

    def _begin(self) -> None:
        """No generation is pending."""
        self.pending, self.asked, self.told = False, None, set[int]()
        self.lost = set[int]()

    @property
    def plain_step(self) -> Step:
        """The generation as it should be."""
        return self.plain[self.generation]

    # -- a step ------------------------------------------------------------------------------------

    @stateful.precondition(lambda self: self.generation < _GENERATIONS)
    @stateful.rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Ask or tell, or do what is to change nothing.

        One rule for all: of several, Hypothesis leaves out some in each example, and without `ask`
        nothing happens.
        """
        onwards, aside = self._ways()
        ways = aside if data.draw(st.integers(0, 2), "aside") else onwards  # two of three
        names = [way.__name__ for way in ways]
        getattr(self, data.draw(st.sampled_from(names), "step"))(data)

    @stateful.precondition(lambda self: self.generation == _GENERATIONS)
    @stateful.rule()
    def end(self) -> None:
        """There is nothing left to do."""

    def _ways(self) -> tuple[list[Callable[..., None]], list[Callable[..., None]]]:
        """What can be done now: to go on, and what is to change nothing."""
        trials = hasattr(self.optimizer, "ask_trials") and (self.asks_again or not self.pending)
        onwards = {
            self.ask: not self.pending,
            self.tell: self.asked is not None,
            self.tell_trials: trials,
        }
        aside = {
            self.ask_again: self.asks_again and self.pending,
            self.tell_a_wrong_number: self.asked is not None,
            self.lose_a_trial: trials
            and hasattr(self.optimizer, "tell_failed")
            and self._to_lose(),
            self.another_optimizer: True,
            self.copied: self.copies_continue,
            self.overwrite: bool(self._used()),
            self.seed_the_global_generators: True,
        }
        return [way for way in onwards if onwards[way]], [way for way in aside if aside[way]]

    # -- asking and telling ------------------------------------------------------------------------

    def ask(self, data: st.DataObject) -> None:
        """Generation t asks the points of the plain loop."""
        self.history.append("ask")
        self._ask()

    def ask_again(self, data: st.DataObject) -> None:
        """Asked again, it asks the same points."""
        self._next(_AGAIN, "ask again")
        self._ask()

    def _ask(self) -> None:
        self.asked = self._call(self.optimizer.ask)
        self.pending = True
        self._compare(_copied(self.asked), self.plain_step.points)
        self._hold("points", self.asked)

    def tell(self, data: st.DataObject) -> None:
        """Tell the points asked, or copies of them, and a list or an array of values."""
        copies, array = (data.draw(st.booleans(), what) for what in ("copies", "array"))
        self.history.append("tell" + " copies" * copies + " an array" * array)
        if (copies or array) and self.law in _ORDINARY:
            self.law = _TOLD
        X = copy.deepcopy(self.asked) if copies else self.asked
        values = self.plain_step.values.copy() if array else self.plain_step.values.tolist()
        self._hold("points", X)
        self._hold("values", values)
        self._call(lambda: self.optimizer.tell(X, values))
        self._end()

    def tell_trials(self, data: st.DataObject) -> None:
        """Tell some of the trials in any order; all, if those left could not be asked again."""
        step = self.plain_step
        left = [row for row in range(len(step.points)) if row not in self.told]
        count = data.draw(st.integers(1, len(left)), "count") if self.asks_again else len(left)
        rows = data.draw(st.permutations(left), "rows")[:count]
        self.history.append(f"tell trials {rows}")
        if self.law in _ORDINARY:
            self.law = _TRIALS
        trials = self._call(lambda: list(self.optimizer.ask_trials()))
        self._compare(_copied([trial.x for trial in trials]), step.points[left])
        self.pending = True
        for row in rows:
            trial = trials[left.index(row)]
            self._hold("points", trial.x)
            self._call(partial(self.optimizer.tell_trial, trial.id, float(step.values[row])))
        self.told.update(rows)
        if len(self.told) == len(step.points):
            self._end()

    def lose_a_trial(self, data: st.DataObject) -> None:
        """It is given out again."""
        step = self.plain_step
        row = data.draw(st.sampled_from(self._to_lose()), "row")
        left = [row for row in range(len(step.points)) if row not in self.told]
        self._next(_LOST, f"lose trial {row}")
        trials = self._call(lambda: list(self.optimizer.ask_trials()))
        self._compare(_copied([trial.x for trial in trials]), step.points[left])
        self.pending = True
        self.lost.add(row)
        self._call(partial(self.optimizer.tell_failed, trials[left.index(row)].id))
        again = self._call(lambda: list(self.optimizer.ask_trials()))
        self._compare(_copied([trial.x for trial in again]), step.points[left])

    def _to_lose(self) -> list[int]:
        rows = range(len(self.plain_step.points))
        return [row for row in rows if row not in self.told | self.lost] if self.asks_again else []

    def _end(self) -> None:
        """A generation is told."""
        result = type(self).result(self.optimizer)
        if result != self.plain_step.result:
            self._broken(result_of_the_plain_loop=self.plain_step.result, result_here=result)
        self.generation += 1
        self._begin()

    def tell_a_wrong_number(self, data: st.DataObject) -> None:
        """One value more or less than there are points is refused."""
        more = data.draw(st.booleans(), "more")
        values = self.plain_step.values.tolist()
        values = [*values, 0.0] if more else values[:-1]
        self._next(_REFUSED, f"{len(values)} values told")
        try:
            self.optimizer.tell(self.asked, values)
        except Exception:
            self.law = _UNCHANGED
        else:
            self._broken(points_asked=len(self.plain_step.points), values_told=len(values))

    # -- copies and others -------------------------------------------------------------------------

    def copied(self, data: st.DataObject) -> None:
        """One of the copy and the original goes on here, the other one elsewhere."""
        how = data.draw(st.sampled_from(list(_COPIED)), "how")
        copy_goes_on = data.draw(st.booleans(), "copy goes on")
        self._next(_COPIED[how], how)
        original = self.optimizer
        twin = self._call(lambda: _COPY[how](original))
        self.optimizer, other = (twin, original) if copy_goes_on else (original, twin)
        if self.generation < _GENERATIONS:
            self._go_elsewhere(other)
        if not copy_goes_on:
            self.law = _INDEPENDENT

    def _go_elsewhere(self, optimizer: Any) -> None:
        """Let a copy be told other values for this generation, and ask the next one."""
        X = self._call(optimizer.ask) if self.asked is None else copy.deepcopy(self.asked)
        values = -self.plain_step.values
        values[list(self.told)] *= -1.0  # what was told is no news
        self._call(lambda: optimizer.tell(X, values.tolist()))
        if self.generation + 1 < _GENERATIONS:
            self._call(optimizer.ask)

    def another_optimizer(self, data: st.DataObject) -> None:
        """Another one, of another seed, runs for two generations."""
        self._next(_OTHERS, "another optimizer")
        other = self._make(self.seed + 1)
        for _ in range(2):
            self._plain_step(other)

    # -- the world around it -----------------------------------------------------------------------

    def _used(self) -> list[str]:
        """What was handed in or out, and may be overwritten: points once they were told."""
        return [
            name
            for name in self.held
            if self.held[name] and not (name == "points" and self.pending)
        ]

    def overwrite(self, data: st.DataObject) -> None:
        """Arrays that were handed in or out are written by their owner when they have been used."""
        name = data.draw(st.sampled_from(self._used()), "arrays")
        self._next(_OVERWRITTEN.format(name), f"{name} overwritten")
        for value, _ in self.held[name]:
            _fill(value)
        self.held[name].clear()

    def seed_the_global_generators(self, data: st.DataObject) -> None:
        """NumPy's and Python's global generators are seeded by somebody else."""
        self._next(_GLOBAL, "global generators seeded")
        random.seed(1)  # Hypothesis begins with 0
        np.random.seed(1)  # noqa: NPY002
        self.globals = _global_state()

    @stateful.invariant()
    def all_else_is_as_it_was(self) -> None:
        """Arrays handed in or out are left alone, and so are the global generators."""
        for name, pairs in self.held.items():
            for value, before in pairs:
                if not _same(_copied(value), before):
                    self.law = _LEFT_ALONE
                    self._broken(written=name, before=before, now=_copied(value))
        for name, state in _global_state().items():
            if state != self.globals[name]:
                self.law = _GLOBAL
                self._broken(used=name)

    # -- what is wrong -----------------------------------------------------------------------------

    def _next(self, law: str, event: str) -> None:
        """What comes now, and which law is broken if something is wrong from here on."""
        self.law = law
        self.history.append(event)

    def _hold(self, name: str, value: Any) -> None:
        self.held[name].append((value, _copied(value)))

    def _call(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Exception as error:
            self._broken(raised=repr(error), cause=error)

    def _compare(self, asked: Array, expected: Array) -> None:
        if asked.shape != expected.shape or asked.dtype != expected.dtype:
            self._broken(
                expected=f"{expected.dtype} of shape {expected.shape}",
                asked=f"{asked.dtype} of shape {asked.shape}",
            )
        for row, (here, there) in enumerate(zip(asked, expected, strict=True)):
            if not _same(here, there):
                self._broken(point=row, of_the_plain_loop=there, asked_here=here)

    def _broken(self, *, cause: BaseException | None = None, **example: Any) -> NoReturn:
        told = [step.values for step in self.plain[: self.generation]]
        example |= {"seed": self.seed, "x0": self.x0, "generation": self.generation}
        example |= {"what_happened": ", ".join(self.history), "values_told_before": told}
        lines = [f"    {name.replace('_', ' ')}: {shown(value)}" for name, value in example.items()]
        advice = f"    what to do: {_ADVICE[self.law]}"
        raise CheckFailed("\n".join([f"{self.law}: violated.", *lines, advice])) from cause


def optimizer_machine(
    factory: Callable[[Array, int], Any],
    *,
    x0: Sequence[float] = OptimizerMachine.x0,
    objective: Callable[[Array], float] = OptimizerMachine.objective,
    asks_again: bool = False,
    copies_continue: bool = True,
    result: Callable[[Any], Any] = OptimizerMachine.result,
) -> type[OptimizerMachine]:
    """A subclass of `OptimizerMachine` for the optimizers of a factory.

    Parameters
    ----------
    factory, x0, objective, asks_again, copies_continue, result
        See `OptimizerMachine`.

    Returns
    -------
    type
        Its ``TestCase`` is for pytest; `hypothesis.stateful.run_state_machine_as_test` runs it.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> def factory(x0, seed):
    ...     return VanillaES(n_pairs=2, random_state=seed).start(x0)
    >>> TestVanillaES = optimizer_machine(factory, asks_again=True).TestCase  # pytest finds it
    >>> TestVanillaES("runTest").runTest()  # without pytest
    """
    name = f"{getattr(factory, '__name__', type(factory).__name__)}_machine"
    members = {
        "factory": staticmethod(factory),
        "x0": x0,
        "objective": staticmethod(objective),
        "asks_again": asks_again,
        "copies_continue": copies_continue,
        "result": staticmethod(result),
    }
    return type(name, (OptimizerMachine,), members)


def _copied(value: Any) -> Array:
    """An array of its own."""
    return np.array(value)


def _same(a: Array, b: Array) -> bool:
    """Equal bit for bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _fill(value: Any) -> None:
    """NaN wherever it can be written, in an array, a list of arrays or of numbers."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            value.fill(np.nan if value.dtype.kind == "f" else 0)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            if isinstance(item, np.ndarray):
                _fill(item)
            else:
                value[i] = np.nan


def _global_state() -> dict[str, Any]:
    return {
        "NumPy's global generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "Python's random module": random.getstate(),
    }
