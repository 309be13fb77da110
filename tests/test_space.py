"""Spaces: what a point means, there and back, and that no integer freezes."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from blackbox_es import AdaptiveES, Choice, Int, Log, Real, Space
from blackbox_es._encoding import Arrays, decode, encode

SPACE = Space(
    lr=Log(1e-5, 1),
    l2=Real(-1, 3),
    depth=Int(1, 12),
    leaves=Int(2, 500, log=True),
    flag=Choice([False, True]),
    width=Choice([16, 32, 128]),
    act=Choice(["relu", "tanh", None]),
)
points = st.lists(st.floats(0, 1), min_size=SPACE.n, max_size=SPACE.n)


@given(points)
def test_there_and_back(u):
    """`encode` gives a point of the same parameters: integers and options exactly."""
    params = SPACE.params(u)
    back = SPACE.params(SPACE.encode(params))
    assert back.keys() == params.keys()
    for name in ("depth", "leaves", "flag", "width", "act"):
        assert type(back[name]) is type(params[name])
        assert back[name] == params[name]
    assert back["lr"] == pytest.approx(params["lr"], rel=1e-13)
    assert back["l2"] == pytest.approx(params["l2"], rel=1e-13, abs=1e-13)


@given(points)
def test_parameters_are_those_of_python_and_in_their_range(u):
    """A float is a float, an integer an int, an option the object that was given."""
    params = SPACE.params(u)
    assert [type(params[name]) for name in ("lr", "l2", "depth", "leaves")] == [
        float, float, int, int
    ]  # fmt: skip
    assert 1e-5 <= params["lr"] <= 1
    assert -1 <= params["l2"] <= 3
    assert 1 <= params["depth"] <= 12
    assert 2 <= params["leaves"] <= 500
    assert params["flag"] in (False, True)


@pytest.mark.parametrize(
    ("dimension", "low", "middle", "high"),
    [
        (Real(-1, 3), -1.0, 1.0, 3.0),
        (Real(-1.7e308, 1.7e308), -1.7e308, 0.0, 1.7e308),
        (Log(1e-4, 1), 1e-4, 1e-2, 1.0),
        (Int(-3, 5), -3, 1, 5),
        (Int(1, 100, log=True), 1, 10, 100),
        (Int(0, 2**40), 0, 2**39, 2**40),
        (Choice(["a", "b"]), "a", "b", "b"),
        (Choice([1, 2.5, 4]), 1, 2.5, 4),
    ],
)
def test_ends_and_middle(dimension, low, middle, high):
    """The ends of the unit interval are the ends of a scale, exactly."""
    space = Space(p=dimension)
    assert [space.params([u])["p"] for u in (0, 0.5, 1)] == [low, middle, high]
    assert space.encode({"p": low}) == [0.0]
    assert space.encode({"p": high}) == [1.0]


def test_every_integer_is_reached():
    """Every one has a cell, and the cells of a linear scale are equal in a box that reflects."""
    for space in (Space(k=Int(3, 9)), Space(k=Int(3, 9, log=True))):
        drawn = [space.params([u])["k"] for u in np.linspace(0, 1, 1201)]
        assert sorted(set(drawn)) == list(range(3, 10))
    drawn = [Space(k=Int(3, 9)).params([u])["k"] for u in np.linspace(0, 1, 1201)[:-1]]
    assert {drawn.count(k) for k in range(4, 9)} == {200}
    assert {drawn.count(k) for k in (3, 9)} == {100}


def test_options_without_an_order_have_a_coordinate_each():
    """And the largest wins; two options and increasing numbers share one."""
    space = Space(a=Choice(["x", "y", "z"]), b=Choice([1, 2, 4]), c=Choice([4, 2, 1]))
    assert space.n == 3 + 1 + 3
    assert space.params([0.2, 0.1, 0.7, 0.9, 0, 1, 0]) == {"a": "z", "b": 4, "c": 2}
    assert Space(a=Choice(["x", "y"])).n == 1


def test_options_are_compared_with_their_types():
    """1, 1.0 and True are three options."""
    space = Space(a=Choice([1, 1.0, True, "1"]))
    for option in space.dimensions["a"].options:
        assert type(space.params(space.encode({"a": option}))["a"]) is type(option)


@pytest.mark.parametrize(
    "dimension", [Int(0, 1), Int(1, 12), Int(1, 1000, log=True), Choice(["a", "b"])]
)
def test_no_integer_freezes(dimension):
    """With standard deviation `min_sigma` the integer is left with probability 1 / (n lambda).

    From 500 centers in the box, by the normal distribution function over the unfolded cells.
    """
    space = Space(p=dimension)
    (s,) = space.min_sigma
    leaving = 1.0 / (space.n * (4.0 + 3.0 * np.log(space.n)))
    u = np.linspace(0, 1, 500)
    line = np.linspace(-6, 7, 13 * 4000 + 1)  # the line that is folded into the box
    folded = [repr(space.params([v])["p"]) for v in 1 - np.abs(np.mod(line, 2) - 1)]
    starts = [0, *(np.flatnonzero([a != b for a, b in pairwise(folded)]) + 1)]
    ends = [*line[starts[1:]], np.inf]
    begins = [-np.inf, *line[starts[1:]]]
    least = 1.0
    for center in u:
        mine = repr(space.params([center])["p"])
        staying = sum(
            norm.cdf((b - center) / s) - norm.cdf((a - center) / s)
            for a, b, i in zip(begins, ends, starts, strict=True)
            if folded[i] == mine
        )
        least = min(least, 1.0 - staying)
    assert least > 0.97 * leaving  # cells that are met again far away, and the grid


def test_real_numbers_have_no_least_scale():
    """They may converge; integers with narrow cells may nearly."""
    assert (SPACE.min_sigma[:2] == 0).all()
    assert (SPACE.min_sigma[2:] > 0).all()
    assert Space(k=Int(0, 1000)).min_sigma < Space(k=Int(0, 10)).min_sigma


def test_the_objective_calls_by_name():
    """A function of a point; common random numbers are passed on."""
    f = SPACE.objective(dict)
    assert f(SPACE.middle) == SPACE.params(SPACE.middle)
    seeded = Space(a=Real(0, 1)).objective(lambda a, seed: (a, seed))
    assert seeded([0.5], seed=7) == (0.5, 7)
    own = Space(seed=Int(0, 10)).objective(lambda seed: seed)
    assert own([0.5]) == 5


def test_a_search_over_integers_finds_the_best():
    """`min_sigma` is what `AdaptiveES` takes: the best integers of a million are found."""
    space = Space(a=Int(0, 99), b=Int(1, 10_000, log=True))
    cost = space.objective(lambda a, b: abs(a - 70) + abs(np.log(b / 300)))
    es = AdaptiveES(min_sigma=space.min_sigma, max_evals=1500, random_state=0)
    es.fit(lambda u: cost(1 - np.abs(np.mod(u, 2) - 1)), space.middle)
    assert es.fun_best_ < 0.02


def test_spaces_are_values():
    """They compare, are pickled, and are saved and loaded by checkpoints."""
    arrays = Arrays()
    same = decode(encode(SPACE, arrays), arrays.named)
    assert same == SPACE == pickle.loads(pickle.dumps(SPACE))
    assert Space(a=Real(0, 1)) != Space(a=Real(0, 2))
    assert eval(repr(SPACE)) == SPACE
    with pytest.raises(AttributeError):
        SPACE.dimensions = {}


def test_names_that_are_no_identifiers():
    """A dict gives them; any name works, "dimensions" too."""
    assert Space({"clf__alpha": Real(0, 1), "a b": Int(0, 1)}).params([0, 0]) == {
        "clf__alpha": 0.0,
        "a b": 0,
    }
    assert Space(dimensions=Real(0, 1)).params([0.25]) == {"dimensions": 0.25}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space(), "no dimension"),
        (lambda: Space(a=0.5), "a=0.5"),
        (lambda: Space(0.5), "dimensions=0.5"),
        (lambda: Real(1, 1), "low=1"),
        (lambda: Real(0, np.inf), "high=inf"),
        (lambda: Real("0", 1), "low"),
        (lambda: Log(0, 1), "low=0"),
        (lambda: Int(0.5, 3), "low=0.5"),
        (lambda: Int(0, 2**41), "high=2199023255552"),
        (lambda: Int(0, 3, log=True), "low=0"),
        (lambda: Int(1, 3, log="yes"), "log='yes'"),
        (lambda: Choice("relu"), "options='relu'"),
        (lambda: Choice(["relu"]), "two or more"),
        (lambda: Choice(["a", "b", "a"]), "'a' occurs twice"),
        (lambda: SPACE.params([0.5]), "u has"),
        (lambda: SPACE.params([0.5] * (SPACE.n - 1) + [1.01]), r"u\[8\] is 1.01"),
        (lambda: SPACE.params([np.nan] + [0.5] * (SPACE.n - 1)), r"u\[0\] is nan"),
        (lambda: SPACE.encode({}), "missing"),
        (lambda: SPACE.encode(SPACE.params(SPACE.middle) | {"x": 1}), "no 'x'"),
        (lambda: SPACE.encode(SPACE.params(SPACE.middle) | {"lr": 2}), "lr=2"),
        (lambda: SPACE.encode(SPACE.params(SPACE.middle) | {"lr": np.nan}), "lr=nan"),
        (lambda: SPACE.encode(SPACE.params(SPACE.middle) | {"depth": 1.5}), "depth=1.5"),
        (lambda: SPACE.encode(SPACE.params(SPACE.middle) | {"act": "x"}), "act='x'"),
        (lambda: SPACE.objective(3), "function=3"),
    ],
)  # fmt: skip
def test_errors_name_what_is_wrong(make, message):
    """The argument, the value and the fix."""
    with pytest.raises((TypeError, ValueError), match=message):
        make()
