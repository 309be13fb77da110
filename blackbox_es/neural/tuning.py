"""How the weights of a fitted estimator move, and how far: what `ESTuner` does with examples.

estimator, examples -> Tuning -> path of parameters -> held-out losses -> chosen -> weights
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice, repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing

from blackbox_es.neural.conversion import final_of, inputs_of, weights_of
from blackbox_es.neural.data import Data
from blackbox_es.neural.descent import WeightDescent
from blackbox_es.neural.losses import Loss
from blackbox_es.neural.metrics import Metric
from blackbox_es.neural.network import Network
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.training import ESMLP
from blackbox_es.neural.units import Units
from blackbox_es.strategies import GuidedES

Array = npt.NDArray[Any]

# Chosen on generated data and irises, with F1, zero-one, absolute and pinball losses
_SHARE = 0.2  # of the outputs' spread: how far a perturbation moves them
_RATE = 0.15  # of sigma: how far a generation moves a weight
_ALPHA = 0.7  # share of the variance outside the guide
_ETA = 3  # of the mean over generations: the n-th weighs about n^3
_BATCH = 1024  # examples that a pair sees
_PATIENCE = 40  # generations without a better one that end a search, or half of all
_PROBES = 8  # perturbations that measure how far outputs move
_TINY = 1e-4  # of the weights' size: how far they move for that
_COMPARED = 100  # examples by which it is seen that a network is what the estimator is
_CLOSE = 1e-4  # of the largest output, float32 included


class Examples(NamedTuple):
    """Examples as users give them: X may be what a pipeline takes."""

    X: Any
    y: Any
    weight: Any

    def take(self, rows: Array) -> Examples:
        """These examples."""
        return Examples(*(part if part is None else _safe_indexing(part, rows) for part in self))


class Tuning:
    """A fitted estimator as a network of standardised inputs, and the examples that move it.

    Parameters
    ----------
    given : fitted estimator
    model : ESMLPClassifier or ESMLPRegressor
        What knows the loss, before any fit.
    examples : Examples

    Raises
    ------
    TypeError
        If the estimator has no weights, does not predict by them, or is given sparse inputs.
    """

    given: Any
    network: Network

    def __init__(self, given: Any, model: ESMLP, examples: Examples) -> None:
        self.given, self._final, self._model = given, final_of(given), model
        self.network, theta = weights_of(self._final)
        Z = inputs_of(given, examples.X)
        self._units = model._units = Units.of_weights(_dense(Z), self.network)
        self._theta = self._units.inner(self.network, *self.network.unpack(theta))
        self._data = self._as_data(Z, examples, getattr(self._final, "classes_", None), reset=True)
        self._check_predictions(_safe_indexing(Z, np.arange(min(len(self._data), _COMPARED))))

    def losses(self, test: Examples, seed: int, n_pairs: int) -> Iterator[float]:
        """The loss of other examples after 0, 1, 2, ... generations, without end."""
        data = self._as_data(inputs_of(self.given, test.X), test, None, reset=False)
        judge = NetworkObjective(self.network, self._goal(), data, batch_size=len(data), n_pairs=1)
        value = judge(self._theta)
        yield value
        for theta in self._path(seed, n_pairs):
            value = judge(theta)
            yield value
        yield from repeat(value)

    def moved(self, seed: int, n_iter: int, n_pairs: int) -> Array:
        """The estimator's parameters after so many generations."""
        *_, theta = islice(self._path(seed, n_pairs), n_iter)
        return self.network.pack(*self._units.outer(self.network, theta))

    def _path(self, seed: int, n_pairs: int) -> Iterator[Array]:
        """After each generation the mean over all of them, the later ones weighing more.

        Which is less noisy than where the search is (Shamir, Zhang 2013, "Stochastic gradient
        descent for non-smooth optimization": polynomial-decay averaging).
        """
        sigma = _SHARE * self._unit(seed)
        es = GuidedES(alpha=_ALPHA, sigma=sigma, n_pairs=n_pairs, learning_rate=_RATE * sigma)
        descent = WeightDescent(es, seed, self._theta)
        objective = descent.objective(
            self.network, self._goal(), self._data, batch_size=self._batch()
        )
        mean = self._theta
        for n in count(1):
            surrogate = objective.gradient(descent.x, descent.key)
            stop = descent.step(objective, surrogate).stop
            mean = mean + (descent.x - mean) * ((_ETA + 1) / (n + _ETA))
            yield mean
            if stop:
                return

    def _goal(self) -> Loss | Metric:
        """The loss, of outputs and targets in units of the user's."""
        model = self._model
        return model._loss_row() if model._goal_is_of_each() else model._metric()

    # -- data and units ----------------------------------------------------------------------------

    def _as_data(self, Z: Any, examples: Examples, classes: Any, *, reset: bool) -> Data:
        """Examples as the loss takes them."""
        y = np.asarray(examples.y)
        y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
        X = self._units.inputs(_dense(Z))
        return self._model._check_data(X, y, examples.weight, classes, reset=reset)

    def _batch(self) -> int:
        """How many examples a pair sees: of each class about two at least."""
        if not is_classifier(self._final):
            return _BATCH
        counts = np.bincount(self._data.y)
        return max(_BATCH, -(-2 * len(self._data) // int(counts[counts > 0].min())))

    def _unit(self, seed: int) -> float:
        """The size of a perturbation of each weight that moves the outputs by as much as they vary.

        That is their spread; for numbers, the size of the residuals.
        """
        theta, X, rng = self._theta, self._data.X, np.random.default_rng(seed)
        raw = self.network.forward(theta, X)
        numbers = self._model.out_activation_ == "identity"  # outputs are what they are to be
        told = self._data.y if numbers else raw.mean(axis=0)
        spread = _size(raw - told) or _size(told - told.mean(axis=0)) or 1.0
        step = _TINY * (_size(theta) or 1.0)
        signs = rng.choice([-1.0, 1.0], (_PROBES, theta.size))
        moved = _size([self.network.forward(theta + step * s, X) - raw for s in signs])
        return float(spread * step / moved) if moved else 1.0

    def _check_predictions(self, Z: Any) -> None:
        """Raise unless the estimator says of some inputs what the network says."""
        raw = self.network.forward(self._theta, self._units.inputs(_dense(Z)))
        if is_classifier(self._final) and hasattr(self._final, "decision_function"):
            said, ours = self._final.decision_function(Z), raw
        elif is_classifier(self._final):
            said, ours = self._final.predict_proba(Z), self._model._predictions(raw)
        else:
            said, ours = self._final.predict(Z), self._model._predictions(raw)
        said = np.reshape(said, (len(ours), -1))
        if said.shape != ours.shape or not np.allclose(
            said, ours, 0.0, _CLOSE * np.abs(said).max()
        ):
            raise TypeError(
                f"{self._final!r} does not predict X @ coef_.T + intercept_, or not as "
                f"loss={self._model.loss!r} takes outputs: its weights cannot be moved"
            )


def side_by_side(searches: Sequence[Iterator[float]], max_iter: int) -> Array:
    """The losses of all folds after each generation, shape (n_folds, n_iter + 1).

    They end when their mean has not become less for long.
    """
    rows: list[tuple[float, ...]] = []
    best, least = 0, np.inf
    for n, row in enumerate(islice(zip(*searches, strict=True), max_iter + 1)):
        rows.append(row)
        if np.mean(row) < least:
            best, least = n, float(np.mean(row))
        elif n - best >= max(_PATIENCE, best):
            break
    return np.array(rows).T


def chosen(losses: Array) -> int:
    """The generation with the least mean loss of the folds, if it is better than none; else 0.

    Better by more than the standard error of the mean of the folds' differences.
    """
    with np.errstate(invalid="ignore"):  # two infinite losses
        gains = losses[:, :1] - losses
    mean = np.where(np.isfinite(gains).all(axis=0), gains.mean(axis=0), -np.inf)
    best = int(mean.argmax())
    n = len(losses)
    error = gains[:, best].std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
    return best if mean[best] > error else 0


def _size(values: Any) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def _dense(Z: Any) -> Array:
    if issparse(Z):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required: use X.toarray(), or in a "
            "pipeline a transformer whose output is dense"
        )
    return np.asarray(Z, np.float64)
