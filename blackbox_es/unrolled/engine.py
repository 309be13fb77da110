"""The pure steps of a search on an unrolled problem.

    pairs -> those that are over begin anew -> directions -> window -> losses -> estimate -> theta'

A pair is two particles, at ``theta + e`` and ``theta - e``, with the same seed and inner states of
their own. Pairs are not in step: each is at another window of its episode, so that in one
iteration all windows are seen.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es import optimizers, shaping
from blackbox_es._products import mix
from blackbox_es._value import Vector, Word, freeze, value
from blackbox_es.noise import user_seed
from blackbox_es.samplers import (
    Guided,
    Isotropic,
    Sampler,
    directions,
    orthonormal_rows,
    unit_guide,
)
from blackbox_es.unrolled.problem import Inner, UnrolledProblem, window

Array = npt.NDArray[Any]


@value
class Pairs:
    """P pairs in the middle of their episodes.

    Parameters
    ----------
    inner : tuple of ndarrays of shape (2 P, ...)
        Inner states of ``theta + e``, then of ``theta - e``.
    done : ndarray of shape (P,), int64
        Inner steps of the episode that are done.
    left : ndarray of shape (P,), int64
        Windows of the episode that are to come.
    born : ndarray of shape (P,), int64
        The iteration in which it began: with the pair, the key of its seed.
    score : ndarray of shape (P, n), float64
        What the losses of the window are multiplied by: ``e / sigma^2``, of this window or summed
        over the episode.
    guides : tuple of P ndarrays of shape (k, n), or None
        Orthonormal axes that a pair's directions are elongated along, for a whole episode.
    """

    inner: Inner
    done: Array
    left: Array
    born: Array
    score: Array
    guides: tuple[Array | None, ...]


@value
class Scout:
    """A particle without noise, whose truncated gradients are the guide.

    Parameters
    ----------
    inner : tuple of ndarrays of shape (1, ...)
    done, born : int
    guides : ndarray of shape (n_guides, n)
        Row j is the decaying mean of the truncated gradients in the j-th part of an episode.
    seen : ndarray of shape (n_guides,), int64
        How many that were.
    """

    inner: Inner
    done: int
    born: Word
    guides: Array
    seen: Array


@value
class UnrolledState:
    """All that the next iteration needs.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The parameters, theta.
    t : int
        Iterations done.
    gradient : ndarray of shape (n,)
        The last estimate.
    optimizer : tuple of arrays and integers
    pairs : Pairs
    scout : Scout or None
    n_evaluations : int
        Inner steps done; one that is differentiated counts as three.
    """

    x: Vector
    t: Word
    gradient: Vector
    optimizer: tuple[Any, ...]
    pairs: Pairs
    scout: Scout | None
    n_evaluations: int


class Info(NamedTuple):
    """What an iteration was like."""

    mean: float
    n_failed: int
    finite: bool


def init(es: Any, problem: UnrolledProblem, x: Array) -> UnrolledState:
    """The state before the first iteration, in which all pairs begin."""
    n_pairs, n = es.n_pairs, x.size
    nothing = np.zeros(n_pairs, np.int64)
    inner = problem.init(np.zeros(2 * n_pairs, np.int64))
    pairs = Pairs(inner, nothing, nothing, nothing, np.zeros((n_pairs, n)), (None,) * n_pairs)
    scout = None
    if es.alpha < 1.0:
        guides, seen = np.zeros((es.n_guides, n)), np.zeros(es.n_guides, np.int64)
        inner = problem.init(np.zeros(1, np.int64))
        scout = Scout(inner, problem.horizon, 0, guides, seen)
    rule = optimizers.resolve(es.optimizer)
    state = UnrolledState(x, 0, np.zeros_like(x), rule.init(x), pairs, scout, 0)
    return freeze(state)


def step(
    es: Any, problem: UnrolledProblem, state: UnrolledState, seed: int
) -> tuple[UnrolledState, Info]:
    """The state after an iteration; nothing is written to.

    Raises
    ------
    EvaluationError
        If more than half of the pairs failed.
    """
    x, t, n_steps = state.x, state.t, es.window(problem)
    scout = state.scout and explored(es, problem, state.scout, x, t, seed)
    pairs = renewed(problem, state.pairs, scout, t, seed, n_steps)
    noise, pairs = es.perturbed(pairs, t, seed)
    freeze(pairs)  # a problem that writes into a state is told so
    points = np.concatenate([x + noise, x - noise]).astype(x.dtype)
    seeds, done = seeds_of(pairs.born, seed), np.tile(pairs.done, 2)
    inner, losses = window(problem, points, pairs.inner, done, np.tile(seeds, 2), n_steps)
    losses = np.where(np.isfinite(losses), losses, np.nan).reshape(2, -1)
    told = shaping.shaped(shaping.raw, losses, t)
    weights = (told.utilities[0] - told.utilities[1]) / (2 * told.n_valid)
    gradient = mix(weights[None], pairs.score)[0].astype(x.dtype)
    rule = optimizers.resolve(es.optimizer)
    after, moved = optimizers.follow(rule, x, gradient, state.optimizer, es.learning_rate, t)
    left = pairs.left - 1
    if told.valid is not None:  # an inner state that is not finite stays so
        left[~told.valid] = 0
    pairs = replace(pairs, inner=inner, done=pairs.done + n_steps, left=left)
    n_evaluations = state.n_evaluations + cost(es, problem)
    finite = bool(np.isfinite(after).all())
    new = UnrolledState(after if finite else x, t + 1, gradient, moved, pairs, scout, n_evaluations)
    return freeze(new), Info(told.mean, told.n_failed, finite)


def cost(es: Any, problem: UnrolledProblem) -> int:
    """Inner steps of an iteration; one that is differentiated counts as three."""
    scouted = 3 * es.truncation if es.alpha < 1.0 else 0
    return int(2 * es.n_pairs * es.window(problem) + scouted)


def seeds_of(born: Array, seed: int) -> Array:
    """The seeds of the pairs' episodes."""
    return np.array([user_seed((seed, int(b)), p) for p, b in enumerate(born)], np.int64)


def renewed(
    problem: UnrolledProblem, pairs: Pairs, scout: Scout | None, t: int, seed: int, n_steps: int
) -> Pairs:
    """The pairs, of which those that are over have begun another episode.

    First episodes are cut short, each at another window, so that from then on pairs are spread
    evenly over the windows.
    """
    n_pairs, over = len(pairs.left), pairs.left == 0
    if not over.any():
        return pairs
    born, n_windows = np.where(over, t, pairs.born), problem.horizon // n_steps
    length = np.full(n_pairs, n_windows)
    if t == 0:
        length -= np.arange(n_pairs) * n_windows // n_pairs
    fresh = problem.init(np.tile(seeds_of(born, seed)[over], 2))
    inner = tuple(part.copy() for part in pairs.inner)
    for part, new in zip(inner, fresh, strict=True):
        part[np.tile(over, 2)] = new
    units = [] if scout is None else [unit_guide(guide) for guide in scout.guides]
    known = [unit for unit in units if unit is not None]
    axes = orthonormal_rows(known, np.float64) if known else None
    return Pairs(
        inner,
        np.where(over, 0, pairs.done),
        np.where(over, length, pairs.left),
        born,
        np.where(over[:, None], 0.0, pairs.score),
        tuple(axes if new else old for new, old in zip(over, pairs.guides, strict=True)),
    )


def drawn(pairs: Pairs, index: Array, sigmas: Array, alpha: float, seed: int) -> Array:
    """The directions of the pairs, each from the iteration of its own: shape (P, n), float64."""
    n, rows = pairs.score.shape[1], []

    def law(p: int) -> tuple[Any, ...]:
        return index[p], sigmas[p], id(pairs.guides[p])

    for _, alike in groupby(range(len(index)), law):  # neighbours with the same law at once
        first, *more = alike
        base, axes = Isotropic(n, float(sigmas[first])), pairs.guides[first]
        sampler: Sampler = base if axes is None else Guided(base, axes, alpha)
        key, last = (seed, int(index[first])), first + len(more)
        rows.append(directions(sampler, key, (first, last + 1)))
    return np.concatenate(rows)


def explored(es: Any, problem: UnrolledProblem, scout: Scout, x: Array, t: int, seed: int) -> Scout:
    """The scout after a window, with its truncated gradient in the guide."""
    n_steps, inner, done, born = es.truncation, scout.inner, scout.done, scout.born
    if done >= problem.horizon:
        done, born = 0, t
    seeds = np.array([user_seed((seed, born), es.n_pairs)], np.int64)  # of no pair
    if done == 0:
        inner = problem.init(seeds)
    at = np.full(1, done, np.int64)
    inner, gradient = problem.truncated_gradient(x[None], inner, at, seeds, n_steps)
    if not np.isfinite(gradient).all():  # a state that is not finite stays so
        return replace(scout, inner=inner, done=problem.horizon, born=born)
    n_windows, n_guides = problem.horizon // n_steps, len(scout.guides)
    part = done // n_steps * n_guides // n_windows
    guides, seen = scout.guides.copy(), scout.seen.copy()
    seen[part] += 1
    guides[part] += (gradient[0] - guides[part]) / min(seen[part], n_windows // n_guides)
    return Scout(inner, done + n_steps, born, guides, seen)
