"""scikit-learn estimators: multilayer perceptrons trained by evolution strategies."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import column_or_1d

from blackbox_es.neural.classifier import Classifier
from blackbox_es.neural.data import Data
from blackbox_es.neural.perceptron import Perceptron
from blackbox_es.neural.scoring import Answers, NumberAnswers
from blackbox_es.neural.units import Units

Array = npt.NDArray[Any]


@dataclass(eq=False, repr=False)
class ESMLPClassifier(Perceptron, Classifier):
    """A multilayer perceptron classifier trained by evolution strategies: no gradient is needed.

    So the loss may be the zero-one loss or any function of the predictions, and the activation a
    step. The weights theta are perturbed by ``+-d`` with independent signs of size sigma (rank one
    on hidden layers, see `blackbox_es.LowRank`), each pair is compared on its own slice of the
    examples, and ``g = 1 / (2 sigma^2 P) sum_p d_p [loss(theta + d_p) - loss(theta - d_p)]``
    moves them.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
    activation : {"relu", "tanh", "logistic", "identity", "step", "sign"} or Activation
        `blackbox_es.neural.activations.quantised` makes those of few bits.
    loss : str, scorer, array-like of shape (n_classes, n_classes), callable or None
        What is minimised; None is the log loss. Of each example: "log_loss", "zero_one", "hinge".
        Of many together, one minus "roc_auc", "average_precision", "f1" (of two classes),
        "roc_auc_ovr", "roc_auc_ovr_weighted", "f1_macro", "f1_micro", "f1_weighted",
        "balanced_accuracy" or "matthews_corrcoef"; the mean of a matrix of costs, row i and column
        j for class i taken for class j; minus the score of a scorer of scikit-learn, or of its
        name. A function is called as ``loss(y_true, y_prob)``, with ``sample_weight=`` if there are
        weights, of the labels and, for two classes, the probabilities of the second, shape
        (n_examples,), else those of all classes, (n_examples, n_classes); from several threads at
        once if ``n_jobs`` says so.
    vectorized : bool
        A function is called with the probabilities of C networks at once, (C, n_examples) or (C,
        n_examples, n_classes), and returns C losses.
    class_weight : dict, "balanced" or None
        Weights of the classes, by which those of the samples are multiplied, as in scikit-learn.
    perturb : {"auto", "weights", "activations"}
        "weights" moves all weights at once. "activations" moves the units of the network instead,
        with signs of each example and pair its own, and differentiates only the linear map of each
        layer (node perturbation, see `blackbox_es.neural.nodes`): the variance grows with the
        number of units instead of weights, so it takes far fewer evaluations, but it needs a loss
        of each example and has no guide. "auto" is activations where that can be. With ``guide``
        "auto" as well, a metric or a function is approached by way of the log loss, with
        activations moved in half of the generations; then the line between classes is drawn where
        it is best, and guided weights are moved at a tenth of the rate. Most metrics are flat where
        nothing has been learnt.
    weights : {"float", "ternary", "binary", "int8"}
        What computes and is left in ``coefs_``: the weights that are trained, or a scale of each
        layer times whole numbers: -1, 0 and 1; -1 and 1; -127 to 127. Weights are moved first and
        then quantised; estimates made of activations pass straight through.
    sigma : float, schedule or None
        Standard deviation of the perturbation of each weight, or of each unit; None is 0.03 for
        weights that are not quantised, else 0.1.
    n_pairs : int or None
        Antithetic pairs per generation, or per example with ``perturb="activations"``, where a
        power of two that is not less than the number of units tells most; None is 128.
    batch_size : int, "auto" or None
        Examples per pair, or per generation with ``perturb="activations"``. "auto" is 64, or 128;
        with up to 256 samples it is all of them, as is None.
    guide : {"auto", None, "backprop", "previous"} or callable
        The surrogate gradient, where weights are moved: none; backpropagation, straight through
        steps, signs and quantised weights, of the loss where it has a slope, else of a smooth
        stand-in (the log loss, weighted for balance where classes are; for rankings the logistic
        loss of pairs; F1 and costs of probabilities in place of decisions); the last estimate; or
        ``guide(network, theta, X, y, weight)``, of shape (n_parameters,), of the weights and
        examples as the network is given them. "auto" is "backprop" for weights.
    guide_alpha : float in [0, 1] or "auto"
        Share of the variance outside the guides. "auto" is by what the guide has been worth so far
        (see `blackbox_es.GuidedES`); a guide of your own that is worth nothing is warned of.
    n_guides : int
    optimizer : {"adam", "sgd", "clipup"} or Optimizer
    alpha : float
        Strength of the L2 penalty of the weights, divided by the number of samples as in
        scikit-learn, for inputs (and numbers to predict) in units of their own: they are centered
        and scaled inside, and ``coefs_`` are those of inputs as they are given. See
        `blackbox_es.neural.units.Units`.
    learning_rate : {"linear", "constant"}
        "linear" falls to zero over ``max_iter`` generations, so that the noise averages out.
    learning_rate_init : float or None
        None is 0.01, or where activations are moved ``0.2 / sqrt(max_iter)`` if that is less: noise
        alone leads ``rate sqrt(max_iter)`` far.
    shaping : {"raw", "standardized", "centered_ranks", "nes"} or callable
    max_iter : int
        Generations.
    max_time : float or None
        Seconds.
    tol, n_iter_no_change : float, int
        Stop when the mean loss of an epoch, or the validation score, has not improved by ``tol``
        for so many epochs. An epoch is a pass over the data, of ten generations at least.
    early_stopping : bool
        Judge by the score on held-out data, or by the metric that is the loss, and keep the best
        weights, the last of equal ones.
    validation_fraction : float
    warm_start : bool
        Begin at the weights of the last `fit`.
    n_jobs : int or None
        Threads; results do not depend on it.
    random_state : None, int, Generator or RandomState
    verbose : int
        1 shows a progress bar on a terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coefs_, intercepts_ : list of ndarray
    loss_, best_loss_ : float
        Mean loss of the last generation, and of the best epoch.
    loss_curve_ : list of float
        Mean loss of each generation.
    validation_scores_, best_validation_score_ : list of float, float
        None without ``early_stopping``.
    n_iter_, t_ : int
        Generations, and training samples seen.
    n_evaluations_, n_example_forwards_ : int
        Evaluations of a loss, and forward passes of one example.
    n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn's MLPClassifier.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ESMLPClassifier(hidden_layer_sizes=(8,), max_iter=500, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """


@dataclass(eq=False, repr=False)
class ESMLPRegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """A multilayer perceptron regressor trained by evolution strategies: no gradient is needed.

    As `ESMLPClassifier`, whose parameters and attributes it has, but for the loss.

    Parameters
    ----------
    loss : str, scorer, callable or None
        "squared_error", "absolute_error", "huber", "pinball" (or "quantile"), "poisson"; "ndcg",
        which is one minus the normalised discounted cumulative gain of the ranking of the examples
        of a slice, with y for gains; a scorer of scikit-learn, or its name: minus its score. None
        is half the mean squared error, as in scikit-learn. "pinball" is the loss of a
        quantile, ``max(q (y - f), (q - 1) (y - f))``; "huber" is half the squared error up to
        epsilon, ``epsilon (|y - f| - epsilon / 2)`` beyond; "poisson" is half the Poisson deviance,
        but for a constant, of the mean ``f = exp(output)``, for y of at least 0. A function is
        called as ``loss(y_true, y_pred)``, with ``sample_weight=`` if weights are given to `fit`,
        of arrays of the shape of y.
    quantile : float
        Which quantile "pinball" predicts, between 0 and 1.
    epsilon : float
        From which error on "huber" is linear, in units of y.
    guide : {"auto", None, "backprop", "previous"} or callable
        "backprop" is the (sub)gradient of the loss; the logistic loss of pairs stands in for
        "ndcg", the squared error for functions and scorers.
    tol : float
        In units of the loss of predicting the mean.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ESMLPRegressor(hidden_layer_sizes=(8,), max_iter=300, random_state=0)
    >>> bool(model.fit(scale(X), scale(y)).score(scale(X), scale(y)) > 0.4)
    True
    """

    _targets = "numbers"

    _: KW_ONLY
    quantile: float = 0.5
    epsilon: float = 1.35

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on one pass over these examples, going on where the last call stopped.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cast to the dtype of the first call.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        """
        return self._partial_fit(X, y, sample_weight, None)

    def predict(self, X: Any) -> Array:
        """The predicted targets, shape (n_samples,) or (n_samples, n_outputs)."""
        predictions = self._predictions(self._raw(X))
        return predictions[:, 0] if self._one_dimensional else predictions

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _encode(self, y: Array, classes: Any, reset: bool) -> Array:
        y = np.asarray(y, np.float64)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        columns = y.reshape(len(y), -1)
        if reset:
            self._one_dimensional = y.ndim == 1
            self.n_outputs_ = columns.shape[1]
        elif columns.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {columns.shape[1]} outputs: expected {self.n_outputs_}")
        return columns

    def _answers(self, units: Units) -> Answers:
        return NumberAnswers(self._one_dimensional, self.out_activation_, units)

    def _score(self, raw: Array, data: Data) -> float:
        return float(r2_score(data.y, self._predictions(raw), sample_weight=data.weight))
