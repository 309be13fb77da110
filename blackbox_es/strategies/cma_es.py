"""CMA-ES of the package cmaes, in the shell of all strategies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._products import mix
from blackbox_es._validation import check_count, check_positive
from blackbox_es._value import Matrix, Positive, Vector, value
from blackbox_es.generation import Told
from blackbox_es.natural_strategy import usual_pairs
from blackbox_es.samplers import Affine
from blackbox_es.steps import Plan, State
from blackbox_es.strategy import EvolutionStrategy

Array = npt.NDArray[Any]

# What a search of cmaes goes on from, and has no public way to be given.
_PATHS = ("_p_sigma", "_pc", "_g")
_LARGEST = 1e32  # of a coordinate, for cmaes


@value
class CMAState(State):
    """A center, the scale and shape of the search, and its two evolution paths."""

    sigma: Positive
    covariance: Matrix
    path_of_sigma: Vector
    path: Vector


@config
class CMAES(EvolutionStrategy):
    """Search with ``d ~ N(0, sigma^2 C)``, sigma and C learnt from ranks and paths, by cmaes.

    The updates are those of the package ``cmaes``, which is to be installed (``pip install
    cmaes``): weighted recombination, cumulative step-size adaptation, rank-one, rank-mu and active
    updates (Hansen 2016, "The CMA evolution strategy: a tutorial"; Nomura, Shibata 2024, "cmaes: a
    simple yet practical Python library for CMA-ES"). The normals are this package's, so that
    generations, trials, workers, failures and saving are what they are for all strategies; a point
    that failed counts as the worst. Directions are not mirrored. Memory is O(n^2), time O(n^3) for
    a generation; bits may depend on the threads of LAPACK.

    Parameters
    ----------
    sigma : float
        Standard deviation of each coordinate at the start.
    n_pairs : int or None
        Half of the population size, at least 2. None is half of ``4 + floor(3 ln n)``, rounded up.

    Attributes
    ----------
    sigma_ : float
        The scale reached.

    Examples
    --------
    >>> es = CMAES(max_iter=200, random_state=0)  # doctest: +SKIP
    >>> es = es.fit(lambda x: x[0]**2 + 100 * x[1]**2, [1.0, 1.0])  # doctest: +SKIP
    >>> bool(es.fun_ < 1e-12)  # doctest: +SKIP
    True
    """

    sigma: float = 0.1
    n_pairs: int | None = None  # type: ignore[assignment]

    at_start: ClassVar[tuple[str, ...]] = ("random_state", "sigma")

    def _init(self, x: Array) -> CMAState:
        n, zero = x.size, np.zeros_like(x)
        return CMAState(x, 0, float(self.sigma), np.eye(n, dtype=x.dtype), zero, zero)

    def _ask(self, state: Any, surrogate: Any) -> tuple[State, Plan]:
        values, vectors = np.linalg.eigh(state.covariance.astype(float))
        # The symmetric root: it does not depend on the signs of eigenvectors.
        root = mix(vectors * np.sqrt(np.maximum(values, 0.0)), np.ascontiguousarray(vectors.T))
        matrix = (state.sigma * root).astype(state.x.dtype)
        return state, Plan(Affine(matrix), 2 * self.pairs(state.x.size), mirrored=False)

    def _tell(self, state: Any, told: Told) -> Any:
        generation, dtype = told.generation, state.x.dtype
        n_points = max(generation.n_pairs, 2 * self.pairs(state.x.size))
        points = generation.sampler.perturb(state.x, generation.key, (0, n_points))[0].astype(float)
        if not np.abs(points).max() < _LARGEST:
            return replace(state, x=np.full_like(state.x, np.nan))  # a step that is not taken
        values = np.full(n_points, np.inf)
        known = slice(None) if told.valid is None else told.valid.nonzero()[0]
        values[: generation.n_pairs][known] = told.utilities[0, known]
        if (values == values[0]).all():  # nothing is better than anything else
            return replace(state, t=state.t + 1)
        cma = _cma(state, n_points)
        cma.tell(list(zip(points, values.tolist(), strict=True)))
        found = vars(cma)
        sigma = max(float(found["_sigma"]), 5e-324)
        return CMAState(
            cma.mean.astype(dtype),
            state.t + 1,
            sigma,
            *(found[name].astype(dtype) for name in ("_C", "_p_sigma", "_pc")),
        )

    def pairs(self, n: int) -> int:
        return usual_pairs(n) if self.n_pairs is None else super().pairs(n)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_positive("sigma", self.sigma)
        check_count("n_pairs", self.n_pairs, low=2, optional=True)
        _package()

    @property
    def sigma_(self) -> float:
        state: Any = self.state_
        return state.sigma  # type: ignore[no-any-return]


def _package() -> Any:
    """The package, which is optional."""
    try:
        import cmaes
    except ImportError as error:
        raise ImportError(
            "CMAES needs the package cmaes: pip install 'blackbox-es[cmaes]', or take "
            "AdaptiveES(slopes=False), which learns a covariance matrix, too"
        ) from error
    return cmaes


def _cma(state: CMAState, n_points: int) -> Any:
    """The optimizer of cmaes where a search is."""
    mean, covariance = state.x.astype(float), state.covariance.astype(float)
    cma = _package().CMA(mean, state.sigma, population_size=n_points, cov=covariance)
    paths = state.path_of_sigma.astype(float), state.path.astype(float), state.t
    missing = {*_PATHS} - vars(cma).keys()
    if missing:
        raise ImportError(
            f"this version of cmaes has no {', '.join(sorted(missing))}: take cmaes 0.13"
        )
    vars(cma).update(zip(_PATHS, paths, strict=True))
    return cma
