"""How the estimators train: path, budgets, rates and penalty, exactly where that can be said."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from flowers import LEARN, QUICK, X, Y, batches, both, fit, initial, inner, inside, outer, vector
from problems import bits
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from blackbox_es import (
    SGD,
    Adam,
    ESMLPClassifier,
    ESMLPRegressor,
    Linear,
    LowRank,
    VanillaES,
)
from blackbox_es.neural.data import Data
from blackbox_es.neural.descent import ActivationDescent, WeightDescent
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.penalty import penalized

# -- the whole path ------------------------------------------------------------------------------


@batches
def test_is_the_strategy_on_the_network(batch_size):
    """`fit` is VanillaES on the network's objective with low-rank noise, bit for bit.

    Inputs are those in units of the network; the weights found are told in units of the user's.
    """
    options = {"batch_size": batch_size, "alpha": 0.0, "learning_rate": "constant"}
    model = ESMLPClassifier(**QUICK | options, optimizer="sgd", sigma=0.1).fit(X, Y)
    network, theta = initial(model)
    es = VanillaES(
        sigma=0.1, beta=float(theta.size), n_pairs=16, max_iter=3, random_state=0,
        sampler=LowRank(network.shapes), optimizer="sgd", learning_rate=0.01,
    )  # fmt: skip
    size = batch_size or len(X)
    units, data = inside(model)
    objective = NetworkObjective(network, "log_loss", data, batch_size=size, n_pairs=16)
    es.fit(objective, theta)
    assert bits(model._descent.x) == bits(np.array(es.x_))
    assert bits(vector(model)) == bits(outer(units, network, np.array(es.x_)))


@both
def test_refit_is_a_first_fit(cls):
    """A second fit, also after partial_fit or on other data, equals the fit of a new object."""
    model = cls(**QUICK).fit(X[:50, :2], Y[:50])
    assert bits(vector(model.fit(X, Y))) == bits(fit(cls))
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert bits(vector(model.partial_fit(X, Y).fit(X, Y))) == bits(fit(cls))


@both
def test_random_state_decides(cls):
    """Equal seeds give equal bits, other seeds other weights; a RandomState is drawn from."""
    assert bits(fit(cls)) == bits(fit(cls))
    assert bits(fit(cls)) != bits(fit(cls, random_state=1))
    drawn = [fit(cls, random_state=np.random.RandomState(seed)) for seed in (3, 3, 4)]
    assert bits(drawn[0]) == bits(drawn[1]) != bits(drawn[2])


def test_global_randomness_is_not_touched():
    """NumPy's global state is neither read nor changed."""
    expected = fit(batch_size=16, early_stopping=True)
    np.random.seed(5)  # noqa: NPY002
    before = bits(np.random.get_state())  # noqa: NPY002
    assert bits(fit(batch_size=16, early_stopping=True)) == bits(expected)
    assert bits(np.random.get_state()) == before  # noqa: NPY002


@both
@batches
def test_any_number_of_threads(cls, batch_size):
    """The number of threads does not change a bit, of a named loss or of a function."""

    def loss(y, p, sample_weight=None):
        return float(np.square(y - p.T).mean())

    for options in ({}, {"loss": loss}, {"guide": "backprop"}):
        options |= {"n_pairs": 300, "batch_size": batch_size}
        assert bits(fit(cls, n_jobs=3, **options)) == bits(fit(cls, **options))


# -- what is chosen ------------------------------------------------------------------------------

CHOSEN = QUICK | {"perturb": "auto", "guide": "auto"}


def squares(y, p):
    """A function of the user's."""
    return float(np.square(y - p.T).mean())


@both
@batches
def test_a_loss_of_each_example_moves_activations(cls, batch_size):
    """By default, without a guide; with one, weights are moved."""
    options = CHOSEN | {"batch_size": batch_size}
    defaults = {name: getattr(cls(), name) for name in ("perturb", "guide", "guide_alpha")}
    assert defaults == {"perturb": "auto", "guide": "auto", "guide_alpha": "auto"}
    expected = fit(cls, batch_size=batch_size, perturb="activations", guide=None)
    for guide in ("auto", None):
        assert bits(vector(cls(**options | {"guide": guide}).fit(X, Y))) == bits(expected)
    for guide in ("backprop", "previous"):
        model = cls(**options | {"guide": guide}).fit(X, Y)
        assert bits(vector(model)) == bits(fit(cls, batch_size=batch_size, guide=guide))
    guided = fit(cls, batch_size=batch_size, guide="auto")  # weights
    assert bits(guided) == bits(fit(cls, batch_size=batch_size, guide="backprop"))


@both
@pytest.mark.parametrize("learning_rate", ["linear", "constant"])
def test_a_function_is_approached(cls, learning_rate):
    """Half of a fit moves activations by the loss of each example, and half guided weights.

    The second one is a warm start of the first at a tenth of the rate, bit for bit, with outputs of
    classes shifted to where the function is least.
    """
    options = CHOSEN | {"learning_rate": learning_rate, "max_iter": 25}
    model = cls(**options, loss=squares).fit(X, Y)
    stages = cls(**options | {"max_iter": 12, "perturb": "activations", "guide": None}).fit(X, Y)
    counts = "n_iter_", "t_", "n_evaluations_", "n_example_forwards_"
    first = [getattr(stages, name) for name in counts]
    curve = stages.loss_curve_
    stages.set_params(max_iter=13, perturb="weights", guide="backprop", loss=squares)
    if cls is ESMLPClassifier:
        stages.intercepts_[-1] = stages.intercepts_[-1] + stages._shifts(Data(X, Y))
    stages.set_params(learning_rate_init=0.001, warm_start=True).fit(X, Y)
    assert bits(vector(model)) == bits(vector(stages))
    assert bits(model.loss_curve_) == bits(curve + stages.loss_curve_)
    assert model.best_loss_ == stages.best_loss_
    assert first[0] == 12
    for name, n in zip(counts, first, strict=True):
        assert getattr(model, name) == n + getattr(stages, name)


@both
def test_what_is_approached_is_judged_by_the_function(cls):
    """In both halves the score on what is held out is minus the function."""
    options = CHOSEN | {"max_iter": 40, "early_stopping": True, "validation_fraction": 0.3}
    stratify = Y if cls is ESMLPClassifier else None
    _, held_X, _, held_y = train_test_split(X, Y, test_size=0.3, random_state=0, stratify=stratify)
    best = []

    def judge(intermediate_result):
        predict = model.predict_proba if cls is ESMLPClassifier else model.predict
        best.append(-squares(held_y, predict(held_X)))

    model = cls(**options, loss=squares)
    model.fit(X, Y, callback=judge)
    scores = np.maximum.accumulate(model.validation_scores_)
    assert len(scores) == 4
    np.testing.assert_allclose(best[9::10], scores, rtol=1e-9)


@both
def test_what_is_not_approached(cls):
    """A function where something is chosen, or that goes on from a fit; one generation has no half.

    Then weights move, by the function alone.
    """
    loss = {"loss": squares}
    for options in ({"perturb": "weights"}, {"guide": None}, {"guide": "backprop"}):
        model = cls(**CHOSEN | loss | options).fit(X, Y)
        assert model.n_evaluations_ == 3 * 32
    one = cls(**CHOSEN | loss | {"max_iter": 1, "warm_start": True}).fit(X, Y)
    assert (one.n_iter_, one.n_evaluations_) == (1, 32)
    assert one.set_params(max_iter=4).fit(X, Y).n_evaluations_ == 4 * 32


@both
@pytest.mark.parametrize("how", [StopIteration, KeyboardInterrupt, "max_time"], ids=str)
def test_what_ended_while_it_was_approached(cls, how):
    """A fit that ended in its first half is continued, and begun anew, as any other one is."""
    options = CHOSEN | {"max_iter": 12, "loss": squares}

    def stop(intermediate_result):
        if intermediate_result.nit == 3:
            raise how

    model = cls(**options)
    if how == "max_time":
        model.set_params(max_time=1e-9).fit(X, Y).set_params(max_time=None)
        assert model.n_iter_ == 1
    else:
        with pytest.raises(how) if how is KeyboardInterrupt else nullcontext():
            model.fit(X, Y, callback=stop)
        assert model.n_iter_ == 3
    twin = clone(model).set_params(perturb="activations", guide=None, max_iter=1, loss=None)
    twin.fit(X, Y)
    twin.coefs_, twin.intercepts_ = model.coefs_, model.intercepts_
    twin.set_params(perturb="weights", guide="backprop", loss=squares).partial_fit(X, Y)
    assert bits(vector(model.partial_fit(X, Y))) == bits(vector(twin))
    again = clone(model).fit(X, Y)
    assert fitted(model.fit(X, Y)) == fitted(again)
    with pytest.raises(ValueError, match="loss='none'"):
        model.set_params(loss="none").fit(X, Y)


# -- partial_fit and warm_start ------------------------------------------------------------------


@both
@batches
@pytest.mark.parametrize("optimizer", ["adam", SGD(momentum=0.9)], ids=str)
def test_partial_fits_are_one_longer_fit(cls, batch_size, optimizer):
    """Passes of partial_fit continue moments and generations: together a fit at constant rate.

    With a function as loss, which does not tell which examples matter: a fit draws these more often
    after the first pass, but the next call of partial_fit may come with others.
    """

    def loss(y, p):
        return float(np.square(y - p.T).mean())

    options = {**QUICK, "batch_size": batch_size, "optimizer": optimizer, "loss": loss}
    several = cls(**options)
    for _ in range(3):
        several.partial_fit(X, Y, **({"classes": [2, 0, 1]} if cls is ESMLPClassifier else {}))
    n_iter = 3 * (1 if batch_size is None else len(X) // batch_size)
    one = cls(**options | {"max_iter": n_iter, "learning_rate": "constant"}).fit(X, Y)
    assert several.n_iter_ == n_iter
    assert bits(several.loss_curve_) == bits(one.loss_curve_)
    assert bits(vector(several)) == bits(vector(one))


def test_partial_fit_of_the_same_data_moves_on():
    """A second call on the same data is a second step, not the first one again."""
    model = ESMLPRegressor(**QUICK).partial_fit(X, Y)
    first = vector(model)
    assert (vector(model.partial_fit(X, Y)) != first).any()
    assert model.n_iter_ == 2


@both
def test_partial_fit_after_fit(cls):
    """partial_fit goes on from the weights of a fit, as warm_start does."""
    one = cls(**QUICK | {"learning_rate": "constant", "warm_start": True}).fit(X, Y)
    other = clone(one).fit(X, Y).partial_fit(X, Y)
    assert bits(vector(other)) == bits(vector(one.set_params(max_iter=1).fit(X, Y)))


@both
def test_warm_start_begins_at_the_last_weights(cls):
    """With warm_start a fit that hardly moves keeps the weights; without it, the initial ones.

    The weights are taken into the units of the network and back, which rounds them.
    """
    model = cls(**QUICK | {"warm_start": True}).fit(X, Y)
    last = vector(model)
    still = {"learning_rate_init": 1e-300, "optimizer": "sgd", "alpha": 0.0}
    kept = vector(model.set_params(**still).fit(X, Y))
    np.testing.assert_allclose(kept, last, rtol=1e-13, atol=1e-15)
    assert (kept != vector(model.set_params(warm_start=False).fit(X, Y))).any()
    network, theta = initial(model)
    assert bits(model._descent.x) == bits(theta)
    assert bits(vector(model)) == bits(outer(inside(model)[0], network, theta))


@both
def test_warm_start_in_other_units(cls):
    """Of other data a fit that hardly moves keeps the model, too, to rounding."""
    model = cls(**QUICK | {"warm_start": True, "alpha": 0.0}).fit(X, Y)
    last = vector(model)
    model.set_params(learning_rate_init=1e-300, optimizer="sgd")
    x, y = 3.0 * X[:90] - 1.0, Y[:90]
    np.testing.assert_allclose(vector(model.fit(x, y)), last, rtol=1e-12, atol=1e-14)


def test_partial_fit_sees_every_example_once():
    """One call is one pass over its data, whatever was seen before."""
    seen = []

    def loss(y, p):
        seen.extend(y.tolist())
        return float(np.square(y - p).mean())

    model = ESMLPRegressor(loss=loss, batch_size=16, n_pairs=1, random_state=0)
    for n in (48, 80, 16, 64):
        seen.clear()
        model.partial_fit(X[:n], np.arange(n))
        assert sorted(seen) == sorted([*range(n), *range(n)])  # both points of the pair


def test_partial_fit_has_no_end():
    """However long a loss stays flat, the next call tries again."""
    model = ESMLPRegressor(**QUICK, loss=lambda y, p: 1.0)
    for n_iter in range(1, 31):
        assert model.partial_fit(X, Y).n_iter_ == n_iter


@both
@pytest.mark.parametrize("guide", [None, "previous"])
def test_parameters_changed_between_partial_fits(cls, guide):
    """What moves the weights stays what it was at first: pairs, sigma and what is perturbed."""
    first = {"classes": [0, 1, 2]} if cls is ESMLPClassifier else {}
    same, changed = (cls(**QUICK | {"guide": guide}).partial_fit(X, Y, **first) for _ in range(2))
    for n_pairs in (8, 32):
        same.partial_fit(X, Y)
        changed.set_params(n_pairs=n_pairs, sigma=3.0).partial_fit(X, Y)
    assert bits(vector(changed)) == bits(vector(same))
    assert changed.n_evaluations_ == same.n_evaluations_ == 3 * 2 * 16
    if guide is None:
        other = {"perturb": "activations"}
        assert bits(vector(changed.set_params(**other).partial_fit(X, Y))) == bits(
            vector(same.partial_fit(X, Y))
        )


def test_a_loss_that_partial_fit_cannot_go_on_with():
    """What moves activations stays, and needs a loss of each example; guides change nothing."""
    model = ESMLPClassifier((4,), random_state=0).partial_fit(X, Y, classes=[0, 1, 2])
    before = bits(vector(model))
    with pytest.raises(ValueError, match=r"loss='f1_macro' has no value .* warm_start=True"):
        model.set_params(loss="f1_macro").partial_fit(X, Y)
    assert bits(vector(model)) == before
    same = ESMLPClassifier((4,), random_state=0).partial_fit(X, Y, classes=[0, 1, 2])
    guided = model.set_params(loss=None, guide="backprop").partial_fit(X, Y)
    assert bits(vector(guided)) == bits(vector(same.partial_fit(X, Y)))


def test_early_stopping_is_not_for_partial_fit():
    """partial_fit has no data to hold out, and says so."""
    with pytest.raises(ValueError, match="early_stopping"):
        ESMLPRegressor(early_stopping=True).partial_fit(X, Y)


# -- when to stop --------------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [0.0, 1e-4, 0.05])
@pytest.mark.parametrize(
    ("cls", "n_pairs", "rate"), [(ESMLPClassifier, 2, 1.0), (ESMLPRegressor, 4, 0.3)]
)
def test_early_stopping_keeps_the_best_weights(cls, n_pairs, rate, tol):
    """The weights kept score ``best_validation_score_``, the best of all, on the data held out."""
    options = {**QUICK, "max_iter": 200, "n_pairs": n_pairs, "learning_rate_init": rate, "tol": tol}
    options |= {"learning_rate": "constant", "early_stopping": True, "sigma": 0.01}
    model = cls(**options, validation_fraction=0.3).fit(X, Y)
    stratify = Y if cls is ESMLPClassifier else None
    _, held_X, _, held_y = train_test_split(X, Y, test_size=0.3, random_state=0, stratify=stratify)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_validation_score_ > model.validation_scores_[-1]  # or little is tested
    assert model.score(held_X, held_y) == pytest.approx(model.best_validation_score_, abs=1e-12)


def test_early_stopping_ends_the_search():
    """Without a better score for ``n_iter_no_change`` epochs of ten generations it ends."""
    options = {"max_iter": 1000, "early_stopping": True, "tol": 1.0, "n_iter_no_change": 3}
    model = ESMLPClassifier(**QUICK | options).fit(X, Y)
    assert (model.n_iter_, len(model.validation_scores_)) == (40, 4)  # the first was better


@pytest.mark.parametrize(("batch_size", "epoch"), [(None, 10), (4, 37)])
def test_stops_when_the_loss_stops_falling(batch_size, epoch):
    """It ends after ``n_iter_no_change`` epochs, passes of ten generations at least, in vain."""
    options = {"max_iter": 1000, "tol": 1e6, "n_iter_no_change": 2, "batch_size": batch_size}
    model = ESMLPClassifier(**QUICK | options).fit(X, Y)
    assert model.n_iter_ == 3 * epoch
    means = np.mean(np.reshape(model.loss_curve_, (3, epoch)), axis=1)
    assert model.best_loss_ == pytest.approx(means.min())


def test_a_flat_loss_ends_the_search():
    """Where all points are the same for many generations there is nothing to learn."""
    model = ESMLPClassifier(**QUICK | {"max_iter": 1000, "loss": lambda y, p: 1.0})
    with pytest.warns(RuntimeWarning, match="in no generation"):
        model.fit(X, Y)
    assert model.n_iter_ < 100


def test_a_loss_of_minus_infinity_ends_the_search():
    """There is nothing better; the mean of the finite losses is still told."""
    calls = []

    def loss(y, p):
        calls.append(0)
        return -np.inf if len(calls) > 40 else 1.0 + float(np.square(y - p.T).mean())

    model = ESMLPClassifier(**QUICK | {"max_iter": 1000, "loss": loss}).fit(X, Y)
    assert model.n_iter_ == 2
    assert 1.0 < model.best_loss_ < np.inf
    nothing = ESMLPClassifier(**QUICK, loss=lambda y, p: -np.inf)
    with pytest.warns(RuntimeWarning, match="in no generation"):
        nothing.fit(X, Y)
    assert (nothing.n_iter_, nothing.best_loss_) == (1, np.inf)
    network, theta = initial(nothing)
    assert bits(vector(nothing)) == bits(outer(inside(nothing)[0], network, theta))


def test_max_time():
    """The clock is looked at after each generation."""
    model = ESMLPClassifier(**QUICK | {"max_iter": 10**6, "max_time": 1e-9}).fit(X, Y)
    assert model.n_iter_ == 1


@both
@pytest.mark.parametrize(("batch_size", "n_pairs", "pool"), [(None, 16, 150), (16, 32, 32)])
def test_counts(cls, batch_size, n_pairs, pool):
    """Generations, losses, samples and forward passes are counted."""
    model = cls(**QUICK | {"batch_size": batch_size, "n_pairs": n_pairs}).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.loss_ == model.loss_curve_[-1]
    assert model.t_ == 3 * pool
    assert model.n_evaluations_ == 3 * 2 * n_pairs
    assert model.n_example_forwards_ == model.n_evaluations_ * (batch_size or 150)


@both
def test_quiet_off_a_terminal(cls, capfd):
    """Where there is no terminal nothing is printed, however verbose."""
    cls(**QUICK, verbose=1).fit(X, Y)
    assert capfd.readouterr() == ("", "")


# -- rates and penalty ---------------------------------------------------------------------------


def test_learning_rates():
    """ "linear" falls from the first rate to zero over ``max_iter``; "constant" stays."""
    sgd = {"optimizer": "sgd", "alpha": 0.0}
    first = fit(**sgd, max_iter=1)
    assert bits(first) == bits(fit(**sgd, max_iter=1, learning_rate="constant"))
    constant = fit(**sgd, max_iter=2, learning_rate="constant") - first
    half = fit(**sgd, learning_rate_init=0.01, max_iter=1)
    linear = fit(**sgd, max_iter=2) - half
    np.testing.assert_allclose(linear, constant / 2, rtol=1e-9, atol=1e-12)


def test_rate_of_the_optimizer_comes_first():
    """An optimizer with a rate or a schedule of its own keeps it."""
    own = fit(optimizer=Adam(0.05), learning_rate_init=7.0)
    assert bits(own) == bits(fit(learning_rate_init=0.05, learning_rate="constant"))
    falling = fit(optimizer=Adam(Linear(0.05, 0.0, 3)))
    assert bits(falling) == bits(fit(learning_rate_init=0.05))


def test_sigma_is_that_of_each_weight():
    """A schedule of sigma means what a constant means, in each generation."""
    assert bits(fit(sigma=lambda t: 0.2)) == bits(fit(sigma=0.2))
    assert bits(fit(sigma=lambda t: 0.2 / (1 + t))) != bits(fit(sigma=0.2))


@both
@pytest.mark.parametrize("weight", [None, 2.0])
def test_penalty_is_exact(cls, weight):
    """``alpha / sum_i w_i`` times the weights is added to the gradient, nothing to intercepts.

    These are weights in units of the network.
    """
    sample_weight = None if weight is None else np.full(len(X), weight)
    options = {"optimizer": "sgd", "learning_rate_init": 0.5, "max_iter": 1}
    model = cls(**QUICK | options | {"alpha": 30.0}).fit(X, Y, sample_weight)
    network, theta = initial(model)
    free = cls(**QUICK | options | {"alpha": 0.0}).fit(X, Y, sample_weight)
    moved = inner(model) - inner(free)
    expected = -0.5 * 30.0 / (150 * (weight or 1)) * theta * network.is_weight()
    np.testing.assert_allclose(moved, expected, rtol=1e-9, atol=1e-12)


def test_penalized_optimizer():
    """It steps as the optimizer does with ``penalty x`` added to the gradient."""
    rng = np.random.default_rng(0)
    x, penalty = rng.normal(size=5), np.arange(5.0)
    plain, both_at_once = SGD(momentum=0.9), penalized(SGD(momentum=0.9), penalty)
    y, states = x, [plain.init(x), both_at_once.init(x)]
    for gradient in rng.normal(size=(3, 5)):
        x, states[0] = plain.step(x, gradient + penalty * x, states[0], 0.1)
        y, states[1] = both_at_once.step(y, gradient, states[1], 0.1)
    assert bits(x) == bits(y)
    assert penalized(SGD(0.3), penalty).learning_rate == 0.3


def test_penalty_shrinks():
    """The larger alpha, the smaller the weights."""
    sizes = []
    for alpha in (0.0, 10.0, 100.0):
        model = ESMLPClassifier(**LEARN | {"alpha": alpha}).fit(X, Y)
        sizes.append(sum(np.square(w).sum() for w in model.coefs_))
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2]


# -- what fails ----------------------------------------------------------------------------------


def fitted(model):
    """All fitted attributes of a model as bits."""
    return {name: bits(value) for name, value in vars(model).items() if name.endswith("_")}


def failing_after(n_calls, error):
    """A loss that raises in the call after so many."""
    calls = []

    def loss(y, p):
        calls.append(0)
        if len(calls) > n_calls:
            raise error
        return float(np.square(y - p.T).mean())

    return loss


@both
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"sigma": -1.0}, ValueError),
        ({"sigma": lambda t: 0.0}, ValueError),
        ({"shaping": "none"}, ValueError),
        ({"shaping": lambda values: values[0]}, ValueError),
        ({"optimizer": SGD(momentum=2.0)}, ValueError),
        ({"activation": "none", "hidden_layer_sizes": (7,)}, ValueError),
        ({"hidden_layer_sizes": (7,), "loss": failing_after(0, KeyboardInterrupt)}, BaseException),
    ],
    ids=lambda bad: next(iter(bad)) if isinstance(bad, dict) else "",
)
def test_a_fit_without_a_generation_leaves_the_model(cls, warm_start, bad, error):
    """Refused, or ended in its first generation, also with other data: all is as before."""
    model = cls(**QUICK | {"warm_start": warm_start}).fit(X, Y)
    before, predicted = fitted(model), model.predict(X)
    x, y = (X, Y) if warm_start else (X[:, :2], Y % 2)
    with pytest.raises(error):
        model.set_params(**bad).fit(x, y)
    assert fitted(model) == before
    np.testing.assert_array_equal(model.predict(X), predicted)
    with pytest.raises(error):
        cls(**QUICK).set_params(**bad).fit(X, Y).predict(X)


@both
def test_data_that_are_refused_leave_the_model(cls):
    """Though classes and features have been looked at by then."""
    model = cls(**QUICK).fit(X, Y)
    before = fitted(model)
    for x, y in ((X[:, :2], np.full(len(X), np.nan)), (X[:, :2], Y[:-1]), (X[:0, :2], Y[:0])):
        with pytest.raises(ValueError):  # noqa: PT011 (scikit-learn's own messages)
            model.fit(x, y)
        assert fitted(model) == before
    if cls is ESMLPClassifier:
        with pytest.raises(ValueError, match="one class"):
            model.fit(X[:, :2], np.full(len(X), 7))
        assert fitted(model) == before


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("n_whole", [1, 2])
def test_an_interrupted_fit_is_that_of_the_finished_generations(cls, error, n_whole):
    """Bit for bit: weights, counts, loss curve; it predicts, and goes on by partial_fit."""
    options = QUICK | {"learning_rate": "constant"}
    loss = failing_after(10**9, error)
    expected = cls(**options | {"max_iter": n_whole, "loss": loss}).fit(X, Y)
    model = cls(**options | {"hidden_layer_sizes": (7,)}).fit(X[:, :2], Y)
    model.set_params(**options, loss=failing_after(32 * n_whole + 5, error))
    with pytest.raises(error):
        model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == n_whole
    assert fitted(model) == fitted(expected)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    continued = [m.set_params(loss=loss).partial_fit(X, Y) for m in (model, expected)]
    assert bits(vector(continued[0])) == bits(vector(continued[1]))


@both
@pytest.mark.parametrize("n_whole", [0, 1])
def test_an_interrupted_partial_fit_goes_on(cls, n_whole):
    """From the last finished generation; one that was cut short has not happened."""
    first = {"classes": [0, 1, 2]} if cls is ESMLPClassifier else {}
    loss = failing_after(10**9, KeyboardInterrupt)
    options = QUICK | {"batch_size": 150, "loss": loss}
    model, expected = (cls(**options).partial_fit(X, Y, **first) for _ in range(2))
    for _ in range(n_whole):
        model.partial_fit(X, Y)
        expected.partial_fit(X, Y)
    before = fitted(model)
    model.set_params(loss=failing_after(5, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, Y)
    assert fitted(model) == before
    model.set_params(loss=loss).partial_fit(X, Y)
    assert fitted(model) == fitted(expected.partial_fit(X, Y))


def test_an_interrupted_fit_keeps_the_best_weights():
    """With early_stopping those of the best score so far, of which the score is told.

    A function is judged by itself, once for each whole epoch.
    """
    options = QUICK | {"max_iter": 60, "early_stopping": True}
    model = ESMLPClassifier(**options, loss=failing_after(32 * 45 + 4, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert (model.n_iter_, len(model.validation_scores_)) == (45, 4)
    _, held_X, _, held_y = train_test_split(X, Y, test_size=0.1, random_state=0, stratify=Y)
    loss = failing_after(10**9, KeyboardInterrupt)
    score = -loss(held_y, model.predict_proba(held_X))
    assert score == pytest.approx(model.best_validation_score_, rel=1e-12)
    assert score == pytest.approx(max(model.validation_scores_), rel=1e-12)


@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_failed_losses_are_warned_of_once(perturb, monkeypatch):
    """With their number, at the end of a fit that had some; none is no reason for a warning."""
    failed, descent = [2, 0, 3], WeightDescent if perturb == "weights" else ActivationDescent
    whole = descent.step

    def some_fail(self, *args):
        return whole(self, *args)._replace(n_failed=failed[(self.state.t - 1) % 3])

    model = ESMLPClassifier(**QUICK | {"perturb": perturb})
    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(descent, "step", some_fail)
        model.fit(X, Y)
        for _ in range(3):
            model.partial_fit(X, Y)
    assert [str(w.message) for w in caught] == [
        f"{n} losses were NaN or infinite: their pairs were left out" for n in (5, 2, 3)
    ]
    assert {w.filename for w in caught} == {__file__}
    model.fit(X, Y)


def test_a_loss_that_is_nan_is_left_out():
    """A function that fails now and then costs the pairs it fails for, no more."""
    calls = []

    def loss(y, p):
        calls.append(0)
        return np.nan if len(calls) in (5, 40) else float(np.square(y - p.T).mean())

    model = ESMLPClassifier(**QUICK, loss=loss)
    with pytest.warns(RuntimeWarning, match="2 losses were NaN or infinite"):
        model.fit(X, Y)
    assert model.n_iter_ == 3
    assert np.isfinite(vector(model)).all()
    assert np.isfinite(model.loss_curve_).all()
