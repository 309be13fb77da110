"""Models of the objective: what they recover exactly, and how a search is guided by one."""

import numpy as np
import pytest
from problems import X0, bits, bowl, state

from blackbox_es import AdaptiveES, GuidedES, OrthogonalES, SurrogateModel, VanillaES, minimize
from blackbox_es.models import Archive, fitted

rng = np.random.default_rng(5)
N = 6
HESSIAN = rng.standard_normal((N, N))
HESSIAN = HESSIAN + HESSIAN.T
POINTS = rng.standard_normal((60, N))  # more than the 28 numbers of a quadratic
CENTER = rng.standard_normal(N)


def quadratic(x):
    return x @ HESSIAN @ x / 2 + x.sum() + 3.0


def wavy(x):
    return np.sin(x).sum() + np.abs(x).max()


def told(f=quadratic, points=POINTS, **options):
    model = SurrogateModel(**options)
    model.tell(points, [f(x) for x in points])
    return model


def auto(cls=GuidedES, **options):
    if cls is GuidedES:
        options = {"alpha": "auto", "sigma": "auto", "learning_rate": "auto"} | options
    return cls(**{"max_iter": 12, "random_state": 4, **options})


# -- the model -----------------------------------------------------------------------------------


def test_a_quadratic_is_recovered_from_enough_points():
    """Values, gradients and the choice of no noise, anywhere near the points."""
    model = told()
    np.testing.assert_allclose(model(CENTER), HESSIAN @ CENTER + 1.0, rtol=1e-3, atol=1e-3)
    around = model.at(CENTER)
    assert around.noise == 1e-8
    np.testing.assert_allclose(
        around.predict(POINTS), [quadratic(x) for x in POINTS], rtol=1e-3, atol=1e-3
    )


def test_as_many_mirrored_pairs_as_dimensions_show_a_gradient():
    """Of a quadratic whose 820 curvatures remain unknown: even terms cancel."""
    rng = np.random.default_rng(1)
    half, slope, root = rng.standard_normal((40, 40)), np.arange(40.0), np.ones((40, 40)) / 9
    points = np.concatenate([half, -half])
    gradient = told(lambda x: slope @ x + np.square(root @ x).sum(), points)(np.zeros(40))
    np.testing.assert_allclose(gradient, slope, atol=1e-2)


@pytest.mark.parametrize("f", [quadratic, wavy])
def test_the_gradient_is_that_of_the_prediction(f):
    """By central differences, at the center and beside it."""
    model = told(f).at(CENTER)
    for x in (CENTER, CENTER + 0.3):
        steps = 1e-4 * np.eye(N)
        slopes = (model.predict(x + steps) - model.predict(x - steps)) / 2e-4
        np.testing.assert_allclose(model.gradient(x), slopes, rtol=1e-5, atol=1e-5)
        assert model.predict(x) == pytest.approx(model.predict(x[None])[0])


@pytest.mark.parametrize("power", [-60, -3, 2, 100])
def test_powers_of_two_leave_the_direction(power):
    """In values and in points, bit for bit."""
    factor, base = 2.0**power, told(wavy)(CENTER)
    model = SurrogateModel()
    model.tell(POINTS, [factor * wavy(x) for x in POINTS])
    np.testing.assert_array_equal(model(CENTER), factor * base)
    model = SurrogateModel()
    model.tell(factor * POINTS, [wavy(x) for x in POINTS])
    np.testing.assert_array_equal(model(factor * CENTER), base / factor)


def test_noise_is_averaged():
    """Noise that is larger than all differences is seen, and a slope is found under it."""
    rng = np.random.default_rng(2)
    points, slope = rng.standard_normal((300, 5)), np.array([1.0, -2.0, 0.5, 0.0, 1.0])
    model = told(lambda x: slope @ x + 3.0 * rng.standard_normal(), points)
    gradient = model(np.zeros(5))
    assert model.at(np.zeros(5)).noise == 1.0
    assert (gradient @ slope) ** 2 > 0.8 * (gradient @ gradient) * (slope @ slope)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_failed_is_not_learnt(bad):
    """The model is that of the other points."""
    values = np.array([quadratic(x) for x in POINTS])
    model, plain = SurrogateModel(), SurrogateModel()
    model.tell(POINTS, np.where(np.arange(60) % 3 == 0, bad, values))
    plain.tell(POINTS[np.arange(60) % 3 > 0], values[np.arange(60) % 3 > 0])
    assert bits(model.archive_) == bits(plain.archive_)


def test_too_little_gives_no_surrogate():
    """No points, few of them, one point many times, values that are all the same."""
    assert SurrogateModel()(CENTER) is None
    assert told(points=POINTS[:3])(CENTER) is None
    assert told(points=np.tile(CENTER, (9, 1)))(CENTER) is None
    assert told(lambda x: 7.0)(CENTER) is None
    assert fitted(POINTS * 1e300, POINTS[:, 0], CENTER) is None


def test_the_last_points_are_remembered():
    """As many as may be, of any number of calls; float32 stays float32."""
    model = told(n_points=20)
    np.testing.assert_array_equal(model.archive_.X, POINTS[-20:])
    model.tell(POINTS[:5], [1.0] * 5)
    np.testing.assert_array_equal(model.archive_.X, np.concatenate([POINTS[-15:], POINTS[:5]]))
    wide = SurrogateModel()
    wide.tell(np.zeros((9, 2**20), np.float32), np.arange(9))
    assert wide.archive_.X.shape == (4, 2**20)
    assert wide.archive_.X.dtype == np.float32


def test_arrays_of_the_caller_stay_theirs():
    """They are copied, and what is remembered is read-only."""
    points, values = POINTS.copy(), np.arange(60.0)
    model = SurrogateModel()
    model.tell(points, values)
    points[:], values[:] = 0.0, 0.0
    np.testing.assert_array_equal(model.archive_.X, POINTS)
    assert not model.archive_.X.flags.writeable
    assert not model.archive_.values.flags.writeable


# -- in a search ---------------------------------------------------------------------------------


def ball(x):
    return x @ x


def fragile(x):
    """`bowl`, which fails where the last bits of x say so."""
    return np.nan if x.tobytes()[0] % 16 == 3 else bowl(x)


@pytest.mark.parametrize("cls", [GuidedES, OrthogonalES])
def test_a_search_is_guided_by_a_model(cls):
    """fit with "model", with a model, and a loop are one: the same bits."""
    x0 = np.ones(20)
    named = auto(cls).fit(ball, x0, "model")
    given = auto(cls).fit(ball, x0, SurrogateModel())
    es, model = auto(cls).start(x0), SurrogateModel()
    while not es.stop_reason_:
        X = es.ask(model(es.surrogate_x_))
        es.tell(X, values := [ball(x) for x in X])
        model.tell(X, values)
    assert state(named) == state(given)
    np.testing.assert_array_equal(es.x_, named.x_)
    assert named.n_surrogate_rejected_ == 1  # nothing is known before the first generation


def test_guided_by_a_model_takes_a_third_of_the_evaluations():
    """On a sphere of 50 dimensions, for each of three seeds."""
    for seed in range(3):
        options = {"max_iter": 1000, "f_target": 1e-2, "random_state": seed, "n_pairs": 4}
        guided = auto(**options).fit(ball, np.ones(50), "model")
        plain = auto(VanillaES, sigma="auto", learning_rate="auto", **options)
        plain.fit(ball, np.ones(50))
        assert guided.stop_reason_ == plain.stop_reason_ == "f_target"
        assert 3 * guided.n_evaluations_ < plain.n_evaluations_


@pytest.mark.filterwarnings("ignore:evaluations failed")
@pytest.mark.parametrize("bounds", [None, [(0.0, None), (-1.5, 3.0), (None, 5.0)]])
@pytest.mark.parametrize("cls", [GuidedES, AdaptiveES])
def test_a_search_cut_short_goes_on_exactly(cls, bounds, tmp_path):
    """Loaded from its checkpoint, with an objective that fails sometimes."""
    path, options = tmp_path / "run.npz", {"bounds": bounds, "max_iter": 14}
    x0 = np.array([0.5, -1.0, 2.0])
    whole = auto(cls, **options).fit(fragile, x0, "model")
    auto(cls, **options | {"max_iter": 9}).fit(
        fragile, x0, "model", checkpoint=path, checkpoint_every=1
    )
    again = cls.load(path, max_iter=14)
    other = SurrogateModel()
    other.tell(POINTS[:, :3], POINTS[:, 0])  # forgotten: it is told what the search knows
    again.fit(fragile, surrogate_fn=other, resume=True)
    np.testing.assert_array_equal(again.x_, whole.x_)
    assert bits(again.history_["mean"]) == bits(whole.history_["mean"])
    assert bits(again.state_) == bits(whole.state_)
    assert again.n_failed_ == whole.n_failed_


def test_what_a_search_has_told_is_checked_when_loaded(tmp_path):
    """Points of another dimension are damage."""
    from blackbox_es import CheckpointError, checkpoint

    path = tmp_path / "run.npz"
    auto(max_iter=3).fit(bowl, X0, "model", checkpoint=path)
    meta, arrays = checkpoint.read(path)
    name = meta["archive"]["fields"]["values"]["array"]
    for wrong in (arrays[name][1:], arrays[name].astype(np.float32), arrays[name] * np.nan):
        checkpoint.write(path, meta, arrays | {name: wrong})
        with pytest.raises(CheckpointError):
            GuidedES.load(path)
    checkpoint.write(path, meta | {"archive": 5}, arrays)
    with pytest.raises(CheckpointError, match="archive"):
        GuidedES.load(path)


def test_any_number_of_workers_gives_the_same_search():
    """Points are made again where the model is."""
    assert state(auto(n_jobs=2, max_iter=4).fit(bowl, X0, "model")) == state(
        auto(max_iter=4).fit(bowl, X0, "model")
    )


class Mine:
    """A model of the user's: the last point with the lowest value is where to go."""

    def __init__(self):
        self.X, self.values = [], []

    def tell(self, X, values):
        self.X.extend(X)
        self.values.extend(values)

    def __call__(self, x):
        return x - self.X[np.argmin(self.values)] if self.X else None


@pytest.mark.filterwarnings("ignore:evaluations failed")
def test_a_model_of_the_users_is_told_what_did_not_fail():
    """All that has been evaluated but the last center."""
    mine = Mine()
    es = auto().fit(fragile, X0, mine)
    assert len(mine.X) == len(mine.values) == es.n_evaluations_ - 1 - es.n_failed_
    assert es.n_failed_ > 0
    assert mine.values == [bowl(x) for x in mine.X]


def test_minimize_takes_a_model():
    """By name or as it is; it is not given the arguments of the function."""
    options = {"max_iter": 8, "random_state": 0}
    results = [
        minimize(lambda x, c: c * ball(x), np.ones(9), (2.0,), method="guided-es", jac=jac,
                 options=options).x
        for jac in ("model", SurrogateModel())
    ]  # fmt: skip
    np.testing.assert_array_equal(*results)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [("modle", ValueError, '"model"'), (3, TypeError, "callable"),
     (GuidedES(), TypeError, "tell")],
)  # fmt: skip
def test_what_is_no_surrogate_is_refused_by_name(given, kind, text):
    """Before anything is evaluated."""
    with pytest.raises(kind, match=f"surrogate_fn=.*{text}"):
        auto().fit(None, X0, given)
    with pytest.raises(kind, match=f"jac=.*{text}"):
        minimize(ball, X0, jac=given)


def test_wrong_points_change_nothing():
    """Shapes, dtypes, numbers of values, and an archive that is none."""
    model = told()
    before = model.archive_
    for X, values in (
        (CENTER, [1.0]), (POINTS[:, 1:], POINTS[:, 0]), (POINTS, [1.0]), (POINTS[:2], None),
        ([["a"] * N], [1.0]), (np.float64(3.0), [1.0]),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            model.tell(X, values)
    for x in (POINTS, CENTER[1:], CENTER * np.nan):
        with pytest.raises(ValueError, match="x"):
            model(x)
    with pytest.raises(TypeError, match="archive_"):
        model.archive_ = POINTS
    with pytest.raises(ValueError, match="n_points"):
        told(n_points=0)
    assert model.archive_ is before
    assert isinstance(before, Archive)


def test_an_error_of_a_model_says_when():
    """And the generation stays pending."""

    class Failing(Mine):
        def tell(self, X, values):
            raise OSError("full")

    es = auto()
    with pytest.raises(OSError, match="full") as caught:
        es.fit(bowl, X0, Failing())
    assert "surrogate_fn.tell after generation 0" in caught.value.__notes__[0]
    assert es.n_iter_ == 0


def test_models_of_trees_are_told_vectors():
    """The search is that of the vector, bit for bit."""
    options = {"max_iter": 6, "n_pairs": 4, "random_state": 0, "sigma": 0.1}
    tree = {"a": np.ones((2, 2)), "b": np.zeros(3)}

    def f(x):
        return float((x["a"] ** 2).sum() + ((x["b"] - 1) ** 2).sum())

    def g(x):
        return f({"a": x[:4].reshape(2, 2), "b": x[4:]})

    grown = GuidedES(**options).fit(f, tree, "model")
    flat = GuidedES(**options).fit(g, np.r_[np.ones(4), np.zeros(3)], "model")
    np.testing.assert_array_equal(np.r_[grown.x_["a"].ravel(), grown.x_["b"]], flat.x_)
