"""Estimators that move activations: the whole path, what is counted, kept, learnt and refused."""

import pickle

import numpy as np
import pytest
from flowers import LEARN, QUICK, X, Y, both, initial, inner, inside, outer, vector
from networks import xi_of
from problems import bits
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator
from test_nodes import moved_outputs, needs_numba

from blackbox_es import SGD, ESMLPClassifier, ESMLPRegressor
from blackbox_es._threads import Threads
from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.data import Data
from blackbox_es.neural.examples import Examples
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.network import Network
from blackbox_es.neural.nodes import ActivationNoise, ActivationObjective

NODES = QUICK | {"perturb": "activations"}
LEARN = LEARN | {"perturb": "activations", "n_pairs": 8, "learning_rate_init": 0.03}
RNG = np.random.default_rng(0)
MANY = np.tile(X, (4, 1)) + 0.1 * RNG.normal(size=(600, 4))  # enough for several tasks
LABELS = np.tile(Y, 4)
WEIGHT = RNG.integers(1, 4, len(X)) * 0.5
PLAIN = {"optimizer": "sgd", "alpha": 0.0, "learning_rate": "constant"}

batches = pytest.mark.parametrize("batch_size", [None, 16])
weights = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def fit(cls=ESMLPClassifier, sample_weight=None, x=X, y=Y, **options):
    """The weights of a short fit."""
    return vector(cls(**NODES | options).fit(x, y, sample_weight))


def loss_of(model):
    return "log_loss" if isinstance(model, ESMLPClassifier) else "squared_error"


def first_classes(cls):
    return {"classes": [0, 1, 2]} if cls is ESMLPClassifier else {}


# -- scikit-learn's own checks -------------------------------------------------------------------


@needs_numba
@both
@batches
def test_scikit_learn_checks(cls, batch_size):
    """Every check holds but the one that compares weights with repetitions."""
    expected = {
        "check_sample_weight_equivalence_on_dense_data": "every repetition has noise of its own"
    }
    model = cls(
        (8,), perturb="activations", n_pairs=8, batch_size=batch_size,
        max_iter=100, learning_rate_init=0.1,
    )  # fmt: skip
    results = check_estimator(model, expected_failed_checks=expected, on_skip=None, on_fail=None)
    by_status = {
        status: {r["check_name"] for r in results if r["status"] == status}
        for status in ("failed", "xfail")
    }
    assert by_status == {"failed": set(), "xfail": set(expected)}


@both
def test_clone(cls):
    """A clone has the parameters and nothing of the fit, and fits to the same weights."""
    model = cls(**NODES, optimizer=SGD(momentum=0.5)).fit(X, Y)
    twin = clone(model)
    assert twin.get_params()["perturb"] == "activations"
    assert str(twin.get_params()) == str(model.get_params())
    assert not [name for name in vars(twin) if name.endswith("_") or name.startswith("_")]
    assert bits(vector(twin.fit(X, Y))) == bits(vector(model))


@both
@batches
def test_pickles_continue(cls, batch_size):
    """A pickled model predicts and goes on as the one it was made of."""
    model = cls(**NODES | {"batch_size": batch_size}).partial_fit(X, Y, **first_classes(cls))
    other = pickle.loads(pickle.dumps(model))
    assert bits(other.predict(X)) == bits(model.predict(X))
    assert bits(vector(other.partial_fit(X, Y))) == bits(vector(model.partial_fit(X, Y)))


@needs_numba
@both
@pytest.mark.parametrize("batch_size", [None, "auto"])
def test_pickles_hold_no_examples(cls, batch_size):
    """The pickle of a model that saw 5,000 examples is as small as that of one that saw 500."""
    sizes = []
    for n in (500, 5000):
        x, y = RNG.normal(size=(n, 20)), np.arange(n) % 3
        model = cls(**NODES | {"n_pairs": 1, "batch_size": batch_size, "n_jobs": 2}).fit(x, y)
        sizes.append(len(pickle.dumps(model)))
    assert abs(sizes[0] - sizes[1]) < 100  # as much as numbers may differ in length
    assert sizes[0] < 20_000


@needs_numba
@both
@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_what_was_interrupted_holds_no_examples(cls, perturb, monkeypatch):
    """Nor does one whose fit was ended by Control-C, and it can go on."""
    model = cls(**NODES | {"perturb": perturb}).fit(X, Y)
    size = len(pickle.dumps(model))

    def interrupt(*args):
        raise KeyboardInterrupt

    x, y = RNG.normal(size=(5000, 4)), np.arange(5000) % 3
    with monkeypatch.context() as patch:
        patch.setattr(cls, "_count", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y)
    assert len(pickle.dumps(model)) < size + 5000
    model.partial_fit(X, Y)


# -- the whole path ------------------------------------------------------------------------------


@needs_numba
@both
@batches
@weights
def test_is_descent_along_the_estimates(cls, batch_size, weight):
    """`fit` steps along estimates of beta 1, sigma that of each unit; examples as they teach."""
    options = NODES | PLAIN | {"batch_size": batch_size, "sigma": 0.2, "max_iter": 25}
    model = cls(**options, learning_rate_init=0.1).fit(X, Y, weight)
    network, x = initial(model)
    units, data = inside(model, weight)
    y, size = data.y, batch_size or len(X)
    strata = Y if batch_size and cls is ESMLPClassifier else None
    examples = Examples(len(X), size, weight, first=0, strata=strata)
    for index in range(25):
        rows, w = examples.pool((0, index))
        noise, key = ActivationNoise(network, x, data.X[rows], 16, 0.2), (0, index)
        plus, minus = noise.losses(key, loss_of(model), y[rows], w)
        if batch_size:
            pure, pure_minus = noise.losses(key, loss_of(model), y[rows])
            squares = np.square((pure - pure_minus).reshape(size, 16)).sum(axis=1)
            examples.learn(rows, squares / 0.2**2)
        loss = np.mean([plus, minus]) * units.loss_scale
        assert model.loss_curve_[index] == pytest.approx(loss, rel=1e-9)
        x = x - 0.1 * noise.gradient(key, plus - minus)
    np.testing.assert_allclose(model._descent.x, x, rtol=1e-7, atol=1e-10)
    assert bits(vector(model)) == bits(outer(units, network, model._descent.x))


@needs_numba
@both
@weights
@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_a_step_is_that_of_backpropagation(cls, weight, activation):
    """With many pairs and a small sigma, in length and direction, in units of the network."""
    options = NODES | PLAIN | {"max_iter": 1, "n_pairs": 2000, "sigma": 1e-3}
    model = cls(**options, activation=activation, learning_rate_init=1.0).fit(X, Y, weight)
    network, theta = initial(model)
    step = theta - inner(model)
    gradient = network.gradient(theta, inside(model, weight)[1], loss_of(model))[1]
    assert np.linalg.norm(step - gradient) < 0.05 * np.linalg.norm(gradient)


@needs_numba
@both
def test_defaults(cls):
    """None is a sigma of 0.1 and 128 pairs, "auto" 128 examples, or all if there are up to 256."""
    named = {"sigma": 0.1, "n_pairs": 128}
    unnamed = {"sigma": None, "n_pairs": None}
    assert bits(fit(cls, **unnamed)) == bits(fit(cls, **named, batch_size=None))
    expected = fit(cls, x=MANY, y=LABELS, **named, batch_size=128)
    assert bits(fit(cls, x=MANY, y=LABELS, **unnamed)) == bits(expected)


@needs_numba
@both
@batches
def test_zero_weights_are_absences(cls, batch_size):
    """Examples of weight zero might as well not be there, bit for bit."""
    weight = RNG.integers(0, 2, len(X)) * 1.5
    used = weight > 0
    options = {"batch_size": batch_size, "max_iter": 12}
    masked = fit(cls, weight, **options)
    assert bits(masked) == bits(fit(cls, weight[used], X[used], Y[used], **options))
    x, y = np.where(used[:, None], X, 9.0), np.where(used, Y, (Y + 1) % 3)
    assert bits(masked) == bits(fit(cls, weight, x, y, **options))


@needs_numba
@both
@pytest.mark.parametrize("batch_size", [None, 300])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_any_number_of_threads(cls, batch_size, dtype):
    """The number of threads does not change a bit, nor what is drawn after the first epoch."""
    options = {"batch_size": batch_size, "max_iter": 6}
    found = [
        fit(cls, x=MANY.astype(dtype), y=LABELS, n_jobs=n, **options) for n in (None, 2, 3, 16)
    ]
    assert found[0].dtype == dtype
    assert len({str(bits(theta)) for theta in found}) == 1


@needs_numba
@both
@batches
def test_random_state_decides(cls, batch_size):
    """Equal seeds give equal bits, other seeds other weights; a RandomState is drawn from."""
    options = {"batch_size": batch_size, "max_iter": 12}
    assert bits(fit(cls, **options)) == bits(fit(cls, **options))
    assert bits(fit(cls, **options)) != bits(fit(cls, **options, random_state=1))
    states = [np.random.RandomState(seed) for seed in (3, 3, 4)]
    drawn = [fit(cls, **options, random_state=state) for state in states]
    assert bits(drawn[0]) == bits(drawn[1]) != bits(drawn[2])


def test_sigma_may_be_a_schedule():
    """A schedule of sigma means what a constant means, in each generation."""
    assert bits(fit(sigma=lambda t: 0.2)) == bits(fit(sigma=0.2))
    assert bits(fit(sigma=lambda t: 0.2 / (1 + t))) != bits(fit(sigma=0.2))


# -- partial_fit and warm_start ------------------------------------------------------------------


@both
@pytest.mark.parametrize("optimizer", ["adam", SGD(momentum=0.9)], ids=str)
@pytest.mark.parametrize(("batch_size", "n_calls", "n_iter"), [(None, 3, 3), (16, 1, 9)])
def test_partial_fits_are_one_longer_fit(cls, optimizer, batch_size, n_calls, n_iter):
    """Until a fit draws by importance, which starts anew in each call of partial_fit."""
    options = NODES | {"batch_size": batch_size, "optimizer": optimizer}
    several = cls(**options)
    for _ in range(n_calls):
        several.partial_fit(X, Y, **first_classes(cls))
    one = cls(**options | {"max_iter": n_iter, "learning_rate": "constant"}).fit(X, Y)
    assert bits(several.loss_curve_) == bits(one.loss_curve_)
    assert bits(vector(several)) == bits(vector(one))


@both
def test_partial_fits_of_any_size(cls):
    """One call is one pass over its data, which may be fewer than ``batch_size``."""
    model, seen, evaluations = cls(**NODES | {"batch_size": 16}), 0, 0
    for n, used in ((48, 48), (150, 144), (7, 7), (16, 16), (1, 1)):
        before = vector(model) if seen else None
        model.partial_fit(X[:n], Y[:n], **first_classes(cls))
        seen, evaluations = seen + used, evaluations + 2 * 16 * used
        assert (model.t_, model.n_evaluations_) == (seen, evaluations)
        assert before is None or (vector(model) != before).any()
    assert model.n_iter_ == len(model.loss_curve_) == 3 + 9 + 1 + 1 + 1


@both
def test_partial_fit_sees_every_example_once(cls, monkeypatch):
    """In every call: what is drawn by importance begins with the second epoch of a fit."""
    seen, losses = [], ActivationObjective.losses

    def recorded(self, noise, key):
        seen.extend(self.examples.pool(key).rows)
        return losses(self, noise, key)

    monkeypatch.setattr(ActivationObjective, "losses", recorded)
    model = cls(**NODES | {"batch_size": 16})
    for n in (48, 144, 32, 64):
        seen.clear()
        model.partial_fit(X[:n], Y[:n], **first_classes(cls))
        assert sorted(seen) == list(range(n))
    seen.clear()
    model.set_params(max_iter=30).fit(X, Y)
    assert len(set(seen[:144])) == 144
    assert len(set(seen[144:288])) < 144


@both
def test_n_pairs_changed_between_partial_fits(cls):
    """Parameters changed since the first call have no effect."""
    same, changed = (cls(**NODES).partial_fit(X, Y, **first_classes(cls)) for _ in range(2))
    for n_pairs in (8, 32):
        same.partial_fit(X, Y)
        changed.set_params(n_pairs=n_pairs, sigma=3.0).partial_fit(X, Y)
    assert bits(vector(changed)) == bits(vector(same))
    assert changed.n_evaluations_ == same.n_evaluations_ == 3 * 2 * 16 * 150


@both
@pytest.mark.parametrize("before", ["weights", "activations"])
def test_warm_start_begins_at_the_last_weights(cls, before):
    """Whatever they were trained by, to rounding: they go through the units of the network."""
    model = cls(**NODES | {"perturb": before, "warm_start": True}).fit(X, Y)
    last = vector(model)
    still = PLAIN | {"learning_rate_init": 1e-300, "perturb": "activations"}
    kept = vector(model.set_params(**still).fit(X, Y))
    np.testing.assert_allclose(kept, last, rtol=1e-13, atol=1e-15)
    model.set_params(warm_start=False).fit(X, Y)
    assert bits(model._descent.x) == bits(initial(model)[1])


@both
def test_refit_is_a_first_fit(cls):
    """A second fit, also after one that moved weights, equals the fit of a new object."""
    model = cls(**NODES).fit(X[:50, :2], Y[:50])
    assert bits(vector(model.fit(X, Y))) == bits(fit(cls))
    model.set_params(perturb="weights").fit(X, Y)
    assert bits(vector(model)) == bits(vector(cls(**QUICK).fit(X, Y)))
    assert bits(vector(model.set_params(perturb="activations").fit(X, Y))) == bits(fit(cls))


# -- what is counted -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("batch_size", "n_pairs", "pool"), [(None, 16, 150), ("auto", 2, 150), (16, 32, 16)]
)
def test_counts(cls, batch_size, n_pairs, pool):
    """Two losses for each pair of each example, of one forward pass each."""
    model = cls(**NODES | {"batch_size": batch_size, "n_pairs": n_pairs}).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.loss_ == model.loss_curve_[-1]
    assert model.t_ == 3 * pool
    assert model.n_evaluations_ == model.n_example_forwards_ == 3 * 2 * pool * n_pairs


# -- learning ------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["log_loss", "zero_one", "hinge"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers_learn(activation, loss, n_classes, dtype):
    """By every loss, with every activation, two classes or three."""
    x, y = X[n_classes > Y].astype(dtype), Y[n_classes > Y]
    sigma = 0.5 if loss == "zero_one" else 0.1  # which does not see less than a step
    options = {"activation": activation, "loss": loss, "sigma": sigma}
    model = ESMLPClassifier(**LEARN | options).fit(x, y)
    assert {w.dtype for w in [*model.coefs_, *model.intercepts_]} == {np.dtype(dtype)}
    assert np.mean(model.loss_curve_[-10:]) < 0.7 * model.loss_curve_[0]
    assert model.score(x, y) > (0.6 if loss == "zero_one" else 0.92)


@needs_numba
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_regressors_learn(activation, n_outputs, dtype):
    """One target or several, with every activation."""
    x = X.astype(dtype)
    targets = np.column_stack([X[:, 0] - X[:, 1], X[:, 2] + 1])[:, :n_outputs]
    targets = targets[:, 0] if n_outputs == 1 else targets
    model = ESMLPRegressor(**LEARN | {"activation": activation}).fit(x, targets)
    assert model.n_outputs_ == n_outputs
    assert model.predict(x).shape == targets.shape
    assert np.mean(model.loss_curve_[-10:]) < 0.5 * model.loss_curve_[0]
    assert model.score(x, targets) > 0.7


@needs_numba
@batches
def test_learns_what_weights_tell(batch_size):
    """Of examples that contradict each other those with more weight are believed."""
    x, y = np.concatenate([X, X]), np.concatenate([Y, (Y + 1) % 3])
    weight = np.repeat([3.0, 0.1], len(X))
    model = ESMLPClassifier(**LEARN | {"batch_size": batch_size}).fit(x, y, weight)
    assert model.score(X, Y) > 0.9


@needs_numba
def test_early_stopping_keeps_the_best_weights():
    """The score on what is held out is that of the weights that are kept."""
    model = ESMLPClassifier(**LEARN | {"early_stopping": True, "max_iter": 50}).fit(X, Y)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X, Y) > 0.7


# -- what a generation teaches about its examples ------------------------------------------------


@weights
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_scores_are_root_mean_squared_differences(loss, weight):
    """In units of sigma and without the weights of a pool; that of the user comes in once."""
    network = Network((4, 5, 3), "tanh")
    y = Y if loss == "log_loss" else RNG.normal(size=(len(X), 3))
    objective = ActivationObjective(network, loss, Data(X, y, weight), batch_size=30, n_pairs=4)
    theta, expected = network.initial(np.random.default_rng(0)), np.full(len(X), np.nan)
    for index in range(8):  # five without importance, three with it
        key = 3, index
        noise = objective.noise(theta, 0.1 * (index + 1), key)
        pool = objective.examples.pool(key)
        losses = objective.losses(noise, key)
        w = np.ones(30) if pool.weight is None else pool.weight
        differences = np.empty((30, 4))
        for p, xi in enumerate(xi_of(noise.signs(key), 30)):
            plus, minus = (
                LOSSES[loss].values(
                    moved_outputs(network, theta, sign * noise.sigma * xi, X[pool.rows]),
                    y[pool.rows],
                )
                for sign in (1, -1)
            )
            np.testing.assert_allclose(losses.reshape(2, 30, 4)[0, :, p], w * plus, rtol=1e-9)
            differences[:, p] = plus - minus
        sizes = np.sqrt(np.square(differences).sum(axis=1)) / noise.sigma
        expected[pool.rows] = (
            sizes if weight is None else sizes * (weight / weight.sum())[pool.rows]
        )
        # Of an example drawn twice the second place is remembered, by both.
        np.testing.assert_allclose(objective.examples._scores, expected, rtol=1e-7)
    assert pool.weight.std() > 0.1


def test_full_batches_teach_nothing():
    """Where all examples are seen there is nothing to draw."""
    network = Network((4, 3), "tanh")
    objective = ActivationObjective(network, "log_loss", Data(X, Y), batch_size=150, n_pairs=2)
    theta = network.initial(np.random.default_rng(0))
    for index in range(3):
        objective.losses(objective.noise(theta, 0.1, (0, index)), (0, index))
    assert objective.examples.pool((0, 3)).weight is None


def test_any_number_of_threads_teaches_the_same():
    """Threads do not change a bit of later pools either."""
    network, pools = Network((4, 5, 3), "tanh"), []
    theta = network.initial(np.random.default_rng(0))
    for n in (1, 2, 3):
        with Threads(n) as threads:
            options = {"batch_size": 300, "n_pairs": 2, "threads": threads}
            objective = ActivationObjective(network, "log_loss", Data(MANY, LABELS), **options)
            for index in range(3):
                objective.losses(objective.noise(theta, 0.1, (0, index)), (0, index))
            pools.append(objective.examples.pool((0, 3)))
    assert pools[0].weight is not None
    assert len({str(bits(list(pool))) for pool in pools}) == 1


# -- what is refused -----------------------------------------------------------------------------

BAD = [
    ({"perturb": "units"}, "perturb='units': take 'auto', 'weights', 'activations'"),
    ({"perturb": None}, "perturb=None: take 'auto', 'weights', 'activations'"),
    ({"guide": "backprop"}, "guide='backprop' .*set perturb='weights', or guide=None"),
    ({"guide": "previous"}, "guide='previous' .*set perturb='weights', or guide=None"),
    ({"loss": lambda y, p: 0.0}, "perturb='activations' .*take one of .*or perturb='weights'"),
    ({"loss": "absolute"}, "loss='absolute'"),
    ({"sigma": 0.0}, "sigma=0.0: .*positive.*schedule or None"),
    ({"sigma": -1.0}, "sigma=-1.0"),
    ({"sigma": "wide"}, "sigma='wide'"),
    ({"n_pairs": 0}, "n_pairs=0"),
    ({"n_pairs": 2.5}, "n_pairs=2.5"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"hidden_layer_sizes": (5,)}, "hidden_layer_sizes=.*warm_start=False"),
]


def _id(value):
    return next(iter(value)) if isinstance(value, dict) else ""


@both
@pytest.mark.parametrize(("bad", "message"), BAD, ids=_id)
def test_a_fit_that_is_refused_leaves_the_model(cls, bad, message):
    """The message names argument, value and what to do; the model predicts and goes on."""
    model = cls(**NODES | {"warm_start": True}).fit(X, Y)
    good = model.get_params()
    before = {name: bits(value) for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(ValueError, match=message):
        model.set_params(**bad).fit(X, Y)
    after = {name: bits(value) for name, value in vars(model).items() if name.endswith("_")}
    assert after == before
    assert bits(vector(model.set_params(**good).fit(X, Y))) == bits(vector(_again(cls)))


def _again(cls):
    """Two fits, the second begun at the weights of the first."""
    return cls(**NODES | {"warm_start": True}).fit(X, Y).fit(X, Y)


@both
@pytest.mark.parametrize("guide", ["backprop", "previous"])
def test_what_is_refused_with_activations_is_not_with_weights(cls, guide):
    """What the message advises works."""
    model = cls(**NODES | {"guide": guide})
    with pytest.raises(ValueError, match="guide"):
        model.fit(X, Y)
    model.set_params(perturb="weights").fit(X, Y)
