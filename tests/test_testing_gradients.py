"""The checks of gradient estimators: sound ones pass, for any seed, and planted bugs are found."""

import unittest

import numpy as np
import pytest
from test_estimates import ESTIMATORS, assert_lawful

from blackbox_es import _jit
from blackbox_es.shaping import centered_ranks
from blackbox_es.testing import (
    CheckFailed,
    check_gradient_estimator,
    gradient_estimator_checks_generator,
)

SIGMA, ALPHA, BETA, P = 0.1, 0.4, 1.5, 32
GUIDED = {"k": 2, "alpha": ALPHA}
ONE_GUIDE = {"k": 1, "alpha": ALPHA}


# -- a sound estimator in two parts: directions, and the sum along them ---------------------------


def normals(seed, *shape):
    return np.random.default_rng([seed, shape[-1]]).standard_normal(shape)


def isotropic(x, seed, n_pairs=P):
    return SIGMA * normals(seed, n_pairs, x.size)


def svd_basis(surrogate):
    u, s, _ = np.linalg.svd(surrogate / np.abs(surrogate).max(), full_matrices=False)
    return u[:, s > 1e-9 * s[0]]


def qr_basis(surrogate):
    return np.linalg.qr(surrogate)[0]


def guided(x, seed, surrogate, basis=svd_basis, alpha=ALPHA):
    u = basis(surrogate)
    inside = normals(seed, P, u.shape[1] + 100)[:, 100:] @ u.T  # another stream for each k
    inside *= SIGMA * np.sqrt(x.size * (1 - alpha) / u.shape[1])
    return np.sqrt(alpha) * isotropic(x, seed) + inside


def antithetic(objective, x, d):
    difference = objective(x + d) - objective(x - d)
    return BETA / (2 * SIGMA**2 * d.size) * difference @ d  # the size is n P


def estimator(draw=isotropic, total=antithetic):
    def estimate(objective, x, *, seed, **surrogate):
        return total(objective, x, draw(x, seed, **surrogate))

    return estimate


# -- sound estimators -----------------------------------------------------------------------------


def point_by_point(objective, x, d):
    total = sum(di * (objective(x + di) - objective(x - di)) for di in d)
    return BETA / (2 * SIGMA**2 * d.size) * total


def in_any_order(objective, x, d):
    """Evaluates x too, and all of ``-d`` before ``d``, backwards."""
    objective(x)
    minus, plus = objective(x - d[::-1])[::-1], objective(x + d)
    return BETA / (2 * SIGMA**2 * d.size) * (plus - minus) @ d


def ranked(objective, x, d):
    u = centered_ranks(np.stack([objective(x + d), objective(x - d)]))
    return (u[0] - u[1]) @ d


def on_a_sphere(x, seed):
    z = normals(seed, P, x.size)
    return SIGMA * np.sqrt(x.size) * z / np.linalg.norm(z, axis=1, keepdims=True)


def signs(x, seed):
    return SIGMA * np.sign(normals(seed, P, x.size))


def orthogonal(x, seed):
    z = normals(seed, x.size, x.size)
    lengths = np.linalg.norm(normals(seed + 2**40, x.size, x.size), axis=1, keepdims=True)
    return SIGMA * lengths * np.linalg.qr(z)[0]


PLAIN = {
    "rows": (estimator(), {}),
    "points": (estimator(total=point_by_point), {}),
    "any order": (estimator(total=in_any_order), {}),
    "one pair": (estimator(lambda x, seed: isotropic(x, seed, 1)), {}),
    "ranks": (estimator(total=ranked), {"shaping": "ranks"}),
    "sphere": (estimator(on_a_sphere), {}),
    "signs": (estimator(signs), {}),
    "signs in ranks": (estimator(signs, ranked), {"shaping": "ranks"}),
    "orthogonal": (estimator(orthogonal), {}),
    "one coordinate": (estimator(), {"n": 1}),
    "a hundred": (estimator(), {"n": 100}),
    "guided": (estimator(guided), GUIDED),
    "full span": (estimator(guided), {"n": 3, "k": 3, "alpha": ALPHA}),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PLAIN)
def test_sound_estimators_pass(name, seed):
    """`test_estimates` has those of the package."""
    assert_lawful(*PLAIN[name], seed)


SOUND = {f"plain {name}": case for name, case in PLAIN.items()} | ESTIMATORS


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarms(name):
    """For three more seeds; tests/benchmarks/false_alarms.py takes any number."""
    for seed in range(3, 6):
        assert_lawful(*SOUND[name], seed)


# -- planted bugs ---------------------------------------------------------------------------------


def times(factor):
    return lambda objective, x, d: factor * antithetic(objective, x, d)


def forward_differences(objective, x, d):
    return BETA / (SIGMA**2 * d.size) * (objective(x + d) - objective(x)) @ d


def half_a_baseline(baseline):
    def total(objective, x, d):
        plus, minus = objective(x + d), objective(x - d)
        return BETA / (SIGMA**2 * d.size) * (plus - baseline([plus, minus])) @ d

    return total


def sums_apart(objective, x, d):
    plus, minus = objective(x + d), objective(x - d)
    return BETA / (2 * SIGMA**2 * d.size) * (plus @ d - minus @ d)


def shift(objective, x, d):
    difference = objective(x + d) - objective(x - d)
    return BETA / (2 * SIGMA**2 * d.size) * np.roll(difference, 1) @ d


def standardized(objective, x, d):
    difference = objective(x + d) - objective(x - d)
    return difference / (difference.std() + 1e-8) @ d


def in_float32(objective, x, d):
    difference = objective(x + d).astype(np.float32) - objective(x - d).astype(np.float32)
    return BETA / (2 * SIGMA**2 * d.size) * difference @ d


def ordinal(objective, x, d):
    values = np.concatenate([objective(x + d), objective(x - d)])
    u = values.argsort(kind="stable").argsort(kind="stable") / (values.size - 1) - 0.5
    return (u[: len(d)] - u[len(d) :]) @ d


def almost_ranks(objective, x, d):
    difference = objective(x + d) - objective(x - d)
    return np.sign(difference) * np.log1p(np.abs(difference)) @ d


def transposed(surrogate):
    return np.linalg.qr(surrogate)[0].T.reshape(surrogate.shape)


def unit_columns(surrogate):
    return surrogate / np.linalg.norm(surrogate, axis=0)


def lost(surrogate):
    return qr_basis(surrogate)[:, :1]


def normalised_in_place(surrogate):
    surrogate /= np.linalg.norm(surrogate)
    return qr_basis(surrogate)


def safely_normalised(surrogate):
    return surrogate / (np.linalg.norm(surrogate) + 1e-8)


def basis(function):
    return estimator(lambda x, seed, surrogate: guided(x, seed, surrogate, function))


def seeded(change):
    """An estimator with another seed than it was given."""
    return estimator(lambda x, seed: isotropic(x, change(seed)))


def fresh(_=None):
    return np.random.SeedSequence().entropy % 2**32


def from_numpy(x, seed):
    return SIGMA * np.random.standard_normal((P, x.size))  # noqa: NPY002


def seeds_numpy(x, seed):
    np.random.seed(seed)  # noqa: NPY002
    return from_numpy(x, seed)


def in_place(objective, x, d):
    differences = []
    for di in d:
        x += di
        plus = objective(x.copy())
        x -= 2 * di
        differences.append(plus - objective(x.copy()))
        x += di
    return BETA / (2 * SIGMA**2 * d.size) * np.array(differences) @ d


def one_buffer(objective, x, d):
    point, differences = np.empty_like(x), []
    for di in d:
        point[:] = x + di
        plus = objective(point)
        point[:] = x - di
        differences.append(plus - objective(point))
    return BETA / (2 * SIGMA**2 * d.size) * np.array(differences) @ d


RESULT = np.zeros(6)


def in_one_result(objective, x, d):
    RESULT[:] = antithetic(objective, x, d)
    return RESULT


def returning(change):
    return estimator(total=lambda *args: change(antithetic(*args)))


def with_nan(g):
    return np.where(np.arange(g.size) == 2, np.nan, g)


def silent(objective, x, d):
    return np.zeros(x.size)


def fails(objective, x, d):
    raise RuntimeError("no")


def never(objective, x, d):
    objective(x)
    return np.zeros(x.size)


def elsewhere(objective, x, d):
    return antithetic(objective, x, d * (1 + np.abs(x)))


def equal_coordinates(x, seed):
    return SIGMA * normals(seed, P, 1) * np.ones(x.size)


def first_too_long(x, seed):
    d = isotropic(x, seed)
    return d * np.sqrt([1.5] + 5 * [0.9])


NONE, RANKS, UNKNOWN = {}, {"shaping": "ranks"}, {"beta": None}
BUGS = {
    # name: (estimator, options, the check that finds it, and it alone)
    "sigma, not sigma^2": (estimator(total=times(SIGMA)), NONE, "check_antithetic_sum"),
    "not divided by sigma": (estimator(total=times(SIGMA**2)), NONE, "check_antithetic_sum"),
    "P, not 2 P": (estimator(total=times(2)), NONE, "check_antithetic_sum"),
    "sum, not mean": (estimator(total=times(P)), NONE, "check_antithetic_sum"),
    "not divided by n": (estimator(total=times(6)), NONE, "check_antithetic_sum"),
    "no beta": (estimator(total=times(1 / BETA)), NONE, "check_antithetic_sum"),
    "beta twice": (estimator(total=times(BETA)), NONE, "check_antithetic_sum"),
    "wrong sign": (estimator(total=times(-1)), NONE, "check_antithetic_sum"),
    "wrong sign, any length": (estimator(total=times(-9)), UNKNOWN, "check_antithetic_sum"),
    "weights shifted by one": (estimator(total=shift), NONE, "check_antithetic_sum"),
    "shifted, any length": (estimator(total=shift), UNKNOWN, "check_antithetic_sum"),
    "forward differences": (
        estimator(total=forward_differences), NONE, "check_antithetic_points",
    ),
    "one side less the mean": (
        estimator(total=half_a_baseline(np.mean)), NONE, "check_constant_objective",
    ),
    "one side less the least": (
        estimator(total=half_a_baseline(np.min)), NONE, "check_even_functions",
    ),
    "sums apart": (estimator(total=sums_apart), NONE, "check_even_functions"),
    "standardized": (estimator(total=standardized), UNKNOWN, "check_powers_of_two"),
    "values in float32": (estimator(total=in_float32), NONE, "check_added_constants"),
    "order of ties": (estimator(total=ordinal), RANKS, "check_constant_objective"),
    "rank sign": (
        estimator(total=lambda *args: -ranked(*args)), RANKS, "check_descent",
    ),
    "not ranks": (estimator(total=almost_ranks), RANKS, "check_increasing_maps"),
    "not orthonormal": (basis(unit_columns), GUIDED, "check_covariance"),
    "transposed": (basis(transposed), GUIDED, "check_covariance"),
    "subspace lost": (basis(lost), GUIDED, "check_covariance"),
    "alpha swapped": (
        estimator(lambda *args, surrogate: guided(*args, surrogate, alpha=1 - ALPHA)),
        GUIDED, "check_covariance",
    ),
    "surrogate ignored": (
        estimator(lambda x, seed, surrogate: isotropic(x, seed)), ONE_GUIDE, "check_covariance",
    ),
    "not normalised": (basis(lambda u: u), ONE_GUIDE, "check_length"),
    "scale leaks in": (basis(safely_normalised), ONE_GUIDE, "check_surrogate_scale"),
    "dependent columns": (basis(qr_basis), GUIDED, "check_dependent_surrogate"),
    "normalised in place": (basis(normalised_in_place), GUIDED, "check_arguments_untouched"),
    "of length sigma": (
        estimator(lambda x, seed: isotropic(x, seed) / np.sqrt(x.size)), NONE, "check_length",
    ),
    "unit normals": (
        estimator(lambda x, seed: isotropic(x, seed) / SIGMA), NONE, "check_length",
    ),
    "sigma 10 % too large": (
        estimator(lambda x, seed: 1.1 * isotropic(x, seed)), NONE, "check_length",
    ),
    "equal coordinates": (estimator(equal_coordinates), NONE, "check_covariance"),
    "one coordinate too far": (estimator(first_too_long), NONE, "check_covariance"),
    "length depends on x": (estimator(total=elsewhere), NONE, "check_translation"),
    "one seed for all": (seeded(lambda seed: 7), NONE, "check_other_seeds"),
    "half of the seeds": (seeded(lambda seed: seed // 2), NONE, "check_other_seeds"),
    "a short seed": (seeded(lambda seed: seed % 2**16), NONE, "check_other_seeds"),
    "one direction for all": (
        estimator(lambda x, seed: np.tile(isotropic(x, seed, 1), (P, 1))),
        NONE, "check_own_directions",
    ),
    "directions used twice": (
        estimator(lambda x, seed: np.tile(isotropic(x, seed, P // 2), (2, 1))),
        NONE, "check_own_directions",
    ),
    "fresh entropy": (seeded(fresh), NONE, "check_same_seed"),
    "0 is no seed": (seeded(lambda seed: seed or fresh()), NONE, "check_same_seed"),
    "np.random": (estimator(from_numpy), NONE, "check_global_state"),
    "np.random.seed": (estimator(seeds_numpy), NONE, "check_global_state"),
    "x in place": (estimator(total=in_place), NONE, "check_arguments_untouched"),
    "one buffer": (estimator(total=one_buffer), NONE, "check_fresh_arrays"),
    "one result": (estimator(total=in_one_result), NONE, "check_fresh_arrays"),
    "float32": (returning(np.float32), NONE, "check_result"),
    "complex": (returning(lambda g: g + 0j), NONE, "check_result"),
    "a column": (returning(lambda g: g[:, None]), NONE, "check_result"),
    "a list of arrays": (returning(lambda g: list(g[:5])), NONE, "check_result"),
    "nothing": (returning(lambda g: None), NONE, "check_result"),
    "NaN": (returning(with_nan), NONE, "check_result"),
    "raises": (estimator(total=fails), NONE, "check_result"),
    "does not evaluate": (estimator(total=silent), NONE, "check_result"),
    "evaluates x only": (estimator(total=never), NONE, "check_antithetic_points"),
}  # fmt: skip


STATISTICAL = ("check_length", "check_covariance", "check_dependent_surrogate")


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug):
    estimate, options, check = BUGS[bug]
    options = {"beta": BETA, **options}
    report = check_gradient_estimator(estimate, on_fail=None, **options)
    assert report.failed == [check], report
    with pytest.raises(CheckFailed, match=check):
        check_gradient_estimator(estimate, **options)


def test_a_factor_is_named():
    """A multiple of the estimate: the message says of what, and what may have been forgotten."""
    with pytest.raises(CheckFailed, match=r"perhaps: sigma times: divided by sigma once"):
        check_gradient_estimator(estimator(total=times(SIGMA)), beta=BETA)


@pytest.mark.parametrize(
    "bug", [bug for bug, (_, _, check) in BUGS.items() if check in STATISTICAL]
)
def test_what_statistics_find_is_found_for_any_seed(bug):
    estimate, options, check = BUGS[bug]
    for seed in range(1, 11):
        report = check_gradient_estimator(estimate, seed=seed, on_fail=None, **options)
        assert check in report.failed


# -- the ways in ----------------------------------------------------------------------------------


def test_checks_one_by_one():
    """Each check is a step; the one whose law is broken raises."""
    bad = estimator(total=times(2))
    failed = []
    for subject, check in gradient_estimator_checks_generator(bad, beta=BETA):
        try:
            check(subject)
        except unittest.SkipTest:
            continue
        except CheckFailed:
            failed.append(check.name)
    assert failed == ["check_antithetic_sum"]


def test_an_expected_failure_needs_a_reason_and_fails_nothing():
    """QR alone does not see dependent columns: an exception for those who never pass any."""
    estimate, options, check = BUGS["dependent columns"]
    report = check_gradient_estimator(
        estimate, beta=BETA, expected_failed_checks={check: "columns are independent"}, **options
    )
    assert report[check]["status"] == "xfail"


def test_what_costs_too_much_is_skipped_and_says_so():
    report = check_gradient_estimator(estimator(), beta=BETA, budget=100)
    assert report["check_length"]["status"] == "skipped"
    assert "costs 128 estimates" in str(report["check_length"]["exception"])
    assert report.spent <= 100


def test_a_check_alone_says_the_same_and_costs_no_more():
    """The number of pairs need not be known beforehand."""
    report = check_gradient_estimator(estimator(), beta=BETA)
    for name in ("check_length", "check_expectation"):
        alone = check_gradient_estimator(estimator(), beta=BETA, checks=[name])
        assert alone.spent == 4096 // P
        assert alone[0]["findings"] == report[name]["findings"]


def test_the_same_call_gives_the_same_report():
    """And leaves the arguments and the global generators alone."""
    estimate, options = PLAIN["guided"]
    one, other = (check_gradient_estimator(estimate, beta=BETA, **options) for _ in range(2))
    assert (one.findings, one.spent) == (other.findings, other.spent)
    assert one.findings["root mean square of a coordinate"] == pytest.approx(SIGMA, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"k": 7}, "k=7: expected an integer between 0 and n=6"),
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"shaping": "nes"}, "shaping='nes': take 'raw', 'ranks'"),
        ({"checks": ["check_nothing"]}, "no check 'check_nothing'"),
        ({"on_fail": "explode"}, "on_fail='explode'"),
    ],
)
def test_arguments_are_checked_before_anything_is_estimated(options, message):
    def estimate(objective, x, *, seed):
        pytest.fail("was called")

    with pytest.raises(ValueError, match=message):
        check_gradient_estimator(estimate, **options)
    with pytest.raises(TypeError, match="estimator=3 is not callable"):
        check_gradient_estimator(3)
