"""Laws of gradient estimators: is it the antithetic estimate, along directions of the right law?

The objective that an estimator is given records where it is called. So its directions are seen, and
most laws can be checked for every draw; only the law of the directions itself needs statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from blackbox_es.testing.bench import call_and_compare, same
from blackbox_es.testing.checks import Check, Findings, broken, enrol, skip
from blackbox_es.testing.gradient_bench import (
    PAIRS_SEEN,
    Array,
    Function,
    GradientBench,
    Recorder,
)
from blackbox_es.testing.statistics import mean_square_limit

GRADIENT_CHECKS: list[Check] = []
_check = enrol(GRADIENT_CHECKS)
# What later checks need: what follows from a law that is broken is not reported again.
_RESULT = ("check_result",)
_TIDY = (*_RESULT, "check_arguments_untouched", "check_fresh_arrays", "check_global_state")
_SAME = (*_TIDY, "check_same_seed")
_PAIRS = (*_RESULT, "check_antithetic_points")
_DIFFERENCES = ("check_constant_objective", "check_even_functions", "check_added_constants")

# Statistical checks. A mean square that is 30 % off is found, whatever n, k and alpha are.
_FALSE_ALARM = 1e-7  # of each of the five
_FEWER_PAIRS = PAIRS_SEEN // 2  # with other bases of the same span: 45 %


def _raw(bench: GradientBench) -> bool:
    return bench.shaping == "raw"


# -- what comes in and goes out ------------------------------------------------------------------


@_check(cost=3, advice="return a NumPy array of shape (n,), without NaN, in the precision of x")
def check_result(bench: GradientBench) -> Findings:
    """The estimate is n finite real numbers, as precise as the points are."""
    for seed in (0, *bench.seeds("result", 2)):
        found = bench.estimate(bench.rough, seed, x=bench.x)
        g = found.gradient
        if g.dtype.kind != "f" or g.shape != (bench.n,) or not np.isfinite(g).all():
            broken(x=bench.x, seed=seed, returned=g, shape=g.shape, dtype=str(g.dtype))
        if found.eps > found.eps_of_points:
            broken(x=bench.x, returned=g, dtype=str(g.dtype), eps_of_points=found.eps_of_points)
    return {"evaluations an estimate": len(found.offsets)}


@_check(
    cost=1,
    needs=_RESULT,
    advice="work on copies: `x = x + d`, not `x += d`; `u = u / norm`, not `u /= norm`",
)
def check_arguments_untouched(bench: GradientBench) -> None:
    """Neither x nor the surrogate is written to."""
    given = {"x": bench.x, "surrogate": bench.surrogate}
    handed = {name: array.copy() for name, array in given.items()}
    bench.call(Recorder(bench.rough, bench.x, bench.scale), seed=1, **handed)
    for name, before in given.items():
        if not same(before, handed[name]):
            broken(argument=name, before=before, after=handed[name])


@_check(
    cost=2,
    needs=_RESULT,
    advice="hand out new arrays, not one buffer again and again: an objective may keep its points, "
    "and a caller his estimates",
)
def check_fresh_arrays(bench: GradientBench) -> None:
    """Points evaluated and estimates returned stay as they are."""
    handed: list[tuple[Any, Array]] = []
    record = Recorder(bench.rough, bench.x, bench.scale)

    def objective(points: Any) -> Any:
        handed.append((points, np.array(points)))
        return record(points)

    for seed in (1, 2):
        g = bench.call(objective, bench.x.copy(), seed, bench.surrogate.copy())
        handed.append((g, np.array(g)))
    for now, before in handed:
        if not same(now, before):
            broken(array_as_it_was=before, array_later=np.asarray(now))


@_check(
    cost=1,
    needs=_RESULT,
    advice="draw from `rng = np.random.default_rng(seed)`, never from np.random itself",
)
def check_global_state(bench: GradientBench) -> None:
    """Random generators and all else that is global stay as they are."""
    call_and_compare(lambda: bench.estimate(bench.rough, 1))


# -- points and seeds ----------------------------------------------------------------------------


@_check(
    cost=2,
    needs=_RESULT,
    advice="evaluate f(x + d) and f(x - d) for each direction: differences f(x + d) - f(x) are "
    "biased by the curvature",
)
def check_antithetic_points(bench: GradientBench) -> Findings:
    """Points come in pairs x + d and x - d."""
    for x in (np.zeros(bench.n), bench.x):
        found = bench.estimate(bench.rough, 1, x=x)
        d = found.offsets[(found.offsets != 0.0).any(axis=1)]
        if not len(d):
            broken(x=x, evaluated="x only")
        if _distance(d, -d) > 8.0 * found.eps * (np.abs(x).max() + np.abs(d).max()):
            alone = [np.abs(d + one).max(axis=1).min() for one in d]  # no point opposite
            broken(x=x, d=d[int(np.argmax(alone))], at_x_plus_d="evaluated", at_x_minus_d="not")
    return {"pairs an estimate": bench.n_pairs}


def _distance(a: Array, b: Array) -> float:
    """Between two sets of points in any order: of coordinates, and along other axes, sorted.

    (Sorting rows would not do: rounding decides the order of equal coordinates.)
    """
    if a.shape != b.shape:
        return math.inf
    n = a.shape[1]
    axes = np.hstack([np.eye(n), np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0]])
    return float(np.abs(np.sort(a @ axes, axis=0) - np.sort(b @ axes, axis=0)).max())


@_check(
    cost=6,
    needs=_TIDY,
    advice="let the seed decide all noise, and test `seed is None`, not `if seed`: 0 is a seed",
)
def check_same_seed(bench: GradientBench) -> None:
    """The same seed gives the same bits, whatever came in between; 0 is a seed."""
    for seed in (0, *bench.seeds("same", 1)):
        first, _, again = (bench.estimate(bench.rough, s).gradient for s in (seed, seed + 1, seed))
        if not same(first, again):
            broken(seed=seed, first_estimate=first, second_estimate=again)


@_check(cost=192, needs=(*_SAME, *_PAIRS), advice="let all bits of the seed decide the noise")
def check_other_seeds(bench: GradientBench) -> None:
    """Another seed gives other directions."""

    def unchanged(seed: int, step: int) -> bool:
        one, other = (bench.estimate(bench.linear, s).directions for s in (seed, seed + step))
        return same(one, other)

    for step in (1, 2**8, 2**16):
        # Directions of signs are few, so that two seeds may agree by chance; 32 times they do not.
        if all(unchanged(seed, step) for seed in range(0, 64, 2)):
            broken(seed=0, other_seed=step, directions_of_both="the same")


@_check(cost=16, needs=(*_SAME, *_PAIRS), advice="draw P directions, not one for all pairs")
def check_own_directions(bench: GradientBench) -> None:
    """Each pair has a direction of its own."""

    def different(*seeds: int) -> int:
        drawn = [bench.estimate(bench.linear, seed).directions for seed in seeds]
        return len(np.unique(np.concatenate(drawn), axis=0))

    for seed in bench.seeds("own", 8):
        count, pairs = different(seed), bench.n_pairs
        if pairs == 1:
            skip("an estimate has one pair only")
        # If there are few directions at all, as of signs, another seed hardly adds any.
        if 2 * count > pairs or 2 * different(seed, seed + 8) < 3 * count:
            return
    broken(seed=seed, pairs=pairs, different_directions=count)


@_check(
    cost=2,
    needs=(*_SAME, *_PAIRS),
    advice="draw directions without looking at x, and use x only to add them to it",
)
def check_translation(bench: GradientBench) -> None:
    """If x and the objective are shifted, so are the points; g is the same."""
    here, there = (bench.estimate(bench.rough, 1, x=x) for x in (None, bench.x))
    reach = np.abs(bench.x).max() + np.abs(here.offsets).max()
    if _distance(here.offsets, there.offsets) > 8.0 * there.eps * reach:
        d = [np.sqrt((e.offsets**2).sum(axis=1).mean()) for e in (here, there)]
        broken(x=bench.x, root_mean_squared_distance_at_0=d[0], at_x=d[1])
    if bench.shaping == "raw":
        allowed = abs(bench.factor(here)) * (here.rounding + there.rounding)
        if (np.abs(there.gradient - here.gradient) > allowed).any():
            broken(x=bench.x, estimate_at_0=here.gradient, at_x=there.gradient)


# -- values --------------------------------------------------------------------------------------

_NOT_THE_DIFFERENCE = (
    "subtract before anything is summed: weigh each direction by f(x + d) - f(x - d) and nothing "
    "else; with ranks, give equal values their mean rank"
)


@_check(cost=1, needs=_RESULT, advice=_NOT_THE_DIFFERENCE)
def check_constant_objective(bench: GradientBench) -> None:
    """A constant objective gives exactly zero."""
    g = bench.estimate(lambda u: np.full(len(u), 0.1), 1).gradient
    if g.any():
        broken(objective="0.1", estimate=g)


@_check(
    cost=4,
    needs=(*_SAME, *_PAIRS, "check_constant_objective"),
    advice=_NOT_THE_DIFFERENCE,
)
def check_even_functions(bench: GradientBench) -> None:
    """Functions that are even about x add nothing, bit for bit."""
    weight = 1.0 if bench.shaping == "raw" else 0.0  # of the other function
    for seed in bench.seeds("even", 2):
        expected = bench.estimate(lambda u: weight * bench.whole(u), seed).gradient
        found = bench.estimate(lambda u: weight * bench.whole(u) + bench.even(u), seed).gradient
        if not same(found, expected):
            broken(seed=seed, without=expected, with_an_even_function=found)


@_check(
    applies=_raw,
    cost=4,
    needs=(*_SAME, *_PAIRS),
    advice="take the difference of values as they are, in float64: rounding them to float32 first, "
    "or subtracting a baseline from one of them, leaves some of the constant",
)
def check_added_constants(bench: GradientBench) -> None:
    """A constant added to the objective changes nothing beyond its rounding."""
    without = bench.estimate(bench.rough, 1)
    for constant in (1.0, -1e6, 1e12):
        found = bench.estimate(lambda u: bench.rough(u) + constant, 1)  # noqa: B023
        allowed = abs(bench.factor(without)) * (without.rounding + found.rounding)
        if (np.abs(found.gradient - without.gradient) > allowed).any():
            broken(constant=constant, estimate=without.gradient, with_it=found.gradient)


@_check(
    applies=_raw,
    cost=4,
    needs=(*_SAME, "check_added_constants"),
    advice="do not divide by the spread of values, clip or add to them",
)
def check_powers_of_two(bench: GradientBench) -> None:
    """An objective times a power of two gives the estimate times it, bit for bit."""
    g = bench.estimate(bench.rough, 1).gradient
    quarter = min(np.finfo(g.dtype).maxexp, 1024) // 4  # of all exponents
    for power in (1, -quarter, quarter):
        found = bench.estimate(lambda u: bench.rough(u) * 2.0**power, 1).gradient  # noqa: B023
        if not same(found, g * np.asarray(2.0**power, g.dtype)):
            broken(power=power, estimate=g, of_the_multiple=found)


@_check(
    applies=lambda bench: not _raw(bench),
    cost=4,
    needs=_SAME,
    advice="use the order of values only, not the values",
)
def check_increasing_maps(bench: GradientBench) -> None:
    """With ranks any increasing map of the values changes nothing, bit for bit."""
    g = bench.estimate(bench.whole, 1).gradient
    maps: dict[str, Function] = {
        "v**3": lambda v: v**3,
        "7 v - 3": lambda v: 7.0 * v - 3.0,
        "arcsinh(v)": np.arcsinh,
    }
    for name, rising in maps.items():
        found = bench.estimate(lambda u: rising(bench.whole(u)), 1).gradient  # noqa: B023
        if not same(found, g):
            broken(map=name, estimate=g, of_mapped_values=found)


@_check(
    applies=_raw,
    cost=4,
    needs=(*_SAME, *_PAIRS, *_DIFFERENCES),
    advice="compute beta / (2 n sigma^2 P) sum_p d_p (f(x + d_p) - f(x - d_p)), each difference "
    "with its own direction",
)
def check_antithetic_sum(bench: GradientBench) -> None:
    """g = beta / (2 n sigma^2 P) sum_p d_p (f(x + d_p) - f(x - d_p))."""
    for seed in bench.seeds("sum", 4):
        found = bench.estimate(bench.rough, seed)
        factor = bench.factor(found)
        expected = abs(factor) * found.total  # of unknown length, but not of unknown sign
        allowed = abs(factor) * found.rounding
        if (np.abs(found.gradient - expected) > allowed).any():
            broken(
                seed=seed,
                estimate=found.gradient,
                sum_of_the_directions=expected,
                **_what_factor(bench, found.gradient, expected),
            )


def _what_factor(bench: GradientBench, g: Array, expected: Array) -> Findings:
    """If the estimate is a multiple of what is expected: of what?"""
    ratio = float(g @ expected / (expected @ expected))
    if not np.allclose(g, ratio * expected, rtol=1e-4, atol=1e-4 * np.abs(g).max()):
        return {"it_is": "no multiple of that"}
    beta = bench.beta or 1.0
    wrong = {
        "minus": -1.0, "twice: divided by P, not 2 P": 2.0, "a sum over pairs": bench.n_pairs,
        "sigma times: divided by sigma once": bench.sigma, "not divided by sigma^2": bench.sigma**2,
        "not divided by n": bench.n, "divided by n twice": 1.0 / bench.n,
        "without beta": 1.0 / beta, "with beta twice": beta,
    }  # fmt: skip
    names = [name for name, factor in wrong.items() if math.isclose(ratio, factor, rel_tol=1e-4)]
    return {"it_is_that_times": ratio} | ({"perhaps": "; or ".join(names)} if names else {})


@_check(
    cost=16,
    needs=(*_PAIRS, "check_antithetic_sum"),
    advice="estimates are minimised along -g: the weight of d is to rise with f(x + d) - f(x - d)",
)
def check_descent(bench: GradientBench) -> None:
    """On a linear objective every estimate has g @ slope >= 0."""
    for seed in bench.seeds("descent", 16):
        found = bench.estimate(bench.linear, seed)
        slack = 8.0 * bench.n * found.eps * np.linalg.norm(found.gradient)
        if (product := found.gradient @ bench.slope) < -slack * np.linalg.norm(bench.slope):
            broken(seed=seed, slope=bench.slope, estimate=found.gradient, product=product)


# -- the law of the directions -------------------------------------------------------------------

_LAW = (*_SAME, *_PAIRS, "check_other_seeds", "check_own_directions")


def _price(bench: GradientBench) -> int:
    return 0 if "large_sample" in vars(bench) else bench.calls(PAIRS_SEEN)


def _price_of_fewer(bench: GradientBench) -> int:
    return bench.calls(_FEWER_PAIRS)


@_check(
    cost=_price,
    needs=_LAW,
    advice="sigma is the standard deviation of one coordinate, not the length of a direction: "
    "without a surrogate d = sigma z",
)
def check_length(bench: GradientBench) -> Findings:
    """Directions have mean squared length n sigma^2."""
    directions, _ = bench.large_sample
    _compare(bench, directions, {"the whole space": np.eye(bench.n)})
    return {"root mean square of a coordinate": float(np.sqrt((directions**2).mean()))}


@_check(
    cost=_price,
    needs=(*_LAW, "check_length"),
    advice="d = sigma (sqrt(alpha) z + sqrt(n (1 - alpha) / k) U z_k), the columns of U being "
    "orthonormal: U = np.linalg.qr(surrogate)[0]",
)
def check_covariance(bench: GradientBench) -> None:
    """E[d d^T] = n sigma^2 (alpha / n I + (1 - alpha) / k U U^T)."""
    _compare(bench, bench.large_sample[0], _parts(bench))


@_check(
    applies=lambda bench: _raw(bench) and bench.beta is not None,
    cost=_price,
    needs=(*_LAW, "check_antithetic_sum", "check_length", "check_covariance"),
    advice="fix what the checks above find",
)
def check_expectation(bench: GradientBench) -> None:
    """On a linear objective E[g] = beta Sigma grad f."""
    directions, estimates = bench.large_sample
    mean, slope = estimates.mean(axis=0), bench.slope / bench.scale
    expected = bench.beta * bench.covariance @ slope
    for axis in np.linalg.qr(np.column_stack([slope, np.eye(bench.n)]))[0].T:
        # g @ axis is a mean of beta / (n sigma^2) (d @ axis) (d @ slope), a form of rank two.
        product = np.sqrt((axis @ bench.covariance @ axis) * (slope @ bench.covariance @ slope))
        weights = (expected @ axis + bench.beta * product * np.array([1.0, -1.0])) / 2.0
        allowed = mean_square_limit(weights, len(directions), _FALSE_ALARM / bench.n)
        if not abs((mean - expected) @ axis) <= allowed + 1e-9 * np.linalg.norm(expected):
            broken(gradient=slope, mean_of_estimates=mean, expected=expected, along=axis)


# -- surrogates ----------------------------------------------------------------------------------

_SPAN = "take an orthonormal basis of the surrogate's span, as of np.linalg.qr"


@_check(
    applies=lambda bench: bench.k > 0,
    cost=3,
    needs=(*_LAW, "check_length", "check_covariance"),
    advice=_SPAN + "; scale it by its largest entry before",
)
def check_surrogate_scale(bench: GradientBench) -> None:
    """The length of the surrogate does not matter, from 2^-332 to 2^332."""
    plain = bench.estimate(bench.linear, 1)
    tolerance = math.sqrt(plain.eps)
    for scale in (2.0**-332, 2.0**332):  # exact: rounding may turn the sign of an eigenvector
        found = bench.estimate(bench.linear, 1, surrogate=bench.surrogate * scale)
        change = np.abs(found.gradient - plain.gradient).max() / np.abs(plain.gradient).max()
        moved = _distance(found.offsets, plain.offsets) / bench.length
        if not max(moved, change if bench.shaping == "raw" else 0.0) <= tolerance:
            broken(surrogate_times=scale, directions_moved=moved, estimate_changed=change)


@_check(
    applies=lambda bench: bench.k > 0,
    cost=_price_of_fewer,
    needs=(*_LAW, "check_length", "check_covariance", "check_surrogate_scale"),
    advice=_SPAN,
)
def check_span(bench: GradientBench) -> None:
    """Other surrogates with the same span give the same law."""
    mixing = -0.5 * np.linalg.qr(bench.rng("mixing").standard_normal((bench.k, bench.k)))[0]
    directions, _ = bench.sample(_FEWER_PAIRS, bench.surrogate @ mixing)
    _compare(bench, directions, _parts(bench))


@_check(
    applies=lambda bench: 0 < bench.k < bench.n,
    cost=_price_of_fewer,
    needs=(*_LAW, "check_length", "check_covariance", "check_surrogate_scale"),
    advice="drop dependent columns: np.linalg.qr gives an arbitrary axis for each; columns of "
    "np.linalg.svd with positive singular values, and their number for k, do not",
)
def check_dependent_surrogate(bench: GradientBench) -> None:
    """A column that depends on the others adds no axis."""
    more = np.column_stack([bench.surrogate, -2.0 * bench.surrogate[:, 0]])
    directions, _ = bench.sample(_FEWER_PAIRS, more)
    _compare(bench, directions, _parts(bench))


def _parts(bench: GradientBench) -> dict[str, Array]:
    """Orthonormal bases of subspaces, by name."""
    n, k = bench.n, bench.k
    parts = {"the span of the surrogate": bench.span, "its complement": bench.complement}
    parts |= {f"axis {i} of the span": bench.span[:, [i]] for i in range(k)}
    parts |= {f"coordinate {i}": np.eye(n)[:, [i]] for i in range(n)}
    # Correlations between coordinates are variances along other axes.
    axes = np.linalg.qr(bench.rng("axes").standard_normal((n, n)))[0]
    parts |= {f"the vector {np.round(axes[:, i], 3)}": axes[:, [i]] for i in range(n)}
    return {name: basis for name, basis in parts.items() if basis.size}


def _compare(bench: GradientBench, directions: Array, parts: Mapping[str, Array]) -> None:
    """The law is broken if the mean square of the directions is off in some subspace.

    It holds for normals, and for what spreads no more than they do, such as signs.
    """
    for name, basis in parts.items():
        squares = ((directions @ basis) ** 2).sum(axis=1) / bench.length**2
        variances = np.linalg.eigvalsh(basis.T @ bench.covariance @ basis)
        allowed = mean_square_limit(variances, len(squares), _FALSE_ALARM / len(parts))
        if not abs(squares.mean() - variances.sum()) <= allowed + 1e-9:
            broken(
                in_subspace=name,
                mean_square_of_d=squares.mean() * bench.length**2,
                expected=variances.sum() * bench.length**2,
                allowed_error=allowed * bench.length**2,
                pairs=len(squares),
            )
