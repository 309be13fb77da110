"""The fold into a box: inside, identity further inside, smooth, periodic; and what is refused."""

import pickle

import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blackbox_es import Box, box

INF = np.inf
laws = settings(deadline=None, max_examples=200, derandomize=True)
dtypes = st.sampled_from([np.float32, np.float64])
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def boxes(draw, n=3):
    """Two-sided, one-sided, unbounded and fixed coordinates in one, at least one free."""
    low, high = np.full(n, -INF), np.full(n, INF)
    for i in range(n):
        kind = draw(st.sampled_from(["two", "low", "high", "none", "fixed"]))
        b = draw(numbers)
        width = draw(st.floats(1e-2, 1e3)) * max(1.0, abs(b))
        if kind in ("two", "low", "fixed"):
            low[i] = b
        if kind in ("two", "high"):
            high[i] = b + width if kind == "two" else b
        if kind == "fixed":
            high[i] = b
    assume((low < high).any())
    return Box(low, high)


def zones(b):
    """a of each free coordinate, as the docstring has it; 1 where there is no bound."""
    low, high = b.low[b.low < b.high], b.high[b.low < b.high]
    one = 1.0 + np.minimum(np.abs(low), np.abs(high))
    width = np.where(np.isfinite(low) & np.isfinite(high), high - low, one)
    return np.where(np.isfinite(width), width / 10.0, 1.0)


def points(b, data, dtype=np.float64, reach=1e7):
    """A point of the search: anywhere, or within some zones of a bound."""
    z = np.array(data.draw(st.lists(st.floats(-1, 1), min_size=b.n_free, max_size=b.n_free)))
    free = b.low < b.high
    sides = (b.low, b.high) if data.draw(st.booleans()) else (b.high, b.low)
    base = np.where(np.isfinite(sides[0]), *sides)[free]
    base = np.where(np.isfinite(base), base, 0.0)
    near = data.draw(st.booleans())
    return (base + z * (3.0 * zones(b) if near else reach)).astype(dtype)


# -- laws ----------------------------------------------------------------------------------------


@laws
@given(b=boxes(), dtype=dtypes, data=st.data())
def test_the_image_is_inside(b, dtype, data):
    """Whatever the point, in its dtype and after rounding; a fixed coordinate is the constant."""
    z = points(b, data, dtype)
    x = b.fold(z)
    free = b.low < b.high
    assert (x.dtype, x.shape) == (dtype, b.low.shape)
    assert (b.low[free] <= x[free]).all()
    assert (x[free] <= b.high[free]).all()
    assert (x[~free] == b.low[~free].astype(dtype)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("z", [INF, -INF, 3e38, -3e38, 1e20])
def test_the_image_of_huge_numbers_is_inside(z, dtype):
    """Steps out of the floats too; what has no bounds is not touched."""
    b = Box([0.1, 0.1, -INF, -INF], [0.7, INF, 0.7, INF])
    x = b.fold(np.full(4, z, dtype))
    assert ((b.low <= x) & (x <= b.high)).all()
    assert np.isfinite(x[0])
    assert x[3] == dtype(z)


@laws
@given(b=boxes(), dtype=dtypes, data=st.data())
def test_identity_further_inside(b, dtype, data):
    """Between the zones a point is its own image, bit for bit; so folding again changes nothing."""
    z, free = points(b, data, dtype), b.low < b.high
    a = zones(b)
    inside = ((b.low[free] + a <= z) & (z <= b.high[free] - a)) | (
        np.isinf(b.low[free]) & np.isinf(b.high[free])
    )
    x = b.fold(z)[free]
    assert (x[inside] == z[inside]).all()
    assert ((b.fold(x)[free] == x) | (np.abs(x - b.fold(x)[free]) <= a)).all()


@laws
@given(b=boxes(), data=st.data())
def test_the_docstring_is_the_law(b, data):
    """Quadratic near a bound, to rounding, on both sides of it."""
    free = b.low < b.high
    low, high, a = b.low[free], b.high[free], zones(b)
    t = data.draw(st.floats(-1.0, 1.0))
    for bound, sign in ((low, 1.0), (high, -1.0)):
        known = np.isfinite(bound)
        bound = np.where(known, bound, 0.0)
        z = bound + t * a
        expected = bound + sign * (z - (bound - sign * a)) ** 2 / (4.0 * a)
        near = 1e-14 * (np.abs(bound) + a)
        assert (np.abs(b.fold(z)[free] - expected) <= near)[known].all()


@laws
@given(b=boxes(), data=st.data())
def test_mirrored_and_periodic(b, data):
    """fold(l - a - t) == fold(l - a + t), and of two bounds also at h + a; to rounding."""
    free = b.low < b.high
    low, high, a = b.low[free], b.high[free], zones(b)
    t = data.draw(st.floats(0.0, 50.0)) * a
    for mirror in (low - a, high + a):
        known = np.isfinite(mirror)
        mirror = np.where(known, mirror, 0.0)
        one, other = b.fold(mirror - t)[free], b.fold(mirror + t)[free]
        near = 1e-13 * (np.abs(mirror) + t + zones(b))
        assert (np.abs(one - other) <= near)[known].all()
    both = np.isfinite(low) & np.isfinite(high)
    period = np.where(both, 2.0 * (high - low + 2.0 * a), 0.0)
    z = np.where(both, low, 0.0) + t
    near = 1e-13 * (np.abs(z) + np.abs(period))
    assert (np.abs(b.fold(z + period)[free] - b.fold(z)[free]) <= near)[both].all()


@laws
@given(b=boxes(), data=st.data())
def test_monotone_between_the_mirrors(b, data):
    """There a larger z has no smaller image, and the image of the mirrors are the bounds."""
    free = b.low < b.high
    a = zones(b)
    low = np.where(np.isfinite(b.low[free]), b.low[free] - a, -1e6)
    high = np.where(np.isfinite(b.high[free]), b.high[free] + a, 1e6)
    assume((low < high).all())
    shares = np.sort(data.draw(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=9)))
    z = np.clip(low + shares[:, None] * (high - low), low, high)
    near = 1e-15 * (1.0 + np.abs(b.fold(z)))
    assert (np.diff(b.fold(z), axis=0) >= -near[1:]).all()
    ends = b.fold(np.stack([low, high]))[:, free]
    for end, bound in zip(ends, (b.low[free], b.high[free]), strict=True):
        known = np.isfinite(bound)
        near = 1e-14 * (np.abs(bound) + a)
        assert (np.abs(end - bound) <= near)[known].all()


@laws
@given(b=boxes(), data=st.data())
def test_the_slope_is_that_of_the_fold(b, data):
    """pull_back of ones is the derivative: finite differences, which its continuity lets hold."""
    z = points(b, data, reach=1e3)
    free = b.low < b.high
    h = 1e-5 * zones(b) + 1e-9 * np.abs(z)
    slope = b.pull_back(z, np.ones(b.n))
    assert (np.abs(slope) <= 1.0).all()
    measured = (b.fold(z + h) - b.fold(z - h))[free] / ((z + h) - (z - h))
    # the slope changes by at most h / (2 a) within h; and what rounding does
    bound = h / zones(b) + 1e-14 * (np.abs(z) + np.abs(b.fold(z)[free])) / h
    assert (np.abs(slope - measured) <= bound + 1e-6).all()


@laws
@given(b=boxes(), dtype=dtypes, data=st.data())
def test_unfold_is_the_inverse(b, dtype, data):
    """fold(unfold(x)) is x, to the rounding of coordinates of the search, and for fixed ones."""
    x = b.fold(points(b, data, dtype))
    z = b.unfold(x)
    assert (z.dtype, z.shape) == (dtype, (b.n_free,))
    free = b.low < b.high
    near = 4 * np.finfo(dtype).eps * (np.abs(x[free]) + zones(b))
    assert (np.abs(b.fold(z)[free] - x[free]) <= near).all()
    assert (b.fold(z)[~free] == x[~free]).all()
    low, high = (bound[free].astype(dtype) for bound in (b.low, b.high))
    a = zones(b).astype(dtype)
    inside = (low + a < x[free]) & (x[free] < high - a)
    margin = np.abs(z - x[free]) <= 4 * np.finfo(dtype).eps * (np.abs(x[free]) + zones(b))
    assert margin[inside].all()


def test_unfold_is_exact_further_inside():
    """Bit for bit, and at the bounds to rounding."""
    b = Box([0.1, -INF, 0.1, 3.0], [0.7, 0.7, INF, 3.0])
    x = np.array([0.3333, -12.3, 45.6, 3.0])
    assert b.unfold(x).tobytes() == x[:3].tobytes()
    ends = np.array([[0.1, 0.7, 0.1, 3.0], [0.7, 0.7, 0.1, 3.0]])
    np.testing.assert_allclose([b.fold(b.unfold(x)) for x in ends], ends, rtol=1e-15)


@laws
@given(b=boxes(), dtype=dtypes, data=st.data())
def test_a_search_starts_off_the_mirrors(b, dtype, data):
    """start(x) is unfold(x) where the slope is not small; elsewhere it moves x by a / 10^6."""
    x = b.fold(points(b, data, dtype))
    z, exact, free = b.start(x), b.unfold(x), b.low < b.high
    well = np.abs(b.pull_back(exact, np.ones(b.n))) > 1.1e-3
    assert (z[well] == exact[well]).all()
    eps = np.finfo(dtype).eps
    moved = np.abs(b.fold(z)[free] - x[free])
    a = zones(b)
    assert (moved <= 1.01e-6 * a + 4 * eps * (np.abs(x[free]) + a)).all()
    if dtype == np.float64:
        slope = np.abs(b.pull_back(z, np.ones(b.n)))
        assert (slope >= 1e-3 - 1e-14 * (np.abs(x[free]) + a) / a).all()


@pytest.mark.parametrize("k", [-20, 1, 9])
def test_scaling_two_bounds_scales_the_fold(k):
    """By a power of two bit for bit: how wide the bounds are does not matter."""
    z = np.linspace(-3.0, 5.0, 401)[:, None]
    x = Box([-0.25], [1.5]).fold(z)
    assert (Box([-0.25 * 2.0**k], [1.5 * 2.0**k]).fold(z * 2.0**k) == x * 2.0**k).all()
    np.testing.assert_allclose(Box([6.75], [8.5]).fold(z + 7.0) - 7.0, x, atol=1e-14)


def test_rows_are_folded_one_by_one():
    """Any number of leading dimensions; what is given stays as it is."""
    b, rng = Box([0.0, -1.0, 5.0], [1.0, INF, 5.0]), np.random.default_rng(0)
    Z = rng.normal(size=(2, 4, 2)) * 3
    before = Z.copy()
    X = b.fold(Z)
    assert X.shape == (2, 4, 3)
    assert all((X[i] == b.fold(Z[i])).all() for i in np.ndindex(2, 4))
    assert (before == Z).all()
    assert not np.shares_memory(b.fold(np.array([0.5, 0.0])), Z)
    for far in (Z, np.full((1, 2), 0.5)):
        assert b.fold(far).flags.writeable


def test_gradients_are_pulled_back():
    """Rows of fixed coordinates go, the others are multiplied by the slope; NaN stays."""
    b, rng = Box([0.0, 2.0, 5.0], [1.0, INF, 5.0]), np.random.default_rng(1)
    z, G = np.array([-0.05, 1.9]), rng.normal(size=(3, 2))
    slope = b.pull_back(z, np.ones(3))
    np.testing.assert_allclose(slope, [0.25, 0.2 / 0.6])
    np.testing.assert_allclose(b.pull_back(z, G), slope[:, None] * G[:2])
    assert np.isnan(b.pull_back(z, [np.nan, 1.0, 1.0])[0])
    with pytest.raises(ValueError, match=r"surrogate gradient has shape \(2,\): expected \(3,\)"):
        b.pull_back(z, np.ones(2))
    with pytest.raises(TypeError, match="expected real"):
        b.pull_back(z, ["a", "b", "c"])


def test_middle():
    """Of two bounds; without them an error that says which coordinate has none."""
    assert Box([0.0, 3.0], [1.0, 3.0]).middle().tolist() == [0.5, 3.0]
    assert Box([-1.5e307], [1.7e307]).middle() == pytest.approx(1e306)
    for low, high in ((0.0, INF), (-INF, 0.0), (-INF, INF)):
        with pytest.raises(ValueError, match=f"of coordinate 1 are {low} and {high}: give x0"):
            Box([0.0, low], [1.0, high]).middle()


# -- as a value ----------------------------------------------------------------------------------


def test_boxes_are_values():
    """Equal bit for bit, read-only, pickled; the arrays given are copied."""
    low = np.zeros(2)
    b = Box(low, [1.0, INF])
    low[0] = 0.5
    assert b == Box([0.0, 0.0], [1.0, INF]) == pickle.loads(pickle.dumps(b))
    assert b != Box([0.0, 0.0], [1.0, 2.0])
    assert repr(b) == "Box(low=array([0., 0.]), high=array([ 1., inf]))"
    with pytest.raises(ValueError, match="read-only"):
        b.low[0] = 1.0
    assert Box(0.0, np.ones(3)) == Box(np.zeros(3), np.ones(3))


@pytest.mark.parametrize(
    "bounds",
    [
        [(0, 1), (None, 2.5), (3, None), (None, None), (4, 4)],
        ((0, 1), (-INF, 2.5), (3, INF), [-INF, None], (4.0, np.float32(4))),
        np.array([(0, 1), (-INF, 2.5), (3, INF), (-INF, INF), (4, 4)]),
        scipy.optimize.Bounds([0, -INF, 3, -INF, 4], [1, 2.5, INF, INF, 4]),
        Box([0, -INF, 3, -INF, 4], [1, 2.5, INF, INF, 4]),
    ],
)
def test_all_forms_are_one(bounds):
    """Pairs, SciPy's Bounds and a Box."""
    assert box.resolve(bounds, 5) == Box([0, -INF, 3, -INF, 4], [1, 2.5, INF, INF, 4])


def test_a_number_holds_for_all_coordinates():
    """In SciPy's Bounds, if their number is known."""
    assert box.resolve(scipy.optimize.Bounds(0, 2), 3) == Box(np.zeros(3), np.full(3, 2.0))
    assert box.resolve(scipy.optimize.Bounds(0, 2)) == Box([0.0], [2.0])
    assert box.resolve(None) is None


@pytest.mark.parametrize(
    ("bounds", "error", "said"),
    [
        ([(0, 1), (2, 1)], ValueError, "coordinate 1 are 2.0 and 1.0: expected low <= high"),
        ([(np.nan, 1)], ValueError, "coordinate 0 are nan and 1.0"),
        ([(INF, INF)], ValueError, "infinity only for no bound"),
        ([(-INF, -INF)], ValueError, "infinity only for no bound"),
        ([(1, 1), (2, 2)], ValueError, "fix all coordinates: there is nothing to search"),
        ([(-1e308, 1e308)], ValueError, "no float is their width"),
        ([(0, 5e-324)], ValueError, "no float is their width"),
        ([], ValueError, "expected one dimension|nothing to search"),
        ((0, 1), TypeError, r"bounds=\(0, 1\): expected pairs"),
        ("x", TypeError, "bounds='x': expected pairs"),
        (3, TypeError, "bounds=3: expected pairs"),
        ([(0, 1, 2)], TypeError, "expected pairs"),
        ([(0, "1")], TypeError, "not of real numbers"),
        ([(0, 1j)], TypeError, "not of real numbers"),
        ([([0], [1])], ValueError, "expected one dimension"),
    ],
)
def test_bad_bounds(bounds, error, said):
    """Are named."""
    with pytest.raises(error, match=said):
        box.resolve(bounds)


def test_bad_shapes():
    """Of the bounds, and of x0; x0 outside names coordinate, value and bounds."""
    for low, high in ((np.zeros((2, 2)), 1.0), (np.zeros(2), np.ones(3)), (0.0, 1.0)):
        with pytest.raises(ValueError, match="expected one dimension"):
            Box(low, high)
    b = Box([0.0, 0.0], [1.0, INF])
    with pytest.raises(ValueError, match="bounds are for 2 coordinates, but x0 has 3"):
        b.unfold(np.zeros(3))
    with pytest.raises(ValueError, match=r"x0\[1\] is -0.5, outside its bounds 0.0 and inf"):
        b.unfold(np.array([0.5, -0.5]))
    with pytest.raises(ValueError, match=r"x0\[0\] is 2.0, outside its bounds 0.0 and 1.0"):
        b.unfold(np.array([2.0, 0.5]))


def test_float32_bounds_are_rounded_inward():
    """0.1 is below its float32, 0.7 above: both are no coordinate; x0 may be their float32."""
    b = Box([0.7, 0.1], [0.9, 0.1])
    x = b.fold(b.unfold(np.array([0.7, 0.1], np.float32)))
    assert float(x[0]) >= 0.7 > float(np.float32(0.7))
    assert x[1] == np.float32(0.1)
    with pytest.raises(ValueError, match="coordinate 0 have no float32 between them"):
        Box([0.1], [0.1 + 1e-12]).unfold(np.array([0.1], np.float32))
