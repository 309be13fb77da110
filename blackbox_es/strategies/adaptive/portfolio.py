"""Two runs that take turns, an evolution and a descent, and begin anew: pure functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._value import Count, Vector, replace, value
from blackbox_es.generation import Pairs, Told
from blackbox_es.noise import RESTARTS, Key
from blackbox_es.samplers import Chosen
from blackbox_es.steps import Plan, State
from blackbox_es.strategies.adaptive import descent, evolution, noise_level
from blackbox_es.strategies.adaptive.descent import Descent
from blackbox_es.strategies.adaptive.evolution import Evolution
from blackbox_es.strategies.adaptive.noise_level import NoiseLevel
from blackbox_es.strategies.adaptive.runs import Effort, Ended, Settings

Array = npt.NDArray[Any]

_LEADING = 0.92  # share of the evaluations for a descent that is ahead of all else
_SPREAD = 2.0  # of the points where runs begin anew, times sigma


@value
class PortfolioState(State):
    """The best center, the two runs, and what decides between them.

    Parameters
    ----------
    evolution : Evolution
    descent : Descent or None
    turn : {"evolution", "descent", "evolution ended", "descent ended", "noise"}
        Which of them is evaluated next; where one has ended, its center is evaluated once more,
        and where the noise is looked at, that of the evolution twice.
    origin : ndarray of shape (n,)
        Where the search began.
    kept, kept_fun : ndarray of shape (n,), float
        The best center of descents and of evolutions that have ended, and its value; x is this or
        the center of the evolution, if the median of its last generation is lower.
    evolved, descended : Effort
    n_pairs : int
        Of the evolution, where there is no noise.
    noise : NoiseLevel
    n_fruitless : int
        Descents in a row that have ended above what was known.
    n_doubled : int
        How often the population has been doubled.
    large, small : int
        Evaluations of later evolutions with such populations, and with small ones.
    is_small : bool
        Whether the evolution of now has a small one.
    ended : tuple of Ended
    reason : str or None
        Why the search has ended.
    """

    evolution: Evolution
    descent: Descent | None
    turn: str
    origin: Vector
    kept: Vector
    kept_fun: float = math.inf
    evolved: Effort = Effort()
    descended: Effort = Effort()
    n_pairs: Pairs = 1
    noise: NoiseLevel = NoiseLevel()
    n_fruitless: Count = 0
    n_doubled: Count = 0
    large: Count = 0
    small: Count = 0
    is_small: bool = False
    ended: tuple[Ended, ...] = ()
    reason: str | None = None


def begin(x: Array, settings: Settings, slopes: bool) -> PortfolioState:
    """Both runs at x."""
    run = evolution.begin(x, settings.scales, settings.n_pairs, settings.full)
    other = descent.begin(x, settings.largest / 2.0) if slopes else None
    turn = "noise" if slopes else "evolution"
    return PortfolioState(x, 0, run, other, turn, x, x, n_pairs=run.n_pairs)


def center(state: PortfolioState) -> Array:
    """Where the next generation is centred."""
    run: Any = state.descent if state.turn.startswith("descent") else state.evolution
    return run.x  # type: ignore[no-any-return]


def within(state: PortfolioState, budget: float) -> PortfolioState:
    """The state with an evolution's turn if the descent needs more evaluations than are left."""
    if state.turn != "descent":
        return state
    _, n_pairs, mirrored = plan(state)
    fits = state.evolved.total + state.descended.total + n_pairs * (1 + mirrored) <= budget
    return state if fits or state.evolution.reason else replace(state, turn="evolution")


def plan(state: PortfolioState) -> Plan:
    """The points whose values are needed next."""
    if state.turn == "evolution":
        return evolution.plan(state.evolution)
    if state.turn == "descent":
        return descent.plan(state.descent)  # type: ignore[arg-type]
    n = 2 if state.turn == "noise" else 1
    return Plan(Chosen(np.zeros((n, state.x.size), state.x.dtype)), n, mirrored=False)


def wants_surrogate(state: PortfolioState) -> bool:
    """Whether the next generation may be a ray along one."""
    return state.turn == "descent" and descent.wants_surrogate(state.descent)  # type: ignore[arg-type]


def shown(state: PortfolioState, surrogate: Any) -> PortfolioState:
    """The state with a surrogate of the slope at the center."""
    if not wants_surrogate(state):
        return state
    return replace(state, descent=descent.shown(state.descent, surrogate))  # type: ignore[arg-type]


def n_points(state: PortfolioState) -> int:
    """How many there will be, at least: `within` a budget there may be less for a descent."""
    if state.turn == "descent":
        n = descent.n_points(state.descent)  # type: ignore[arg-type]
        return n if n == 1 or state.evolution.reason else 2 * state.evolution.n_pairs
    return {"evolution": 2 * state.evolution.n_pairs, "noise": 2}.get(state.turn, 1)


def learn(state: PortfolioState, told: Told, settings: Settings) -> PortfolioState:
    """The state after their values."""
    state = replace(state, t=state.t + 1)
    match state.turn:
        case "evolution":
            return _evolved(state, told, settings)
        case "descent":
            return _descended(state, told)
        case "noise":
            return _looked(state, told)
        case "evolution ended":
            return _evolution_ended(state, told, settings)
        case _:
            return _descent_ended(state, told, settings)


def _next(state: PortfolioState) -> PortfolioState:
    """The state with what is evaluated next, or with the reason to end."""
    if state.evolution.reason is None:
        turn = "descent" if _is_due(state) else "evolution"
        return state if state.turn == turn else replace(state, turn=turn)
    if state.descent is not None:
        return replace(state, turn="descent")
    return replace(state, reason=state.evolution.reason)


def _is_due(state: PortfolioState) -> bool:
    """Whether there is a descent that has had less than its share of the evaluations."""
    run, mine, others = state.descent, state.descended, state.evolved
    if run is None:
        return False
    level = mine.best if run.f is None else run.f
    leads = level <= mine.best and level <= others.best
    share = _LEADING if leads else 0.5 / (1.0 + state.n_fruitless)
    return mine.total <= share * (mine.total + others.total)


def _with_kept(state: PortfolioState, x: Array, fun: float) -> PortfolioState:
    return replace(state, x=x, kept=x, kept_fun=fun) if fun < state.kept_fun else state


def _used(effort: Effort, n: int, best: float = math.inf) -> Effort:
    return Effort(effort.total + n, effort.run + n, min(effort.best, best))


# -- evolutions ----------------------------------------------------------------------------------


def _evolved(state: PortfolioState, told: Told, settings: Settings) -> PortfolioState:
    """After a generation of the evolution."""
    values = told.values if told.valid is None else told.values[:, told.valid]
    ordered = np.sort(values, axis=None)  # infinite ones last
    run = evolution.learn(state.evolution, told, ordered, settings.tolerance)
    better = bool(ordered[ordered.size // 2] < state.kept_fun)
    effort = _used(state.evolved, ordered.size, float(ordered[0]))
    state = replace(state, x=run.x if better else state.kept, evolution=run, evolved=effort)
    if state.noise.noise > 0.0:
        state = replace(state, noise=noise_level.seen(state.noise, ordered))
    if run.reason is None:
        return replace(state, turn="noise") if state.noise.is_due else _next(state)
    if run.reason == "sigma_underflow":  # all points are its center
        return _evolution_ended(state, told, settings)
    return replace(state, turn="evolution ended")


def _looked(state: PortfolioState, told: Told) -> PortfolioState:
    """After two values of the evolution's center: more noise wants more points."""
    first, second = told.values[0].tolist()
    state = replace(state, evolved=_used(state.evolved, 2))
    state = _with_noise(state, noise_level.looked(state.noise, abs(second - first)))
    if state.descent is not None:  # both runs begin here
        run = descent.begun(state.descent, first)
        state = replace(state, descent=run if run.reason is None else None)
        state = _with_kept(state, state.x, first)
    return _next(state)


def _with_noise(state: PortfolioState, level: NoiseLevel) -> PortfolioState:
    """With another population, and, where there is noise, without descents."""
    run = state.evolution
    if level.growth != state.noise.growth:
        run = replace(run, n_pairs=state.n_pairs * 2**level.growth, n_median=0)
    state = replace(state, noise=level, evolution=run)
    if level.noise == 0.0:
        return state
    # The values of a descent are the luckiest ones.
    return replace(state, descent=None, kept_fun=math.inf)


def _evolution_ended(state: PortfolioState, told: Told, settings: Settings) -> PortfolioState:
    """After the value of the point that an evolution has ended at: another, if there is to be."""
    run, fun, effort = state.evolution, float(told.values[0, 0]), state.evolved
    effort = _used(effort, 1) if state.turn == "evolution ended" else effort
    ended = Ended("evolution", run.reason or "", effort.run, fun)
    state = _with_kept(replace(state, x=state.kept, ended=(*state.ended, ended)), run.x, fun)
    state = replace(state, evolved=replace(effort, run=0))
    n_ended = sum(one.kind == "evolution" for one in state.ended)
    if n_ended > 1 and state.is_small:
        state = replace(state, small=state.small + effort.run)
    elif n_ended > 1:
        state = replace(state, large=state.large + effort.run)
    if settings.n_restarts is not None and n_ended > settings.n_restarts:
        return _next(state)
    return _next(_begun_anew(state, told.generation.key, settings))


def _begun_anew(state: PortfolioState, key: Key, settings: Settings) -> PortfolioState:
    """With another evolution: a larger one, or a small one if these have had fewer evaluations."""
    is_small = settings.small and state.n_doubled > 0 and state.small < state.large
    n_doubled = state.n_doubled + (not is_small)
    n_pairs, scales = settings.n_pairs * 2**n_doubled, settings.scales
    if is_small:
        a, b = (noise.integer(key, row, RESTARTS) / 2.0**32 for row in (1, 2))
        n_pairs = max(3, int(settings.n_pairs * (2.0**n_doubled / 2.0) ** (a * a)))
        scales = scales * 10.0 ** (-2.0 * b)
    x = _elsewhere(state, key, settings)
    run = evolution.begin(x, scales, n_pairs * 2**state.noise.growth, settings.full)
    return replace(state, evolution=run, n_pairs=n_pairs, n_doubled=n_doubled, is_small=is_small)


def _elsewhere(state: PortfolioState, key: Key, settings: Settings) -> Array:
    z = noise.normals(key, (0, 1), (0, state.x.size), stream=RESTARTS)[0]
    return np.asarray(state.origin + _SPREAD * settings.scales * z, state.x.dtype)


# -- descents ------------------------------------------------------------------------------------


def _descended(state: PortfolioState, told: Told) -> PortfolioState:
    """After values for the descent."""
    run = descent.learn(state.descent, told)  # type: ignore[arg-type]
    state = replace(state, descent=run, descended=_used(state.descended, told.values.size))
    if run.f is not None:
        state = _with_kept(state, run.x, run.f)
    return _next(state) if run.reason is None else replace(state, turn="descent ended")


def _descent_ended(state: PortfolioState, told: Told, settings: Settings) -> PortfolioState:
    """After one more value of the point that a descent has ended at."""
    run: Any = state.descent
    fun = float(told.values[0, 0])
    effort = _used(state.descended, 1, fun)
    ended = Ended("descent", run.reason, effort.run, fun)
    known = min(state.evolved.best, *(one.fun for one in state.ended), math.inf)
    state = replace(
        state,
        kept_fun=fun if np.array_equal(state.kept, run.x) else state.kept_fun,
        descended=replace(effort, run=0),
        n_fruitless=0 if fun < known else state.n_fruitless + 1,
        ended=(*state.ended, ended),
        descent=None,
    )
    state = _with_noise(state, noise_level.looked(state.noise, abs(fun - run.f)))
    if settings.n_restarts == 0 or state.noise.noise > 0.0 or state.evolution.reason is not None:
        return _next(state)
    x = _elsewhere(state, told.generation.key, settings)
    return _next(replace(state, descent=descent.begin(x, settings.largest / 2.0)))
