"""What can be seen of an objective: far away, its noise, its rounding, its roughness."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.testing.bench import ObjectiveBench, array_of, same, single_precision
from blackbox_es.testing.checks import Check, Findings, broken, enrol, skip
from blackbox_es.testing.objective_laws import SAME, VALUE

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

LANDSCAPE_CHECKS: list[Check] = []
_check = enrol(LANDSCAPE_CHECKS)


# -- far away --------------------------------------------------------------------------------------


@_check(
    cost=10,
    needs=(*SAME, "check_neighbours"),
    advice="far away return inf, NaN or a large value, or raise an Exception",
)
def check_far_away(bench: ObjectiveBench) -> Findings:
    """Far away it gives a number or raises; then it is as before."""
    before = bench.value(bench.x0)
    direction = bench.rng("far").standard_normal(bench.n)
    raised = set()
    for size in (1e8, -1e8, 1e-8, -1e-8, 0.0):
        x = bench.inside(direction * size)
        bench.spent += 1
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = bench.function.raw(x[None] if bench.function.vectorized else x.copy())
        except Exception as error:
            raised.add(type(error).__name__)
        except BaseException as error:
            broken(x=x, raised=repr(error), cause=error)
        else:
            if array_of(value).dtype.kind not in "fiub":
                broken(x=x, returned=value)
    after = bench.value(bench.x0)
    if bench.repeatable and not same(before, after):
        broken(x0=bench.x0, value_before=before, value_after=after)
    return {"far away it raises": ", ".join(sorted(raised))} if raised else {}


# -- what can be seen of it ----------------------------------------------------------------------


@_check(
    applies=lambda bench: bench.stochastic or bench.function.takes_seed,
    cost=40,
    needs=VALUE,
    advice="let `seed` decide all of the noise: `rng = np.random.default_rng(seed)`",
)
def check_noise(bench: ObjectiveBench) -> Findings:
    """A stochastic objective with a parameter seed changes with it."""
    seeds = range(1, 9)
    if not bench.function.takes_seed:
        values = [bench.value(bench.x0) for _ in seeds]
        return {"noise (standard deviation)": f"{np.std(values, ddof=1):.3g}"}
    plus, minus = bench.pairs(1)[:, 0]
    x = (bench.x0, plus, minus)
    noise = np.array([[bench.value(point, seed) for point in x] for seed in seeds])
    if bench.stochastic and not np.ptp(noise, axis=0).any():
        broken(x=bench.x0, seeds="1 to 8", value_for_all=noise[0, 0])
    paired = np.var(noise[:, 1] - noise[:, 2])
    independent = np.mean([np.var(noise[:, 1] - np.roll(noise[:, 2], i)) for i in range(1, 8)])
    gain = independent / paired if paired > 0.0 else math.inf if independent > 0.0 else 1.0
    verdict = "help" if gain > 2.0 else "do not matter much"
    if not np.ptp(noise):
        return {"noise (standard deviation)": "0"}
    return {
        "noise (standard deviation)": f"{np.std(noise[:, 0], ddof=1):.3g}",
        "common random numbers": f"{verdict}: variance of differences divided by {gain:.2g}",
    }


@_check(
    cost=32,
    needs=(*SAME, "check_neighbours"),
    advice="raise sigma; round neither x nor the value; subtract large constants from the "
    "objective; compute and return float64",
)
def check_resolution(bench: ObjectiveBench) -> Findings:
    """Values around x0 differ by much more than their rounding."""
    values = bench.values(bench.pairs(16))
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.size:
        skip("there are no finite values")
    largest = np.abs(values).max()
    step = float(np.spacing(np.float32(largest) if single_precision(values) else largest))
    size = float(values.std())
    bits = math.log2(size / step) if size > 0.0 else 0.0
    if bits < _FEWEST_BITS:
        broken(
            standard_deviation=size,
            rounding=step,
            bits=round(bits, 1),
            values="all the same" if size == 0.0 else f"about {largest:.3g}",
        )
    return {"resolution": f"{bits:.0f} bits"}


_FEWEST_BITS = 8  # the differences are then known to half a percent


@_check(cost=73 + 8, needs=VALUE, advice="")
def check_roughness(bench: ObjectiveBench) -> Findings:
    """How it looks at sigma, sigma/2 and sigma/4; this check never fails."""
    center = bench.value(bench.x0)
    values = np.array([bench.values(bench.pairs(12, scale=scale)) for scale in (1.0, 0.5, 0.25)])
    values = values[..., np.isfinite(values).all(axis=(0, 1))]
    if not values.size or not math.isfinite(center):
        skip("there are no finite values")
    noise = 0.0
    if bench.stochastic:
        noise = float(np.std([bench.value(bench.x0, i) for i in range(8)]))
    odd = (values[:, 0] - values[:, 1]) / 2
    even = (values[:, 0] + values[:, 1]) / 2 - center
    change = np.sqrt((odd**2 + even**2).mean(axis=1))
    ties = (odd == 0.0).mean(axis=1)
    factor, reason = suggested(odd, even, noise)
    findings: Findings = {
        "ties, f(x+d) = f(x-d), at sigma, sigma/2, sigma/4": ", ".join(f"{t:.0%}" for t in ties),
    }
    if change.all():
        rough = np.log2(change[:-1] / change[1:])
        curved = np.sqrt((even[0] ** 2).mean() / (odd**2 + even**2)[0].mean())
        findings |= {
            "smoothness: 1 linear, 2 at an optimum, 0 noise": ", ".join(f"{r:.2f}" for r in rough),
            "share of curvature at sigma": f"{curved:.0%}",
        }
    return findings | {"suggested sigma": f"{bench.sigma * factor:.3g} ({reason})"}


def suggested(odd: Array, even: Array, noise: float) -> tuple[float, str]:
    """A factor for sigma, and why.

    Odd and even parts of ``f(x0 + d)`` along some directions at sigma, sigma/2 and sigma/4.
    """
    change = np.sqrt((odd**2 + even**2).mean(axis=1))
    slopes = odd * np.array([[1.0], [2.0], [4.0]])
    if (odd[0] == 0.0).mean() > 0.25:
        return 4.0, "larger: too many ties"
    if noise > change[0]:
        return min(10.0, 2.0 * noise / change[0]), "larger: noise exceeds the differences"
    if change[0] < 2**0.5 * change[1] and _cosine(slopes[0], slopes[1]) < 0.9:
        return 4.0, "larger: rough at this scale"
    if (odd[0] ** 2).mean() < 1e-2 * (even[0] ** 2).mean():
        return 1.0, "x0 is near an optimum"
    for factor, a, b in ((1.0, slopes[0], slopes[1]), (0.5, slopes[1], slopes[2])):
        if _cosine(a, b) > 0.9:
            return factor, "slopes agree with those at half of it"
    return 0.25, "smaller: slopes change within sigma"


def _cosine(a: Array, b: Array) -> float:
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length else 0.0
