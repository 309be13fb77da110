"""One call: `minimize`, `scipy_method` and `estimate_gradient`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import steps
from blackbox_es._guidance import check_surrogate, is_model
from blackbox_es._validation import as_seed, parameters
from blackbox_es.descent_strategy import GradientState
from blackbox_es.gradient_strategy import AntitheticStrategy, estimated
from blackbox_es.strategies import METHODS, GuidedES, VanillaES
from blackbox_es.strategy import EvolutionStrategy
from blackbox_es.tree import bounds_for, check_points_made, planted, shown

Array = npt.NDArray[Any]

# What SciPy's methods call their options, and what a strategy calls them.
_SCIPY = {
    "maxiter": "max_iter", "maxfev": "max_evals", "maxfun": "max_evals", "disp": "verbose",
    "seed": "random_state", "rng": "random_state",
}  # fmt: skip
_NO_LIMIT = 2**32 - 1  # generations


def minimize(
    fun: Callable[..., Any],
    x0: Any = None,
    args: tuple[Any, ...] = (),
    *,
    method: str | None = None,
    jac: Callable[..., Any] | str | None = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """Minimise ``fun`` from ``x0`` by an evolution strategy, in the manner of SciPy.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``.
    x0 : array-like of shape (n,), or tree, optional
        None is the middle of the bounds. Points are given to all functions as ``x0`` is, be it a
        tree of dicts, lists and tuples, or a tensor, and ``x`` of the result is one.
    args : tuple
        Further arguments of ``fun`` and ``jac``.
    method : {"auto", "adaptive-es", "guided-es", "orthogonal-es", "vanilla-es", "pgpe", ...}
        "auto", as None, is "adaptive-es". All names are in `blackbox_es.strategies.METHODS`.
    jac : callable, "model" or model, optional
        The surrogate gradient, ``jac(x, *args) -> (n,) or (n, k)``. It may be wrong: it says where
        to look, and only what is measured there is followed. "model" is the gradient of a model
        fitted to the values as they come, a `SurrogateModel`.
    bounds : sequence of (low, high), scipy.optimize.Bounds, Box or tree, optional
        ``fun`` is evaluated inside only. None or infinity in a pair is no bound. A tree is like
        ``x0``, with a pair in the place of each leaf: see `tree_bounds`.
    constraints : ()
        There are none: others are refused.
    tol : float, optional
        The option ``tol``, for strategies that have one.
    callback : callable, optional
        ``callback(intermediate_result=OptimizeResult)`` or ``callback(x)``; StopIteration stops.
    options : dict, optional
        Parameters of the strategy, such as ``{"sigma": 0.1, "max_evals": 1000}``. SciPy's names
        for them are ``maxiter`` (``max_iter``), ``maxfev`` and ``maxfun`` (``max_evals``), ``disp``
        (``verbose``), ``seed`` and ``rng`` (``random_state``). As in SciPy, generations have no
        limit if there is one of evaluations or time only.

    Returns
    -------
    OptimizeResult
        ``x``, ``fun``, ``x_best``, ``fun_best``, ``nfev``, ``nit``, ``njev``, ``success``,
        ``status``, ``message``, ``history``, and of "adaptive-es" ``runs``, why each of them ended.
        ``success`` says that the search has converged, or seen ``f_target``: ``status`` is 0 then,
        and 1 if a budget is used up.

    Raises
    ------
    ValueError
        For an unknown method or option, one that is given twice, for constraints, and for a ``jac``
        that the method does not use.

    Examples
    --------
    >>> result = minimize(lambda x: (x**2).sum(), [1.0, -1.0], jac=lambda x: x + 0.1,
    ...                   options={"random_state": 0})
    >>> result.success, bool(result.fun < 1e-12)
    (True, True)
    """
    check_surrogate("jac", jac)
    if method in (None, "auto"):
        method = "adaptive-es"
    es = _strategy(method)
    if constraints is not None and np.size(constraints):
        raise ValueError(
            f"{method} has no constraints: give bounds, add a penalty to the objective, or "
            "transform the variables so that all their values are allowed"
        )
    bounds = bounds_for(x0, bounds)
    given = _parameters(method, es, options or {}, {"bounds": bounds, "tol": tol})
    es.set_params(**given)
    surrogate_fn = _with_args(jac, args) if callable(jac) and not is_model(jac) else jac
    return es.fit(_with_args(fun, args), x0, surrogate_fn, callback).result_


def scipy_method(method: str) -> Callable[..., Any]:
    """A function to pass as ``method`` to `scipy.optimize.minimize`.

    There ``jac`` is the surrogate gradient, and ``bounds``, ``tol`` and ``options`` are those of
    `minimize`. Constraints and Hessians are refused.

    Parameters
    ----------
    method : {"adaptive-es", "guided-es", "orthogonal-es", "vanilla-es", "pgpe", "snes", ...}

    Examples
    --------
    >>> import scipy.optimize
    >>> result = scipy.optimize.minimize(
    ...     lambda x: (x**2).sum(), [1.0, -1.0], jac=lambda x: x + 0.1,
    ...     method=scipy_method("guided-es"), options={"max_iter": 300, "random_state": 0})
    >>> bool(result.fun < 1e-2)
    True
    """
    _strategy(method)

    def run(
        fun: Callable[..., Any],
        x0: npt.ArrayLike,
        args: tuple[Any, ...] = (),
        *,
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> Any:
        for name, matrix in (("hess", hess), ("hessp", hessp)):
            if matrix is not None:
                raise ValueError(
                    f"{method} uses no {name}: leave it out; what is known of the gradient is jac"
                )
        if jac is not None and not callable(jac):
            raise ValueError(f"jac={jac!r}: {method} takes a function, the surrogate gradient")
        return minimize(
            fun,
            x0,
            args,
            method=method,
            jac=jac,
            bounds=bounds,
            constraints=constraints,
            callback=callback,
            options=options,
        )

    return run


def estimate_gradient(
    objective: Callable[..., Any],
    x: Any,
    surrogate: Any = None,
    *,
    sigma: float = 0.1,
    n_pairs: int = 8,
    alpha: float = 0.5,
    beta: float | str | None = None,
    **options: Any,
) -> Any:
    """The gradient estimate of one generation, for an optimizer of one's own.

    ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` from 2 P evaluations, with
    ``E[g] = beta Sigma grad f`` for linear and quadratic f.

    Parameters
    ----------
    objective : callable
    x : array-like of shape (n,), or tree
    surrogate : array-like of shape (n,) or (n, k), or tree, optional
        Guided estimate along these; without, isotropic.
    sigma : float
        Standard deviation of each coordinate of a direction.
    n_pairs : int
        P.
    alpha : float
        Share of the variance in the full space.
    beta : float, "auto" or None
        None is ``n`` without a surrogate, which makes g the unbiased gradient of ``E f(x + d)``,
        and "auto" with one.
    **options
        Further parameters of `VanillaES` or `GuidedES`, such as ``random_state``.

    Returns
    -------
    ndarray of shape (n,), or tree
        As ``x`` is, be it a tensor.

    Examples
    --------
    >>> g = estimate_gradient(lambda x: x @ x, [3.0, 4.0], n_pairs=2000, random_state=0)
    >>> bool(np.allclose(g, [6.0, 8.0], atol=0.6))
    True
    """
    if "bounds" in options:
        raise ValueError("bounds: an estimate at one point has none; fold the points yourself")
    check_points_made(objective, x)
    center, tree = planted(x)
    es: AntitheticStrategy
    if surrogate is None:
        es = VanillaES(beta=float(center.size) if beta is None else beta)
    else:
        es = GuidedES(alpha=alpha, beta="auto" if beta is None else beta)
    es.set_params(sigma=sigma, n_pairs=n_pairs, **options)
    seed, state = as_seed(es.random_state), steps.init(es, center)
    assert isinstance(state, GradientState)
    with es.evaluator(objective) as evaluator:
        gradient, _, _ = estimated(es, state, seed, surrogate, evaluator, tree)
    return shown(tree, gradient)


def _strategy(method: str) -> EvolutionStrategy:
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method={method!r} is unknown: take {', '.join(map(repr, METHODS))}")
    return METHODS[method]()


def _parameters(
    method: Any, es: EvolutionStrategy, options: dict[str, Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    """The parameters of a strategy that are given as options, or as arguments that are not None.

    Raises
    ------
    ValueError
        For an option that the strategy does not have, and for one that is given twice.
    """
    known = es.get_params(deep=False)
    named: dict[str, str] = {}  # how each parameter was given
    params: dict[str, Any] = {}
    given = [*options.items(), *(item for item in arguments.items() if item[1] is not None)]
    for name, value in given:
        parameter = _SCIPY.get(name, name)
        if parameter.partition("__")[0] not in known:
            raise ValueError(
                f"{method} has no option {name!r}; it has {', '.join(known)}, and SciPy's "
                f"{', '.join(_SCIPY)}"
            )
        if parameter in named:
            raise ValueError(f"options: {named[parameter]} and {name} are one: give one of them")
        named[parameter] = name
        params[parameter] = int(value) if isinstance(value, bool) and name == "disp" else value
    if "max_iter" not in params and {"max_evals", "max_time"} & params.keys():
        params["max_iter"] = _NO_LIMIT
    return params


def _with_args(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    if not isinstance(args, tuple):
        args = (args,)
    if not args:
        return function

    if "seed" in list(parameters(function))[1 + len(args) :]:
        return lambda x, seed: function(x, *args, seed=seed)
    return lambda x: function(x, *args)
