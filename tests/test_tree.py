"""Points that are trees: a search of one is that of its vector, bit for bit."""

import pickle

import numpy as np
import pytest
from problems import X0, bits, each, make, taking

from blackbox_es import (
    AdaptiveES,
    Box,
    GuidedES,
    VanillaES,
    estimate_gradient,
    minimize,
    tree_bounds,
)
from blackbox_es.checkpoint import CheckpointError
from blackbox_es.space import Real, Space
from blackbox_es.strategies import STRATEGIES
from blackbox_es.tree import planted

WEIGHT = np.arange(6.0).reshape(2, 3) / 7
START = {"layer": [{"weight": WEIGHT, "bias": np.array([0.5, -1.0])}], "rest": (2.0, np.float64(3))}
PATHS = ["layer.0.weight", "layer.0.bias", "rest.0", "rest.1"]


def vector(tree):
    """The coordinates of a tree like `START`, of one point or of rows of them."""
    (layer,), (a, b) = tree["layer"], tree["rest"]
    rows = np.ndim(a)
    parts = [np.reshape(part, (*np.shape(part)[:rows], -1))
             for part in (layer["weight"], layer["bias"], a, b)]  # fmt: skip
    return np.concatenate(parts, axis=-1)


FLAT = vector(START)
TARGET = np.linspace(-1.0, 1.0, FLAT.size)


def cost(x):
    """A quadratic of the vector, with the same bits for a point and for rows."""
    return sum((i + 1) * (x[..., i] - TARGET[i]) ** 2 for i in range(FLAT.size))


def cost_of_tree(tree):
    """`cost` of a tree."""
    return cost(vector(tree))


def slope(x):
    """A biased gradient of `cost`."""
    return 2 * (x - TARGET) + 0.1


def slope_tree(tree):
    """`slope` as a tree whose dicts have another order."""
    g = slope(vector(tree))
    layer = {"bias": g[6:8], "weight": g[:6].reshape(2, 3)}
    return {"rest": [g[8], g[9]], "layer": [layer]}


def guides(es):
    """Surrogates for the vector and for the tree, where one is taken."""
    return (slope, slope_tree) if es.takes_surrogate else (None, None)


def outline(tree):
    """Types, dtypes and shapes."""
    if isinstance(tree, dict):
        return {key: outline(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree), [outline(item) for item in tree]
    return type(tree), np.asarray(tree).dtype, np.shape(tree)


def same_search(es, other):
    """Assert that a search of trees is where one of vectors is, bit for bit."""
    assert bits(vector(es.x_)) == bits(other.x_)
    assert bits(vector(es.x_best_)) == bits(other.x_best_)
    assert bits(es.history_) == bits(other.history_)
    assert bits([es.fun_, es.fun_best_, es.n_evaluations_]) == bits(
        [other.fun_, other.fun_best_, other.n_evaluations_]
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_of_a_tree_is_that_of_its_vector(name):
    """The same bits for all strategies, with surrogates where they are taken."""
    flat, trees = guides(make(name))
    expected = make(name).fit(cost, FLAT, flat)
    same_search(make(name).fit(cost_of_tree, START, trees), expected)


@pytest.mark.parametrize("options", [{"n_jobs": 2}, {"vectorized": True}])
def test_however_it_is_evaluated(options):
    """In workers, and in rows: the leaves have one more axis, the first."""
    es = GuidedES(max_iter=3, random_state=1, **options).fit(cost_of_tree, START, slope_tree)
    same_search(es, GuidedES(max_iter=3, random_state=1).fit(cost, FLAT, slope))


def test_all_functions_are_given_trees_of_their_own():
    """Objective, surrogate and callback: the structure of x0, leaves that may be written to."""
    seen = []

    def taking(value):
        def function(tree):
            seen.append(outline(tree))
            result = value(tree)
            tree["layer"][0]["weight"][:] = np.nan
            return result

        return function

    es = GuidedES(max_iter=2, random_state=0)
    es.fit(taking(cost_of_tree), START, taking(slope_tree), callback=taking(lambda tree: None))
    assert seen == [outline(START)] * len(seen)
    for found in (es.x_, es.x_best_, es.gradient_, es.surrogate_x_, es.result_.x):
        assert outline(found) == outline(START)
    es.x_["layer"][0]["bias"][:] = 7.0
    same_search(es, GuidedES(max_iter=2, random_state=0).fit(cost, FLAT, slope))


def test_ask_and_tell():
    """A list of trees; rows, pairs in any order, and trials give the bits of the vector."""
    expected = VanillaES(max_iter=3, random_state=1).start(FLAT)
    es = VanillaES(max_iter=3, random_state=1).start(START)
    while not expected.stop_reason_:
        X = expected.ask()
        expected.tell(X, cost(X))
    X = es.ask()
    assert type(X) is list
    es.tell(X, [cost_of_tree(x) for x in X])
    es.tell([(x, cost_of_tree(x)) for x in reversed(es.ask())])
    for trial in [*es.ask_trials()][::-1]:
        assert outline(trial.x) == outline(START)
        trial = pickle.loads(pickle.dumps(trial))
        es.tell_trial(trial.id, cost_of_tree(trial.x))
    same_search(es, expected)


def test_points_that_were_not_asked():
    """A tree that was changed, or of another structure, is refused, and nothing has changed."""
    es = VanillaES(n_pairs=2, random_state=1).start(START)
    X = es.ask()
    X[2]["layer"][0]["bias"][0] += 1
    with pytest.raises(ValueError, match="row 2 of X"):
        es.tell(X, np.zeros(4))
    with pytest.raises(ValueError, match="point 2 is not one"):
        es.tell([(x, 0.0) for x in X])
    with pytest.raises(ValueError, match=r"X\.layer has dict: expected a list of 1"):
        es.tell([{**x, "layer": {}} for x in X], np.zeros(4))
    with pytest.raises(TypeError, match="pickle the trial"):
        next(es.ask_trials()).to_json()
    assert es.n_evaluations_ == 0


@taking(bounds=[(-1, 1)] * X0.size)
def test_bounds_of_a_tree(name):
    """A tree of pairs is the box of its coordinates; searches have the bits of the vector."""
    pairs = {
        "layer": [{"weight": (-0.5, np.full((2, 3), 2.0)), "bias": None}],
        "rest": [(None, 3), (3.0, 3.0)],
    }
    low = [*[-0.5] * 6, *[-np.inf] * 3, 3.0]
    high = [*[2.0] * 6, np.inf, np.inf, 3.0, 3.0]
    box = tree_bounds(START, pairs)
    assert box == Box(low, high)
    flat, trees = guides(make(name))
    expected = make(name, bounds=box).fit(cost, FLAT, flat)
    es = make(name, bounds=box).fit(cost_of_tree, START, trees)
    same_search(es, expected)
    if hasattr(es, "gradient_"):
        assert bits(es.gradient_) == bits(expected.gradient_)  # of the search space
    es.set_params(max_iter=9)
    assert es.stop_reason_ is None


def test_bounds_in_one_call():
    """`minimize` takes bounds as a tree, and as they were."""
    x0, options = {"a": 1.0, "b": np.ones(2)}, {"max_evals": 60, "random_state": 0}
    results = [
        minimize(lambda x: x["a"] + x["b"] @ x["b"], x0, bounds=bounds, options=options)
        for bounds in ({"a": (0, 2), "b": (None, [1, 2])}, [(0, 2), (None, 1), (None, 2)])
    ]
    assert bits(results[0].x) == bits(results[1].x)
    assert 0 <= results[0].x_best["a"] < 0.5
    result = minimize(lambda x: x[0] @ x[0], [np.ones(2)], bounds=[(0, 1)] * 2, options=options)
    assert (result.x[0] >= 0).all()
    result = minimize(lambda x: x @ x, [1.0, 1.0], bounds=[(0, 1)] * 2, options=options)
    assert result.x.shape == (2,)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"a": (0, 1)}, r"bounds has \['a'\]: expected a dict of \['a', 'b'\]"),
        ({"a": 1, "b": None}, r"bounds at a is 1: expected a pair"),
        ({"a": (0, [1]), "b": None}, r"bounds at a has shape \(1,\): expected \(\)"),
        ({"a": (0, 1), "b": [(0, 1)] * 3}, "bounds at b is"),
        ({"a": ("0", 1), "b": None}, "bounds at a is of dtype <U1|bounds at a is '0'"),
        ({"a": (2, 1), "b": None}, "bounds of coordinate 0 are 2.0 and 1.0"),
    ],
)
def test_bounds_of_another_structure(bounds, message):
    """The path is named."""
    with pytest.raises((TypeError, ValueError), match=message):
        tree_bounds({"a": 1.0, "b": np.ones(3)}, bounds)


def test_bounds_that_do_not_go_with_a_tree():
    """A Space has names of its own; numbers that are rounded again may be outside."""
    es = VanillaES(bounds=Space(a=Real(0, 1)))
    with pytest.raises(ValueError, match="bounds is a Space"):
        es.start({"a": 0.5})
    with pytest.raises(ValueError, match="leaves of one dtype, float32 or float64, and x0 has a f"):
        VanillaES(bounds=[(0, 1)] * 2).start({"a": 0.5, "b": np.float32(0.5)})
    with pytest.raises(TypeError, match=r"tree_bounds\(x0"):
        VanillaES(bounds={"a": (0, 1)}).start({"a": 0.5})
    with pytest.raises(TypeError, match="x0 is no tree"):
        tree_bounds([1.0], [(0, 1)])


@pytest.mark.parametrize("when", ["at the start", "in mid-generation", "later"])
def test_saved_and_loaded(tmp_path, when):
    """A checkpoint has the structure, and the search goes on bit for bit."""
    bounds = tree_bounds(
        START, {"layer": [{"weight": (-1, 1), "bias": None}], "rest": (None, None)}
    )
    es = VanillaES(max_iter=4, random_state=1, bounds=bounds).start(START)
    if when == "later":
        es.tell(X := es.ask(), [cost_of_tree(x) for x in X])
    if when == "in mid-generation":
        es.tell([(x, cost_of_tree(x)) for x in es.ask()[:3]])
    es.save(tmp_path / "search.npz")
    again = VanillaES.load(tmp_path / "search.npz")
    assert outline(again.x_) == outline(START)
    again.fit(cost_of_tree, resume=True)
    same_search(again, VanillaES(max_iter=4, random_state=1, bounds=bounds).fit(cost, FLAT))
    assert again.set_params(max_iter=9).stop_reason_ is None


def test_a_forged_structure_is_refused(tmp_path, monkeypatch):
    """One that is not of the state, or none."""
    es = VanillaES(random_state=1).start({"a": np.ones(3)})
    search = es._search
    for tree in (
        planted({"a": np.ones(4)})[1],
        planted({"a": np.ones(3, np.float32)})[1],
    ):
        es._search = search._replace(box=tree)
        es.save(tmp_path / "forged.npz")
        monkeypatch.setattr(es, "_search", search)
        with pytest.raises(CheckpointError, match=r"(is not that|are not those) of the state"):
            VanillaES.load(tmp_path / "forged.npz")


def test_dtypes():
    """float32 if all leaves are; else float64, and other leaves are the nearest numbers."""
    small, wide = np.ones(2, np.float32), np.ones(2)
    assert planted({"a": small, "b": np.float32(1)})[0].dtype == np.float32
    assert planted({"a": small, "b": wide})[0].dtype == np.float64
    assert planted({"a": small.astype(np.float16)})[0].dtype == np.float64
    x0 = {"a": small, "b": 1.0, "c": np.ones((), np.float16), "d": np.array(2.0)}
    expected = VanillaES(random_state=1).start(np.array([1, 1, 1, 1, 2.0])).ask()
    es = VanillaES(random_state=1).start(x0)
    for row, x in zip(expected, es.ask(), strict=True):
        assert outline(x) == outline(x0)
        assert bits(x["a"]) == bits(row[:2].astype(np.float32))
        assert bits(x["b"]) == bits(float(row[2]))
        assert bits(x["c"]) == bits(np.asarray(row[3], np.float16))
        assert bits(x["d"]) == bits(np.asarray(row[4]))
    X = es.ask()
    es.tell(X, [x["b"] for x in X])  # rounded, they are those that were asked
    es.tell([(x, x["b"]) for x in es.ask()])
    assert es.n_iter_ == 2


def test_float32_is_that_of_its_vector():
    """The bits of a search in float32."""
    x0 = {"a": np.float32([1, 2]), "b": np.float32([[3]])}
    es = AdaptiveES(max_iter=5, random_state=1).fit(lambda x: x["a"] @ x["a"] + x["b"][0, 0], x0)
    flat = AdaptiveES(max_iter=5, random_state=1)
    flat.fit(lambda x: x[:2] @ x[:2] + x[2], np.float32([1, 2, 3]))
    assert bits(np.concatenate([es.x_["a"], es.x_["b"][0]])) == bits(flat.x_)


@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        (np.arange(3), TypeError, "x0 at layer.0.weight is of int64: expected one of float16"),
        (1, TypeError, "x0 at layer.0.weight is of int64"),
        (True, TypeError, "x0 at layer.0.weight is of bool"),
        (None, TypeError, "x0 at layer.0.weight is None"),
        ("w", TypeError, "x0 at layer.0.weight is 'w'"),
        (np.array([1.0, 2j]), TypeError, "x0 at layer.0.weight is of dtype complex128"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), ValueError, r"weight\[1, 1\] is nan"),
        (np.inf, ValueError, "x0 at layer.0.weight is inf"),
        (np.ones(0), ValueError, "x0 is empty"),
        ({}, ValueError, "x0 is empty"),
        (np.rec.array([(1.0,)]), TypeError, "x0 at layer.0.weight is of dtype"),
    ],
)
def test_leaves_that_are_refused(leaf, error, message):
    """By the path, before anything has changed."""
    es = VanillaES().start([1.0])
    with pytest.raises(error, match=message):
        es.start({"layer": [{"weight": leaf}]})
    assert bits(es.x_) == bits(np.ones(1))


def test_named_tuples_are_refused():
    """A checkpoint could not make them again."""
    outcome = np.linalg.slogdet(np.eye(2))
    with pytest.raises(TypeError, match="x0 at a is a SlogdetResult: expected a dict"):
        VanillaES().start({"a": outcome})


def test_lists_of_numbers_are_vectors():
    """A list is a tree if an array of one dimension or a tree is in it."""
    assert planted([1.0, np.float64(2), np.array(3.0)])[1] is None
    assert planted([np.ones(1), 2.0])[1] is not None
    with pytest.raises(ValueError, match=r"x0\.ravel"):
        planted([[1.0, 2.0], [3.0, 4.0]])


@each("n_guides", 2)
def test_several_guides(name, n_guides):
    """Leaves of surrogates may have one more axis, the last; a matrix will do."""
    G = np.random.default_rng(0).normal(size=(FLAT.size, 2))
    layer = {"weight": G[:6].reshape(2, 3, 2), "bias": G[6:8]}
    tree = {"layer": [layer], "rest": (G[8], G[9])}
    searches = [make(name, n_guides=n_guides).start(x0) for x0 in (FLAT, START, START)]
    points = [es.ask(g) for es, g in zip(searches, (G, G, tree), strict=True)]
    assert bits([vector(x) for x in points[1]]) == bits(list(points[0]))
    assert bits(points[2]) == bits(points[1])


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        ({"a": np.ones(2)}, r"the surrogate gradient has \['a'\]: expected a dict of \['a', 'b'\]"),
        ({"a": np.ones(3), "b": 1.0}, r"gradient at a has shape \(3,\): expected \(2,\)"),
        ({"a": np.ones((2, 1, 1)), "b": 1.0}, r"gradient at a has shape \(2, 1, 1\)"),
        ({"a": np.ones((2, 2)), "b": 1.0}, "leaves of different kinds of shapes"),
        (np.ones(2), r"gradient has shape \(2,\): expected \(3,\)"),
        ({"a": np.array([1, 2j]), "b": 1.0}, "gradient at a is of dtype complex128"),
    ],
)
def test_surrogates_of_another_structure(surrogate, message):
    """The path is named, and nothing has changed."""
    es = GuidedES().start({"a": np.ones(2), "b": 1.0})
    with pytest.raises((TypeError, ValueError), match=message):
        es.ask(surrogate)
    assert es.surrogate_x_ is not None


def test_objectives_that_make_their_own_points():
    """They make vectors, and are refused, before anything has changed."""

    class Whole:
        def __call__(self, x):
            return 0.0

        def evaluate_generation(self, generation):
            return np.zeros((2, generation.n_pairs))

    es = VanillaES()
    with pytest.raises(ValueError, match="x0 is a tree, and an objective with evaluate_generation"):
        es.fit(Whole(), START)
    assert not hasattr(es, "x_")
    with pytest.raises(ValueError, match="x0 is a tree"):
        estimate_gradient(Whole(), START)


def test_estimates_are_trees():
    """As x is, and bit for bit those of its vector; with a surrogate, too."""
    g = estimate_gradient(cost_of_tree, START, random_state=0)
    assert outline(g) == outline(START)
    assert bits(vector(g)) == bits(estimate_gradient(cost, FLAT, random_state=0))
    g = estimate_gradient(cost_of_tree, START, slope_tree(START), random_state=0)
    assert bits(vector(g)) == bits(estimate_gradient(cost, FLAT, slope(FLAT), random_state=0))


def test_the_order_of_leaves_is_that_of_the_tree():
    """With their paths."""
    _, tree = planted(START)
    assert [leaf.path for leaf, _ in tree._leaves] == PATHS
    assert str(tree).startswith("layer.0.weight float64[2, 3], layer.0.bias float64[2], rest.0 fl")
    assert tree.n == tree.n_free == FLAT.size


def test_exceptions_that_are_caught():
    """A point that fails in rows is found, and left out."""

    def sometimes(tree):
        if (np.atleast_1d(tree["a"]) > 1.05).any():
            raise ArithmeticError
        return tree["a"]

    es = VanillaES(n_pairs=8, vectorized=True, catch=(ArithmeticError,), random_state=0, max_iter=1)
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        es.fit(sometimes, {"a": 1.0})
    assert 0 < es.n_failed_ < 8
