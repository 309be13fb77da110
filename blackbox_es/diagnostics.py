"""How good a strategy's gradient estimates are, where the true gradient is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es import steps
from blackbox_es._validation import as_center, check_count, check_function
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Generation, Told
from blackbox_es.gradient_strategy import GradientStrategy
from blackbox_es.samplers import Guided, Orthogonal, Split
from blackbox_es.shaping import EvaluationError, resolve, shaped
from blackbox_es.theory import SurrogateQuality

Array = npt.NDArray[Any]

_NORMAL = 1.96  # standard errors: 95 % of a normal distribution


class Measured(NamedTuple):
    """A mean, its standard error, and what theory says; None if it says nothing."""

    mean: float
    error: float
    theory: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return self.mean - _NORMAL * self.error, self.mean + _NORMAL * self.error


@dataclass(frozen=True)
class GradientDiagnostics:
    """What gradient estimates are like: see `gradient_diagnostics`.

    Attributes
    ----------
    cosine : Measured
        Between an estimate and the gradient.
    relative_norm : Measured
        ``|g| / |grad|``.
    squared_bias, variance : Measured
        ``|E g - grad|^2`` and ``E |g - E g|^2``, over ``|grad|^2``. The measured bias is unbiased
        itself, so it may be below zero where there is none. Theory is for raw values of a linear
        or quadratic objective, see `blackbox_es.theory`.
    r : Measured or None
        ``|U^T grad|^2 / |grad|^2``: what the surrogate is worth. Its theory is the truth; what is
        measured are differences of values only, as `GuidedES` does. None without a guide; of a
        strategy that draws no normals along the guides there is the truth only, at no error.
    """

    cosine: Measured
    relative_norm: Measured
    squared_bias: Measured
    variance: Measured
    r: Measured | None

    def __repr__(self) -> str:
        named = [(f.name, getattr(self, f.name)) for f in fields(self)]
        return "\n".join(_line(name, found) for name, found in named if found is not None)


def _line(name: str, found: Measured) -> str:
    low, high = found.interval
    theory = "" if found.theory is None else f"   theory {found.theory:.3f}"
    return f"{name:14}{found.mean:8.3f}   [{low:.3f}, {high:.3f}]{theory}"


def gradient_diagnostics(
    es: GradientStrategy,
    objective: Callable[..., Any],
    true_gradient_fn: Callable[[Array], Any],
    surrogate_fn: Callable[[Array], Any] | None = None,
    *,
    n_estimates: int = 100,
) -> GradientDiagnostics:
    """Compare the gradient estimates of a strategy, where it is, with the true gradient.

    ``n_estimates`` times the next generation of ``es`` is drawn, with other noise each time, and
    evaluated: ``2 n_estimates n_pairs`` evaluations. The strategy stays as it is, so this can be
    called between two steps, or in a callback of `fit`.

    Parameters
    ----------
    es : GradientStrategy
        Started. Without bounds.
    objective : callable
        As for `fit`.
    true_gradient_fn : callable
        ``true_gradient_fn(x) -> (n,)``.
    surrogate_fn : callable, optional
        ``surrogate_fn(x) -> (n,) or (n, k)``.
    n_estimates : int
        At least 3.

    Returns
    -------
    GradientDiagnostics
        Means with intervals of 95 % (by the jackknife), beside the closed forms.

    Raises
    ------
    TypeError, ValueError
        For a strategy that estimates no gradient, or has bounds; a gradient of the wrong shape,
        zero or not finite.

    Examples
    --------
    >>> from blackbox_es import GuidedES
    >>> gradient, bias = np.linspace(1.0, 2.0, 50), np.tile([1.0, -2.0], 25)
    >>> es = GuidedES(alpha=0.5, beta=2.0).start(np.zeros(50))
    >>> gradient_diagnostics(es, lambda x: gradient @ x, lambda x: gradient,
    ...                      lambda x: gradient + bias, n_estimates=1000)
    cosine           0.549   [0.546, 0.551]
    relative_norm    0.611   [0.593, 0.629]
    squared_bias     0.654   [0.651, 0.657]   theory 0.654
    variance         0.125   [0.115, 0.135]   theory 0.127
    r                0.316   [0.305, 0.327]   theory 0.320

    In the course of a search:

    >>> seen = []
    >>> es = GuidedES(max_iter=3)
    >>> es = es.fit(lambda x: x @ x, np.ones(50), lambda x: x + 1.0, callback=lambda x: seen.append(
    ...     gradient_diagnostics(es, lambda x: x @ x, lambda x: 2 * x, lambda x: x + 1.0)))
    >>> [round(found.r.theory, 2) for found in seen]
    [1.0, 1.0, 1.0]
    """
    if not isinstance(es, GradientStrategy):
        raise TypeError(
            f"es={es!r} estimates no gradient: take GuidedES, VanillaES or OrthogonalES"
        )
    if es.bounds is not None:
        raise ValueError(f"bounds={es.bounds!r}: a fold has kinks; start a search without bounds")
    check_count("n_estimates", n_estimates, low=3)
    check_function("true_gradient_fn", true_gradient_fn)
    search = es._started()
    before = state = search.state if search.pending is None else search.pending.before
    x = before.x
    truth = as_center(true_gradient_fn(x.copy())).astype(float)
    size = float(np.linalg.norm(truth))
    if truth.shape != x.shape or not 0.0 < size < math.inf:
        raise ValueError(f"true_gradient_fn gives shape {truth.shape} and length {size}: expected "
                         f"{x.shape}, not zero and finite")  # fmt: skip
    surrogate = None if surrogate_fn is None else surrogate_fn(x.copy())
    estimates, differences, told = np.empty((n_estimates, x.size)), [], None
    with es.evaluator(objective) as evaluator:
        for seed in range(n_estimates):
            state, generation = steps.ask(es, before, seed, surrogate)
            assert isinstance(state, GradientState)
            told = Told(generation, *shaped(resolve(es.shaping), evaluator(generation), seed)[:3])
            if told.n_valid == 0:
                raise EvaluationError("the objective is minus infinity at a point")
            estimates[seed] = es.estimate(state, told)
            differences.append((generation, told.odd))
    assert told is not None
    assert isinstance(state, GradientState)
    r, of_guides = _quality(differences, truth / size)
    errors = es._errors(state, told, r or 0.0) if es.shaping == "raw" else None
    bias, variance = _bias_and_variance(estimates / size - truth / size, errors or (None, None))
    lengths = np.linalg.norm(estimates, axis=1)
    projections = estimates @ truth / size
    cosines = np.divide(projections, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)
    return GradientDiagnostics(_mean(cosines), _mean(lengths / size), bias, variance, of_guides)


def _mean(sample: Array) -> Measured:
    return Measured(float(sample.mean()), float(sample.std(ddof=1) / math.sqrt(sample.size)))


def _jackknife(whole: float, without: Array, theory: float | None) -> Measured:
    """A statistic, and its error by those that leave out one of the sample each."""
    spread = (without.size - 1) * without.var()
    return Measured(float(whole), math.sqrt(spread), theory)


def _bias_and_variance(
    deviations: Array, theory: tuple[float | None, float | None]
) -> tuple[Measured, Measured]:
    """Of estimates, from their deviations from the truth: means over different estimates."""
    m, total = len(deviations), deviations.sum(axis=0)
    squares = np.square(deviations).sum(axis=1)
    both = total @ total
    bias = (both - squares.sum()) / (m * (m - 1))
    left = both - 2.0 * (deviations @ total) + squares  # |total - deviation|^2
    biases = (left - (squares.sum() - squares)) / ((m - 1) * (m - 2))
    errors = (squares.sum() - squares) / (m - 1)
    return (
        _jackknife(bias, biases, theory[0]),
        _jackknife(squares.mean() - bias, errors - biases, theory[1]),
    )


def _quality(
    generations: list[tuple[Generation, Array]], unit: Array
) -> tuple[float | None, Measured | None]:
    """What the guides of a generation are worth: the truth, and that by differences."""
    sampler = generations[0][0].sampler
    if not isinstance(sampler, (Guided, Orthogonal, Split)) or not len(sampler.rows):
        return None, None
    r = float(np.square(sampler.rows.astype(float) @ unit).sum())
    if not isinstance(sampler, Guided) or sampler.alpha in (0.0, 1.0):
        return r, Measured(r, 0.0, r)
    quality, sums = SurrogateQuality(), []
    for generation, odd in generations:
        guides: Any = generation.sampler
        latent = guides.latent(generation.key, (0, generation.n_pairs))
        quality = quality.update(odd, latent, math.inf)
        sums.append((quality.guided, quality.rest))
    n, k, alpha = sampler.n, len(sampler.rows), sampler.alpha
    each = np.diff(sums, axis=0, prepend=0.0)
    without = [SurrogateQuality(a, b).r(alpha, n=n, k=k) for a, b in each.sum(axis=0) - each]
    return r, _jackknife(quality.r(alpha, n=n, k=k), np.array(without), r)
