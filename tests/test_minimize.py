"""minimize, scipy_method and estimate_gradient: the one-call functions."""

import numpy as np
import pytest
import scipy.optimize
from problems import X0, bits, bowl, slope, takes

from blackbox_es import AdaptiveES, GuidedES, VanillaES, estimate_gradient, minimize, scipy_method
from blackbox_es.strategies import STRATEGIES

OPTIONS = {"max_iter": 4, "n_pairs": 3, "random_state": 2}
every = pytest.mark.parametrize("name", STRATEGIES)


def fields(result):
    """The bits of an OptimizeResult."""
    return {name: bits(value) for name, value in result.items()}


def scaled(x, scale, shift=0.0):
    """An objective with further arguments."""
    return scale * bowl(x) + shift


def unhappy(x):
    """An objective that must not be called."""
    raise AssertionError("called")


def jac_of(name):
    """A surrogate for the methods that take one."""
    return slope if STRATEGIES[name].takes_surrogate else None


# -- minimize ------------------------------------------------------------------------------------


@every
def test_minimize_is_fit(name):
    """minimize gives the result_ of the strategy's fit."""
    result = minimize(bowl, X0, jac=jac_of(name), method=name, options=OPTIONS)
    assert isinstance(result, scipy.optimize.OptimizeResult)
    es = STRATEGIES[name](**OPTIONS).fit(bowl, X0, jac_of(name))
    assert fields(result) == fields(es.result_)


def test_default_methods():
    """Adaptive, with and without a jac; "auto" says so."""
    guided = minimize(bowl, X0, jac=slope, options=OPTIONS)
    assert fields(guided) == fields(AdaptiveES(**OPTIONS).fit(bowl, X0, slope).result_)
    for method in (None, "auto"):
        adaptive = minimize(bowl, X0, method=method, options=OPTIONS)
        assert fields(adaptive) == fields(AdaptiveES(**OPTIONS).fit(bowl, X0).result_)


def test_minimize_passes_arguments():
    """fun and jac get args; one that is not a tuple is the only one."""

    def jac(x, scale, shift=0.0):
        return scale * slope(x)

    result = minimize(scaled, X0, (2.0, 1.0), jac=jac, options=OPTIONS)
    expected = minimize(
        lambda x: 2.0 * bowl(x) + 1.0, X0, jac=lambda x: 2 * slope(x), options=OPTIONS
    )
    assert fields(result) == fields(expected)
    assert fields(minimize(scaled, X0, 2.0, options=OPTIONS)) == fields(
        minimize(scaled, X0, (2.0,), options=OPTIONS)
    )


def test_arguments_and_seeds():
    """A parameter `seed` is given an integer, unless args are what it gets."""

    def noisy(x, scale, seed):
        assert isinstance(seed, int)
        return scale * bowl(x)

    expected = fields(minimize(lambda x: 2.0 * bowl(x), X0, options=OPTIONS))
    assert fields(minimize(noisy, X0, (2.0,), options=OPTIONS)) == expected
    by_args = minimize(lambda x, seed: seed * bowl(x), X0, (2.0,), options=OPTIONS)
    assert fields(by_args) == expected


def test_nested_options():
    """Options reach the parts, as in set_params, and the options given stay as they are."""
    options = {**OPTIONS, "optimizer": "sgd"}
    before = dict(options)
    assert minimize(bowl, X0, method="vanilla-es", options=options).nit == 4
    assert options == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "nelder-mead"}, ValueError, "method='nelder-mead' is unknown: .*'guided-es'"),
        ({"method": ["guided-es"]}, (TypeError, ValueError), "method"),
        ({"options": {"population": 3}}, ValueError, "adaptive-es has no option 'population'"),
        ({"x0": None}, TypeError, "x0 is None, .* give x0"),
        ({"options": {"maxiter": 1.5}}, ValueError, "max_iter=1.5"),
        ({"options": {"sigma": -1.0}}, ValueError, "sigma=-1.0"),
        ({"jac": slope, "method": "vanilla-es"}, ValueError, "take GuidedES"),
        ({"jac": "2-point"}, (TypeError, ValueError), "jac|surrogate_fn"),
        ({"jac": True}, (TypeError, ValueError), "jac|surrogate_fn"),
        ({"callback": 3}, TypeError, "callback"),
        ({"x0": [np.nan]}, ValueError, r"x0\[0\]"),
    ],
)
def test_minimize_refuses(change, error, message):
    """Bad arguments raise before the objective is called."""
    with pytest.raises(error, match=message):
        minimize(**{"fun": unhappy, "x0": X0, **change})


# -- scipy.optimize.minimize ---------------------------------------------------------------------


def scipy_minimize(name, **options):
    """Through SciPy's own function."""
    given = {"options": OPTIONS, "jac": jac_of(name), **options}
    return scipy.optimize.minimize(bowl, X0, method=scipy_method(name), **given)


@every
def test_scipy_method_is_minimize(name):
    """Through scipy.optimize.minimize the result is that of minimize."""
    assert fields(scipy_minimize(name)) == fields(
        minimize(bowl, X0, jac=jac_of(name), method=name, options=OPTIONS)
    )


@every
def test_scipy_callbacks(name):
    """Both forms of callback see each generation, and StopIteration stops."""
    seen = []

    def by_name(intermediate_result):
        seen.append((intermediate_result.x, intermediate_result.fun))
        if len(seen) == 3:
            raise StopIteration

    result = scipy_minimize(name, callback=by_name)
    assert (result.nit, result.status, result.success) == (3, 99, False)
    assert bits(seen[-1][0]) == bits(result.x)
    plain = []
    scipy_minimize(name, callback=lambda xk: plain.append(xk))
    assert bits(plain[:3]) == bits([x for x, _ in seen])


def test_scipy_arguments():
    """SciPy's args, and its jac=True for a function that returns value and gradient."""
    result = scipy.optimize.minimize(
        scaled, X0, (2.0,), method=scipy_method("vanilla-es"), options=OPTIONS
    )
    expected = minimize(scaled, X0, (2.0,), method="vanilla-es", options=OPTIONS)
    assert fields(result) == fields(expected)
    both = scipy.optimize.minimize(
        lambda x: (bowl(x), slope(x)), X0, jac=True, method=scipy_method("guided-es"),
        options=OPTIONS,
    )  # fmt: skip
    ours = minimize(bowl, X0, jac=slope, method="guided-es", options=OPTIONS)
    assert fields(both) == fields(ours)


# -- names, budgets, and what is refused ---------------------------------------------------------


def by_both(name, **given):
    """The results of `minimize` and of SciPy's own function, which are one."""
    given = {"options": {}, **given}
    ours = minimize(bowl, X0, method=name, jac=jac_of(name), **given)
    theirs = scipy.optimize.minimize(bowl, X0, method=scipy_method(name), jac=jac_of(name), **given)
    assert fields(ours) == fields(theirs)
    return ours


@every
@pytest.mark.parametrize(
    ("scipys", "ours"),
    [
        ({"maxiter": 3}, {"max_iter": 3}),
        ({"maxfev": 40}, {"max_evals": 40}),
        ({"maxfun": 40}, {"max_evals": 40}),
        ({"maxiter": 3, "disp": True}, {"max_iter": 3, "verbose": 1}),
        ({"maxiter": 3, "disp": 0}, {"max_iter": 3, "verbose": 0}),
        ({"maxiter": 3, "seed": 5}, {"max_iter": 3, "random_state": 5}),
        ({"maxiter": 3, "rng": 5}, {"max_iter": 3, "random_state": 5}),
    ],
)
def test_scipys_names_are_ours(name, scipys, ours):
    """maxiter, maxfev, maxfun, disp, seed, rng; through SciPy and without it."""
    few = {"n_pairs": 3} | ({} if {"seed", "rng"} & scipys.keys() else {"random_state": 2})
    result = by_both(name, options=few | scipys)
    assert fields(result) == fields(by_both(name, options=few | ours))
    converged = name == "adaptive-es" and result.status == 0  # and then began anew
    assert (result.success, result.status) == ((True, 0) if converged else (False, 1))


@every
@pytest.mark.parametrize("limit", ["maxfev", "max_time"])
def test_one_budget_is_the_only_one(name, limit, monkeypatch):
    """A limit of evaluations or time is not cut short by a default one of generations."""
    given, fit = {}, STRATEGIES[name].fit
    monkeypatch.setattr(
        STRATEGIES[name], "fit", lambda es, *args: given.update(es.get_params()) or fit(es, *args)
    )
    options = {limit: {"maxfev": 120, "max_time": 1e-9}[limit], "n_pairs": 3}
    result = minimize(bowl, X0, method=name, jac=jac_of(name), options=options)
    assert given["max_iter"] == 2**32 - 1
    converged = name == "adaptive-es" and result.status == 0  # and then began anew
    assert (result.success, result.status) == ((True, 0) if converged else (False, 1))
    if limit == "max_time":
        assert result.nit <= 1
    elif name == "adaptive-es":  # whose generations have any size
        assert 100 < result.nfev <= 120
    else:
        assert result.nfev == 115
    minimize(bowl, X0, method=name, jac=jac_of(name), options={**options, "maxiter": 3})
    assert given["max_iter"] == 3


@every
@pytest.mark.parametrize("name_of_tolerance", ["tol", "xatol", "fatol"])
def test_tolerances_reach_strategies_that_have_them(name, name_of_tolerance):
    """Others refuse them by name; tol is an argument, too."""
    options = {**OPTIONS, "max_iter": 999}
    forms = [{"options": {**options, name_of_tolerance: 0.5}}]
    forms += [{"options": options, "tol": 0.5}] if name_of_tolerance == "tol" else []
    for form in forms:
        if takes(name, **{name_of_tolerance: 0.5}):
            assert by_both(name, **form).success
            continue
        for run in (minimize, scipy.optimize.minimize):
            method = name if run is minimize else scipy_method(name)
            with pytest.raises(ValueError, match=f"{name} has no option '{name_of_tolerance}'; it"):
                run(unhappy, X0, method=method, **form)


@every
@pytest.mark.parametrize("option", ["maxiters", "ftol", "gtol", "return_all", "adaptive", "x__y"])
def test_unknown_options_are_refused(name, option):
    """With their name, and those that are known, SciPy's too."""
    for run, method in ((minimize, name), (scipy.optimize.minimize, scipy_method(name))):
        said = rf"{name} has no option '{option}'; it has .*max_evals.* SciPy's maxiter"
        with pytest.raises(ValueError, match=said):
            run(unhappy, X0, method=method, options={option: 1})


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"options": {"maxiter": 1, "max_iter": 1}}, "maxiter and max_iter"),
        ({"options": {"maxfev": 1, "maxfun": 1}}, "maxfev and maxfun"),
        ({"options": {"rng": 1, "random_state": 1}}, "rng and random_state"),
        ({"options": {"seed": 1, "rng": 1}}, "seed and rng"),
        ({"options": {"disp": True, "verbose": 1}}, "disp and verbose"),
        ({"options": {"tol": 1.0}, "tol": 1.0}, "tol and tol"),
        ({"options": {"bounds": None}, "bounds": [(0, 1)] * 3}, "bounds and bounds"),
    ],
)
def test_names_given_twice_are_refused(given, names):
    """Even with the same value."""
    with pytest.raises(ValueError, match=f"options: {names} are one: give one of them"):
        minimize(unhappy, X0, **given)


@every
@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ({"constraints": {"type": "eq", "fun": bowl}}, "no constraints: give bounds, add a penal"),
        ({"constraints": scipy.optimize.LinearConstraint(np.eye(3), 0, 1)}, "no constraints"),
        ({"hess": "2-point"}, "uses no hess: leave it out"),
        ({"hess": lambda x: np.eye(3)}, "uses no hess: leave it out"),
        ({"hessp": lambda x, p: p}, "uses no hessp: leave it out"),
    ],
)
def test_scipy_method_refuses(name, refused, said):
    """Constraints and Hessians, with a way out; what is none is none."""
    with pytest.raises(ValueError, match=f"{name} {'has' if 'no con' in said else ''}.*{said}"):
        scipy.optimize.minimize(unhappy, X0, method=scipy_method(name), **refused)
    assert scipy_minimize(name, bounds=None, constraints=(), hess=None, tol=None).nit == 4


@every
@pytest.mark.parametrize(
    "bounds", [[(0, 1), (None, 0), (2, 2)], scipy.optimize.Bounds([0, -np.inf, 2], [1, 0, 2])]
)
def test_bounds_reach_the_strategy(name, bounds):
    """As SciPy passes them on, and without x0."""
    result = by_both(name, bounds=bounds, options=OPTIONS)
    es = STRATEGIES[name](bounds=bounds, **OPTIONS).fit(bowl, X0, jac_of(name))
    assert fields(result) == fields(es.result_)
    how = {"method": name, "jac": jac_of(name), "bounds": [(0, 1)] * 3, "options": OPTIONS}
    assert fields(minimize(bowl, **how)) == fields(minimize(bowl, [0.5, 0.5, 0.5], **how))


def test_scipy_method_checks_its_name_and_jac():
    """An unknown method raises at once, and a jac that is no function is not taken."""
    with pytest.raises(ValueError, match=r"'bfgs' is unknown: take .*'guided-es', 'vanilla-es'"):
        scipy_method("bfgs")
    with pytest.raises(ValueError, match="jac='3-point'"):
        scipy_method("guided-es")(unhappy, X0, jac="3-point")


# -- estimate_gradient ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("surrogate", [slope(X0), np.stack([slope(X0), X0], axis=1)])
def test_estimate_gradient_is_one_generation(surrogate, dtype):
    """It is gradient_ after one generation of GuidedES with the same parameters."""
    options = {"sigma": 0.2, "n_pairs": 5, "alpha": 0.3, "random_state": 4}
    es = GuidedES(**options).start(X0.astype(dtype))
    X = es.ask(surrogate)
    es.tell(X, [bowl(x) for x in X])
    g = estimate_gradient(bowl, X0.astype(dtype), surrogate, **options)
    assert bits(g) == bits(es.gradient_)
    assert g.dtype == dtype


def test_estimate_gradient_of_a_linear_function():
    """Without a surrogate it is 1 / (sigma^2 P) sum_p d_p (d_p @ c), the unbiased estimate."""
    c = np.array([1.0, -2.0, 0.5])
    X = VanillaES(sigma=0.1, n_pairs=8, random_state=6).start(X0).ask()
    d = (X[:8] - X[8:]) / 2
    g = estimate_gradient(lambda x: x @ c, X0, random_state=6)
    np.testing.assert_allclose(g, 1 / (0.1**2 * 8) * d.T @ (d @ c), rtol=1e-9)


def test_estimate_gradient_is_unbiased():
    """The mean over many pairs is the gradient, to 6 standard errors for a linear function."""
    c, n_pairs = np.array([1.0, -2.0, 0.5]), 20_000
    g = estimate_gradient(
        lambda X: X @ c, X0, n_pairs=n_pairs, random_state=0, vectorized=True
    )  # fmt: skip
    # the variance of coordinate i over pairs is |c|^2 + c_i^2
    assert (np.abs(g - c) < 6 * np.sqrt((c @ c + c * c) / n_pairs)).all()


def test_estimate_gradient_takes_all_parameters():
    """beta scales it, options reach the strategy, a seed repeats it, arrays stay the caller's."""
    x, surrogate = X0.copy(), slope(X0)
    one = estimate_gradient(bowl, x, surrogate, beta=1.0, random_state=0)
    assert bits(estimate_gradient(bowl, x, surrogate, beta=2.0, random_state=0)) == bits(2 * one)
    ranks = [
        estimate_gradient(f, x, shaping="nes", random_state=0)
        for f in (bowl, lambda x: bowl(x) ** 3)
    ]
    assert bits(ranks[0]) == bits(ranks[1])
    assert bits([x, surrogate]) == bits([X0, slope(X0)])


@pytest.mark.parametrize("surrogate", [None, slope(X0)])
@pytest.mark.parametrize(
    "bad", [{"beta": 0.0}, {"sigma": 0.0}, {"n_pairs": 0}, {"population": 3}, {"max_evals": 0}]
)
def test_estimate_gradient_refuses(surrogate, bad):
    """Bad parameters raise before the objective is called, with and without a surrogate."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        estimate_gradient(unhappy, X0, surrogate, **bad)


def test_estimate_gradient_refuses_a_bad_alpha():
    """alpha is checked where it is used."""
    with pytest.raises(ValueError, match="alpha=2"):
        estimate_gradient(unhappy, X0, slope(X0), alpha=2.0)


def test_constraints_are_refused_here_too():
    """With the way out."""
    with pytest.raises(ValueError, match="no constraints: give bounds, add a penalty"):
        minimize(bowl, X0, constraints=[{"type": "eq", "fun": bowl}])
