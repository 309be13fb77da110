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
    """Guided if there is a jac, else adaptive; "auto" says so."""
    guided = minimize(bowl, X0, jac=slope, options=OPTIONS)
    assert fields(guided) == fields(GuidedES(**OPTIONS).fit(bowl, X0, slope).result_)
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
        ({"options": {"population": 3}}, ValueError, "AdaptiveES has no parameter 'population'"),
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
    assert fields(both) == fields(minimize(bowl, X0, jac=slope, options=OPTIONS))


@every
@pytest.mark.parametrize(
    "unused",
    [{"tol": 1e-3}, {"hess": "2-point"}, {"hessp": lambda x, p: p},
     {"options": {**OPTIONS, "maxiter": 3, "disp": True}}],
)  # fmt: skip
def test_scipy_warns_of_what_is_not_used(name, unused):
    """Tolerances, Hessians and unknown options are named in a warning, and change nothing."""
    if "tol" in unused and takes(name, tol=1e-3):
        return  # it does
    with pytest.warns(RuntimeWarning, match=f"{name} does not use .*") as caught:
        result = scipy_minimize(name, **unused)
    assert len(caught) == 1
    assert all(word in str(caught[0].message) for word in unused if word != "options")
    assert fields(result) == fields(scipy_minimize(name))


@every
@pytest.mark.parametrize(
    "refused",
    [{"bounds": [(0, 1)] * 3}, {"bounds": scipy.optimize.Bounds(0, 1)},
     {"constraints": {"type": "eq", "fun": bowl}},
     {"constraints": scipy.optimize.LinearConstraint(np.eye(3), 0, 1)}],
)  # fmt: skip
def test_scipy_refuses_bounds(name, refused):
    """Bounds and constraints raise and say what to do instead."""
    with pytest.raises(ValueError, match=f"{name} has no bounds or constraints: transform"):
        scipy_minimize(name, **refused)
    assert scipy_minimize(name, bounds=None, constraints=()).nit == 4


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
