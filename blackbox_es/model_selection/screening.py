"""A search of few evaluations: an evolution strategy draws, a model chooses what is evaluated."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from blackbox_es.space import Space
from blackbox_es.strategies import AdaptiveES

Array = npt.NDArray[Any]

_FIRST = 2  # points a coordinate before there is a model
_SIGMA = 0.2  # at the start
_PAIRS = 32  # of a generation, none of which need be evaluated
_ANYWHERE = 64  # points of the whole box beside them, so that no basin is missed for ever
_KNOWN = 200  # points that the model is fitted to
_IDLE = 10  # generations without a point that is new: the space is used up


def screened(
    space: Space,
    evaluate: Callable[[list[dict[str, Any]]], Array],
    n_iter: int,
    batch_size: int,
    seed: int,
) -> None:
    """Minimise over a space in ``n_iter`` evaluations, each of other parameters.

    First the middle of the box and a Latin hypercube; then `AdaptiveES` from the best of them. Of
    each of its generations, and some points of the whole box, those are evaluated of which a
    Gaussian process, fitted to what is known, expects the largest improvement. The strategy is
    told what the process then says of its points. Only ranks of values are used, and NaN is the
    last of them.

    Parameters
    ----------
    space : Space
    evaluate : callable
        Values of a list of parameters.
    n_iter, batch_size : int
        Evaluations in all, and in each generation.
    seed : int

    References
    ----------
    Jones, Schonlau, Welch 1998, "Efficient global optimization of expensive black-box functions".
    Kern, Hansen, Koumoutsakos 2006, "Local meta-models for optimization using evolution
    strategies".
    """
    rng = np.random.default_rng(seed)
    points = np.empty((0, space.n))
    values = np.empty(0)

    def add(chosen: Array) -> None:
        nonlocal points, values
        told = evaluate([space.params(u) for u in chosen])
        points, values = np.concatenate([points, chosen]), np.concatenate([values, told])

    first = np.concatenate([space.middle[None], _hypercube(rng, _FIRST * space.n - 1, space.n)])
    add(_new(_snapped(space, first), points)[:n_iter])
    es = AdaptiveES(
        sigma=_SIGMA,
        n_pairs=_PAIRS,
        bounds=space,
        slopes=False,
        restarts=0,
        random_state=seed,
    )
    es.start(points[np.argmin(_scores(values))])
    model, idle = Model(points, _scores(values)), 0
    while len(points) < n_iter and idle < _IDLE:
        own = _snapped(space, es.ask())
        anywhere = _snapped(space, rng.random((_ANYWHERE, space.n)))
        candidates = _new(np.concatenate([own, anywhere]), points)
        idle = 0 if len(candidates) else idle + 1
        if len(candidates):
            add(_best(model, candidates, min(batch_size, n_iter - len(points))))
            near = np.argsort(np.square(points - es.x_).sum(axis=1), kind="stable")[:_KNOWN]
            model = Model(points[near], _scores(values)[near], model.kernel)
        es.tell(es.ask(), model.predict(own)[0])
        if es.stop_reason_:
            es.start(points[np.argmin(_scores(values))])


def _hypercube(rng: np.random.Generator, size: int, n: int) -> Array:
    """Points one of which is in each of ``size`` slices along any coordinate."""
    slices = rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1).T
    return np.asarray((slices + rng.random((size, n))) / size)


def _snapped(space: Space, points: Array) -> Array:
    """The points that `encode` gives: equal parameters are equal points."""
    return np.array([space.encode(space.params(u)) for u in points])


def _new(points: Array, known: Array) -> Array:
    """Those that are not known, each once, in their order."""
    found = {u.tobytes(): u for u in points}
    for u in known:
        found.pop(u.tobytes(), None)
    return np.array(list(found.values())).reshape(-1, points.shape[1])


def _scores(values: Array) -> Array:
    """Normal scores of ranks: 0 is the median, and NaN the largest."""
    ranks = rankdata(np.where(np.isnan(values), np.inf, values))
    return np.asarray(ndtri((ranks - 0.5) / len(values)))


class Model:
    """A Gaussian process of scores at points.

    Parameters
    ----------
    points : ndarray of shape (m, n)
    scores : ndarray of shape (m,)
    kernel : kernel, optional
        To start from, and to stay at without ``learn``.
    learn : bool
    """

    def __init__(
        self, points: Array, scores: Array, kernel: Any = None, *, learn: bool = True
    ) -> None:
        if kernel is None:
            lengths = Matern(np.full(points.shape[1], 0.5), (0.05, 5.0), nu=2.5)
            kernel = ConstantKernel(1.0, (0.05, 20.0)) * lengths + WhiteKernel(0.01, (1e-4, 0.5))
        process = GaussianProcessRegressor(kernel, optimizer="fmin_l_bfgs_b" if learn else None)
        with warnings.catch_warnings():  # a parameter at its bound is one that does not matter
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process = process.fit(points, scores)
        self.points, self.scores, self.kernel = points, scores, process.kernel_

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Means and standard deviations, without noise."""
        mean, deviation = self._process.predict(points, return_std=True)
        noise = self.kernel.k2.noise_level
        return mean, np.sqrt(np.maximum(np.square(deviation) - noise, 1e-12))

    def improvement(self, points: Array) -> Array:
        """``E max(m - Y, 0)``, m the least mean at the points that are known."""
        mean, deviation = self.predict(points)
        z = (self.predict(self.points)[0].min() - mean) / deviation
        density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
        return np.asarray(deviation * (z * ndtr(z) + density))

    def with_believed(self, point: Array) -> Model:
        """The model as if its mean had been found at a point."""
        scores = np.append(self.scores, self.predict(point[None])[0])
        return Model(np.vstack([self.points, point]), scores, self.kernel, learn=False)


def _best(model: Model, candidates: Array, size: int) -> Array:
    """Those of the largest expected improvement, one after the other."""
    chosen: list[int] = []
    for _ in range(min(size, len(candidates))):
        if chosen:
            model = model.with_believed(candidates[chosen[-1]])
        improvement = model.improvement(candidates)
        improvement[chosen] = -1.0
        chosen.append(int(np.argmax(improvement)))
    return candidates[chosen]
