"""Hypothesis strategies: points, search distributions, objectives and what is done to them.

What is drawn shrinks towards the plainest example, and its repr can be pasted into a test.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import check_choice, check_count, check_positive
from blackbox_es.samplers import Guided, Isotropic, orthonormal_rows, unit_guide
from blackbox_es.testing._hypothesis import hnp, st

Array = npt.NDArray[Any]


def points(
    n: int | None = None,
    *,
    max_n: int = 8,
    bound: float = 10.0,
    dtype: npt.DTypeLike = np.float64,
) -> st.SearchStrategy[Array]:
    """Finite vectors with entries from -bound to bound; they shrink towards zero.

    Parameters
    ----------
    n : int, optional
        Number of entries; by default any from 1 to ``max_n``.
    max_n : int
    bound : float
    dtype : float32 or float64

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(points(3, bound=1.0))
    ... def law(x):
    ...     assert x.shape == (3,) and np.abs(x).max() <= 1.0
    >>> law()
    """
    check_count("n", n, optional=True)
    check_count("max_n", max_n)
    check_positive("bound", bound)
    real = np.dtype(dtype)
    check_choice("dtype", real.name, ("float32", "float64"))
    width: Literal[32, 64] = 64
    if real == np.float32:
        width, nearest = 32, np.float32(bound)
        above = float(nearest) > bound
        bound = float(np.nextafter(nearest, np.float32(0.0)) if above else nearest)
    entries = st.floats(-bound, bound, width=width)
    return hnp.arrays(real, st.integers(1, max_n) if n is None else n, elements=entries)


_WHOLE = st.integers(-8, 8).map(float)  # short to read, and sums and products of them are exact


@st.composite
def search_distributions(
    draw: st.DrawFn,
    n: int,
    *,
    max_guides: int = 3,
    min_sigma: float = 1e-3,
    max_sigma: float = 1e3,
) -> Isotropic | Guided:
    """Samplers: Isotropic, or Guided with orthonormal rows; they shrink towards the isotropic one.

    Parameters
    ----------
    n : int
        Dimension.
    max_guides : int
        Maximal number of rows of a guided one; 0 gives isotropic ones only.
    min_sigma, max_sigma : float
        Bounds of sigma, the standard deviation of a coordinate.

    Returns
    -------
    strategy of Isotropic or Guided
        Guided ones have ``1 <= k <= min(n, max_guides)`` rows and alpha in [0, 1], ends included.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from blackbox_es.samplers import directions
    >>> @settings(deadline=None)  # the first call compiles
    ... @given(search_distributions(3))
    ... def law(sampler):
    ...     assert directions(sampler, key=(0, 0), pairs=(0, 2)).shape == (2, 3)
    >>> law()
    """
    base = Isotropic(n, draw(st.floats(min_sigma, max_sigma)))
    guides = st.lists(hnp.arrays(np.float64, n, elements=_WHOLE), max_size=max_guides)
    units = [unit for guide in draw(guides) if (unit := unit_guide(guide)) is not None]
    if not units:
        return base
    return Guided(base, orthonormal_rows(units, np.float64), draw(st.floats(0.0, 1.0)))


@dataclass(frozen=True)
class Quadratic:
    """``f(x) = x^T H x / 2 + c^T x + offset``, for a point or for rows of points.

    A row has the bits of the point it is, and all is exact for small whole coordinates.

    Parameters
    ----------
    hessian : tuple of n tuples of n floats
        H, symmetric.
    slope : tuple of n floats
        c, the gradient at zero.
    offset : float

    Examples
    --------
    >>> f = Quadratic(hessian=((2.0, 0.0), (0.0, 1.0)), slope=(0.0, -1.0))
    >>> float(f([1.0, 1.0])), f.gradient([1.0, 1.0])
    (0.5, array([2., 0.]))
    """

    hessian: tuple[tuple[float, ...], ...]
    slope: tuple[float, ...]
    offset: float = 0.0

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.slope)

    def __call__(self, x: npt.ArrayLike) -> Any:
        """The value at a point, or the values at rows of points."""
        x = _rows(x)
        return (x * (self._curve(x) / 2.0 + self.slope)).sum(axis=-1) + self.offset

    def gradient(self, x: npt.ArrayLike) -> Array:
        """``H x + c``, of the shape of x."""
        return np.asarray(self._curve(_rows(x)) + self.slope)

    def _curve(self, x: Array) -> Array:
        # No matrix product: its sums would depend on the number of rows.
        return np.asarray((x[..., None, :] * np.array(self.hessian)).sum(axis=-1))


def _rows(x: npt.ArrayLike) -> Array:
    # In C order, so that sums over a row have the same order whatever the array was.
    return np.array(x, np.float64, order="C")


@st.composite
def quadratics(draw: st.DrawFn, n: int, *, max_condition: float = 1e4) -> Quadratic:
    """Convex quadratics whose Hessian has a drawn condition; they shrink towards ``x^T x / 2``.

    The eigenvalues are ``s 2^-j`` with whole ``j`` and one ``s`` in (1/4, 1], the axes those of a
    reflection at a whole vector. So the Hessian is symmetric and positive definite exactly, all
    its entries are whole multiples of a power of two, and their repr is short.

    Parameters
    ----------
    n : int
        Number of coordinates.
    max_condition : float
        The largest eigenvalue is at most so many times the smallest.

    Returns
    -------
    strategy of Quadratic

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(quadratics(3), points(3))
    ... def law(f, x):
    ...     even = (f(x) + f(-x)) / 2 - f(0 * x)
    ...     assert even >= -1e-9 * abs(f(x))
    >>> law()
    """
    check_count("n", n)
    check_positive("max_condition", max_condition)
    steps = st.integers(0, max(int(math.log2(max_condition)), 0))
    eigenvalues = 2.0 ** -np.array(draw(st.lists(steps, min_size=n, max_size=n)))
    v = draw(hnp.arrays(np.float64, n, elements=st.integers(-3, 3).map(float)))
    squared = v @ v or 1.0
    reflection = squared * np.eye(n) - 2.0 * np.outer(v, v)  # times its transpose: squared^2 I
    scale = 2.0 ** -math.ceil(2.0 * math.log2(squared))
    hessian = scale * ((reflection * eigenvalues) @ reflection)
    slope = draw(hnp.arrays(np.float64, n, elements=_WHOLE))
    rows = tuple(tuple(row) for row in hessian.tolist())
    return Quadratic(rows, tuple(slope.tolist()), draw(_WHOLE))


_MAPS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda y: y,
    "cube": lambda y: y * y * y,
    "root": lambda y: np.sign(y) * np.sqrt(np.abs(y)),
    "log": lambda y: np.sign(y) * np.log1p(np.abs(y)),
    "stairs": lambda y: y + 1000.0 * np.floor(y),
    "sinh": lambda y: np.sinh(y / 2048.0),  # finite: sinh(513) is 1e222
    "arctan": np.arctan,
}


@dataclass(frozen=True)
class MonotoneMap:
    """``y -> scale g(y + shift)`` with an increasing g; see `monotone_maps` for where it is strict.

    Parameters
    ----------
    name : {"identity", "cube", "root", "log", "stairs", "sinh", "arctan"}
        Which g: odd cube, root and log, a jump at each whole number, sinh(y / 2048), arctan.
    scale : float
    shift : float

    Examples
    --------
    >>> MonotoneMap("cube", scale=2.0, shift=1.0)(np.array([-1.0, 0.0, 1.0]))
    array([ 0.,  2., 16.])
    """

    name: str
    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, y: Any) -> Any:
        """The map of a value or of an array of them."""
        mapped = _MAPS[self.name](np.asarray(y, np.float64) + self.shift) * self.scale
        return mapped if np.ndim(y) else float(mapped)


def monotone_maps() -> st.SearchStrategy[MonotoneMap]:
    """Maps of values that keep every strict order: ranks stay the same, ties stay ties.

    Strictly increasing on the multiples of 2^-8 of magnitude up to 2^20: take whole values, or
    round them to such a multiple. (Between closer values arctan is flat to rounding, as any map
    into a bounded range must be.) They shrink towards the identity.

    Returns
    -------
    strategy of MonotoneMap
        The scale is a power of two, the shift whole and at most 1000 in magnitude.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(monotone_maps())
    ... def law(increasing):
    ...     assert increasing(2.0) < increasing(2.0 + 2**-8) < increasing(3.0)
    >>> law()
    """
    return st.builds(
        MonotoneMap,
        st.sampled_from(list(_MAPS)),
        scale=st.integers(-20, 20).map(lambda k: 2.0**k),
        shift=st.integers(-1000, 1000).map(float),
    )


@dataclass(frozen=True)
class SignedPermutation:
    """``y_i = signs_i x_order_i``, for a point or for rows of points: exact, and so is its inverse.

    Parameters
    ----------
    order : tuple of n ints
        A permutation of 0 to n-1.
    signs : tuple of n ints
        1 or -1.

    Examples
    --------
    >>> turn = SignedPermutation(order=(1, 0), signs=(1, -1))
    >>> turn([3.0, 4.0]), turn.inverse(turn([3.0, 4.0]))
    (array([ 4., -3.]), array([3., 4.]))
    """

    order: tuple[int, ...]
    signs: tuple[int, ...]

    def __call__(self, x: npt.ArrayLike) -> Array:
        """The moved point or rows, in their dtype."""
        x = np.asarray(x)
        return np.asarray(x[..., list(self.order)] * np.array(self.signs, x.dtype))

    @property
    def inverse(self) -> SignedPermutation:
        """What moves them back."""
        back = np.argsort(self.order).tolist()
        return SignedPermutation(tuple(back), tuple(self.signs[i] for i in back))


def signed_permutations(n: int) -> st.SearchStrategy[SignedPermutation]:
    """Symmetries of the coordinate axes: exact and invertible; they shrink towards the identity.

    Parameters
    ----------
    n : int
        Number of coordinates.

    Returns
    -------
    strategy of SignedPermutation

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(signed_permutations(3), points(3))
    ... def law(turn, x):
    ...     assert (turn.inverse(turn(x)) == x).all()
    >>> law()
    """
    check_count("n", n)
    signs = st.lists(st.sampled_from((1, -1)), min_size=n, max_size=n)
    return st.builds(
        SignedPermutation, st.permutations(range(n)).map(tuple), signs.map(lambda s: tuple(s))
    )


class InjectedFault(RuntimeError):
    """What a `FaultyObjective` raises."""


_SLOW = 0.005  # seconds: longer than a switch of threads, short enough for a test

FAULTS = ("raise", "nan", "inf", "none", "shape", "slow")


@dataclass
class FaultyObjective:
    """Behaves like f, except at one call.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``, of one point.
    kind : {"raise", "nan", "inf", "none", "shape", "slow"}
        It raises InjectedFault; returns NaN, inf, None or the value twice, of shape (2,); or
        returns the value 5 ms late.
    at : int
        At which call; the first one is 0.

    Attributes
    ----------
    calls : int
        Calls so far, in this process and, unless only one thread calls at a time, roughly.

    Examples
    --------
    >>> f = FaultyObjective(abs, kind="nan", at=1)
    >>> f(-1.0), f(-2.0), f(-3.0), f.calls
    (1.0, nan, 3.0, 3)
    """

    f: Callable[[Any], Any] = field(repr=False)
    kind: str
    at: int
    calls: int = field(default=0, init=False, repr=False, compare=False)

    def __call__(self, x: Any) -> Any:
        """What f returns, or the fault."""
        call, self.calls = self.calls, self.calls + 1
        if call != self.at:
            return self.f(x)
        match self.kind:
            case "raise":
                raise InjectedFault(f"call {call} was to fail")
            case "nan":
                return math.nan
            case "inf":
                return math.inf
            case "none":
                return None
            case "shape":
                return np.full(2, self.f(x))
        time.sleep(_SLOW)
        return self.f(x)


def fault_objectives(
    f: Callable[[Any], Any], *, kinds: Sequence[str] = FAULTS, max_at: int = 20
) -> st.SearchStrategy[FaultyObjective]:
    """Objectives that behave like f except at one call; they shrink towards the first call.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``, of one point.
    kinds : sequence of str
        Faults to draw from, see `FaultyObjective`.
    max_at : int
        The last call that may be at fault.

    Returns
    -------
    strategy of FaultyObjective
        Each drawn one has made no call yet.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from blackbox_es import VanillaES
    >>> @settings(deadline=None)  # the first call compiles
    ... @given(fault_objectives(lambda x: float(x @ x), kinds=["raise"], max_at=7))
    ... def law(objective):
    ...     es = VanillaES(n_pairs=4, max_iter=2)
    ...     try:
    ...         es.fit(objective, [1.0, 2.0])
    ...     except InjectedFault:
    ...         assert es.n_iter_ == 0
    >>> law()
    """
    for kind in kinds:
        check_choice("kinds", kind, FAULTS)
    return st.builds(FaultyObjective, st.just(f), st.sampled_from(kinds), st.integers(0, max_at))
