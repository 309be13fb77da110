"""`ESTuner`: a fitted estimator, moved towards the metric that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier
from sklearn.model_selection import (
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
    check_cv,
)
from sklearn.utils import indexable
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from blackbox_es._validation import as_seed, check_count
from blackbox_es.neural.conversion import final_of, fit_name, set_weights, thawed
from blackbox_es.neural.delegation import Delegating
from blackbox_es.neural.estimators import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.training import ESMLP
from blackbox_es.neural.tuning import Examples, Tuning, chosen, side_by_side

Array = npt.NDArray[Any]

_FOLDS = 5


class ESTuner(Delegating):
    """Move the weights of an estimator towards a metric, as far as held-out data bear it out.

    scikit-learn fits what has a gradient, and is judged by what has none. Here a fitted estimator's
    ``coef_`` and ``intercept_``, or ``coefs_`` and ``intercepts_``, move by guided evolution
    strategies (see `blackbox_es.GuidedES`) so that `loss` falls, guided by the gradient of a loss
    that has one. How far, cross-validation says: for each fold a clone is fitted to the other ones
    and moved, and the number of generations is the one with the least mean loss of the folds. If
    that is less than without moving by more than its standard error, the estimator fitted to all
    examples moves so far; else it stays as it is.

    The search is in units of the inputs' spread and of the outputs', so that there is no scale to
    be set.

    Parameters
    ----------
    estimator : estimator, or None for LogisticRegression()
        A classifier or regressor with ``coef_`` and ``intercept_`` whose ``decision_function`` or
        ``predict`` is affine, MLPClassifier, MLPRegressor, or a pipeline that ends with one. It is
        cloned and fitted; ``sklearn.frozen.FrozenEstimator(fitted)`` is taken as it is, which is
        then to be given examples that it was not fitted to.
    loss : str, callable or None
        What is minimised, as in `ESMLPClassifier` or `ESMLPRegressor`; None is what ``score``
        measures: "zero_one", or "squared_error". A function of classes is given the softmax of the
        outputs, the logistic function of the output of two classes.
    loss_params : dict or None
        Parameters of the loss: ``{"quantile": 0.9}`` for "pinball".
    cv : int, float, splitter or None
        Folds, stratified for classes; a float is the share of a single held-out part, which has
        no standard error. None is 5, or as many as the rarest class has examples.
    max_iter : int
        Generations; fewer if the mean loss of the folds has not fallen for long.
    n_pairs : int
        Pairs of weights in a generation: the loss is evaluated ``2 n_pairs max_iter`` times for
        each fold, and once more for all examples.
    random_state : None, int, Generator or RandomState

    Attributes
    ----------
    estimator_ : estimator
        Of the class of the given one, a copy with other weights; ``given_`` itself if no weights
        were better.
    given_ : estimator
        Fitted to all examples, before it was moved.
    improved_ : bool
        Whether ``estimator_`` has other weights.
    best_iter_ : int
        The generations that it was moved; 0 if it was not.
    held_out_losses_ : ndarray of shape (n_folds, n_iter_ + 1)
        After each generation, the first being that of the estimator as it was.
    n_iter_ : int
        The generations of each fold.
    classes_, n_features_in_, feature_names_in_
        Those of ``estimator_``, if it has them.

    Raises
    ------
    TypeError
        By ``fit``, for an estimator whose weights are not those of a network, or that does not
        predict by them.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> tuner = ESTuner(Ridge(), loss="pinball", loss_params={"quantile": 0.9}, random_state=0)
    >>> tuner = tuner.fit(X, y)
    >>> bool(0.85 < (y < tuner.predict(X)).mean() < 0.95), tuner.estimator_
    (True, Ridge())
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        loss: str | Callable[..., Any] | None = None,
        loss_params: Mapping[str, Any] | None = None,
        cv: Any = None,
        max_iter: int = 300,
        n_pairs: int = 32,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.loss = loss
        self.loss_params = loss_params
        self.cv = cv
        self.max_iter = max_iter
        self.n_pairs = n_pairs
        self.random_state = random_state

    # -- fitting -----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the estimator, and move it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            What the estimator takes; what its last step is given must be dense.
        y : array-like of shape (n_samples,), or (n_samples, n_outputs) for regression
        sample_weight : array-like of shape (n_samples,), optional
            Given to the estimator, if it takes weights, and to the loss.

        Returns
        -------
        self
        """
        check_count("max_iter", self.max_iter)
        check_count("n_pairs", self.n_pairs)
        estimator, seed = self._estimator(), as_seed(self.random_state)
        examples = Examples(*indexable(X, y, sample_weight))
        whole = self._tuning(estimator, examples)
        with threadpool_limits(1, user_api="blas"):  # small products only
            searches = [
                self._tuning(estimator, examples.take(train)).losses(
                    examples.take(test), seed, self.n_pairs
                )
                for train, test in self._folds(examples, seed)
            ]
            losses = side_by_side(searches, self.max_iter)
            best = chosen(losses)
            after = thawed(whole.given)
            if best:
                theta = whole.moved(seed, best, self.n_pairs)
                after = deepcopy(after)
                set_weights(final_of(after), whole.network, theta)
        self.estimator_, self.given_ = after, thawed(whole.given)
        self.improved_, self.best_iter_ = best > 0, best
        self.held_out_losses_, self.n_iter_ = losses, losses.shape[1] - 1
        return self

    def _tuning(self, estimator: Any, examples: Examples) -> Tuning:
        """A clone, fitted, that can move; of one that is frozen it is the same."""
        weights = {}
        takes_weights = has_fit_parameter(final_of(estimator), "sample_weight")
        if examples.weight is not None and takes_weights:
            weights[fit_name(estimator, "sample_weight")] = examples.weight
        given = clone(estimator).fit(examples.X, examples.y, **weights)
        return Tuning(given, self._minimises(), examples)

    def _minimises(self) -> ESMLP:
        """What knows the loss: an estimator that minimises it, of all examples at once."""
        classes = is_classifier(self._estimator())
        model = (ESMLPClassifier if classes else ESMLPRegressor)(batch_size=None)
        loss = ("zero_one" if classes else "squared_error") if self.loss is None else self.loss
        return model.set_params(loss=loss, **(self.loss_params or {}))  # type: ignore[no-any-return]

    def _folds(self, examples: Examples, seed: int) -> list[tuple[Array, Array]]:
        """Rows to move by, and rows to judge by, of each fold."""
        X, y, _ = examples
        strata, seed = is_classifier(self._estimator()), seed % 2**32
        if isinstance(self.cv, float):
            split = (StratifiedShuffleSplit if strata else ShuffleSplit)(
                1, test_size=self.cv, random_state=seed
            )
        elif self.cv is None or isinstance(self.cv, Integral):
            rarest = int(np.unique(y, return_counts=True)[1].min()) if strata else len(y)
            n = min(_FOLDS, rarest) if self.cv is None else int(self.cv)
            if n < 2:
                raise ValueError(
                    f"there is n_samples={rarest}, of the rarest class if there are classes: at "
                    "least 2 are needed, one to move the weights by and one to judge them by"
                )
            split = (StratifiedKFold if strata else KFold)(n, shuffle=True, random_state=seed)
        else:
            split = check_cv(self.cv, y, classifier=strata)
        return list(split.split(X, y))
