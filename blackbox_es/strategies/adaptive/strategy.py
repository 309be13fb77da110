"""A search that needs no settings: evolution and descent take turns, and begin anew elsewhere."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es import box
from blackbox_es._config import config
from blackbox_es._validation import (
    as_values,
    check_choice,
    check_count,
    check_flag,
    check_positive,
)
from blackbox_es.generation import Told
from blackbox_es.shaping import RANK_BASED, Shaping, resolve
from blackbox_es.steps import Plan, State
from blackbox_es.strategies.adaptive import portfolio
from blackbox_es.strategies.adaptive.evolution import Scales, Tolerance
from blackbox_es.strategies.adaptive.portfolio import PortfolioState
from blackbox_es.strategies.adaptive.runs import Ended, Settings
from blackbox_es.strategy import EvolutionStrategy

Array = npt.NDArray[Any]

_FEW = 64  # dimensions up to which a full matrix is learnt by default


@config
class AdaptiveES(EvolutionStrategy):
    """A search that needs no settings: an evolution and a descent take turns.

    The evolution searches with ``d ~ N(0, sigma^2 C)``, sigma and C learnt from ranks. With weights
    w of the better half, steps ``s = sum_p (w_p^+ - w_p^-) z_p`` of mirrored pairs over
    ``sqrt(sum_p (w_p^+ - w_p^-)^2)`` are standard normal if the values say nothing. A path of them
    that is longer than that, or shorter, makes sigma larger or smaller; what the squares ``z z^T``
    of good and bad points and the path have in excess of I goes into C (after Hansen 2016, "The
    CMA evolution strategy: a tutorial", with the multiplicative update of a root of C of Beyer and
    Sendhoff 2017, "Simplify your covariance matrix adaptation evolution strategy"). In few
    dimensions C is a full matrix. In many it is ``D (I + r r^T) D`` with a diagonal D and one row
    r, the path of the center: time and memory O(n).

    The descent is a quasi-Newton one whose slopes are differences of values (Nocedal 1980,
    "Updating quasi-Newton matrices with limited storage"; Gilbert and Lemarechal 1989, "Some
    numerical experiments with variable-storage quasi-Newton algorithms", for the diagonal it
    starts from). On smooth objectives it is far ahead, on rough ones it ends at once.

    While the descent leads it has .92 of the evaluations, else at most half of them, and
    fewer with each descent that ends above what is known. What has converged begins anew
    elsewhere, evolutions by turns with larger populations and with smaller scales (Hansen 2009,
    "Benchmarking a BI-population CMA-ES on the BBOB-2009 function testbed").

    Parameters
    ----------
    sigma : float, array-like of shape (n,) or None
        Standard deviation of each coordinate at the start. A hundred times too small or too large
        costs some evaluations, no more. None is a fifth of the width between two bounds, else 1.
        With bounds n counts the coordinates that are not fixed.
    covariance : {"auto", "full", "diagonal"}
        "auto" is full up to 64 dimensions.
    n_pairs : int or None
        P, mirrored pairs a generation of the evolution: 2 P evaluations, the population size; more
        of them see more of a rough or noisy objective. None is half of ``4 + 3 ln n``, at least 3.
    shaping : {"log_ranks", "nes", "centered_ranks"}
    slopes : bool
        Whether there are descents, and a look at the noise before them: False is an evolution
        alone, with ``2 n_pairs`` points in each generation.
    restarts : {"auto", "bipop", "ipop"} or int
        How often an evolution begins anew, with twice the population ("ipop" and a number) or by
        turns with smaller scales, too ("bipop"). "auto" is "bipop" if there is a limit of
        evaluations or of time, which it uses up, or a target, and else 0.
    tol : float
        A run has converged when all standard deviations are below ``tol sigma``.
    xatol : float or None
        The same as a length, in place of ``tol sigma``.
    fatol : float
        A run has converged when the best values of many generations differ by no more.
    min_sigma : float, array-like of shape (n,) or None
        Standard deviations of coordinates never fall below these in an evolution. Keeps integers
        from freezing (see `blackbox_es.Space`).

    Attributes
    ----------
    runs_ : tuple of Ended
        The runs that have ended: kind, reason, n_evaluations, fun.

    Examples
    --------
    >>> from scipy.optimize import rosen
    >>> es = AdaptiveES(random_state=0).fit(rosen, [0.0, 0.0, 0.0])
    >>> bool(es.fun_ < 1e-12)
    True
    """

    sigma: Any = None
    covariance: str = "auto"
    n_pairs: int | None = None  # type: ignore[assignment]
    shaping: str | Shaping = "log_ranks"
    slopes: bool = True
    restarts: str | int = "auto"
    max_iter: int = 1_000_000
    tol: float = 1e-9
    xatol: float | None = None
    fatol: float = 0.0
    min_sigma: Any = None

    minds_plateaus: ClassVar[bool] = True
    at_start: ClassVar[tuple[str, ...]] = (
        "random_state",
        "sigma",
        "covariance",
        "n_pairs",
        "slopes",
    )

    def pairs(self, n: int) -> int:
        if self.n_pairs is None:
            return max(3, math.floor((4.0 + 3.0 * math.log(n)) / 2.0))
        return super().pairs(n)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        if self.sigma is not None:
            _check_scales(self.sigma, n)
        check_choice("covariance", self.covariance, ("auto", "full", "diagonal"))
        check_flag("slopes", self.slopes)
        if isinstance(self.restarts, str):
            check_choice("restarts", self.restarts, ("auto", "bipop", "ipop"))
        else:
            check_count("restarts", self.restarts, low=0)
        check_positive("tol", self.tol)
        if self.xatol is not None:
            check_positive("xatol", self.xatol, also=" or None")
        if not (isinstance(self.fatol, (int, float)) and 0.0 <= self.fatol < math.inf):
            raise ValueError(f"fatol={self.fatol!r}: expected a number of at least 0")
        if resolve(self.shaping) not in RANK_BASED:
            raise ValueError(f"shaping={self.shaping!r}: AdaptiveES learns from ranks; take one")
        if self.min_sigma is not None:
            given = self.min_sigma if np.ndim(self.min_sigma) else [self.min_sigma] * n
            least = as_values(given, (n,), "min_sigma")
            if not ((least >= 0.0) & (least < math.inf)).all():
                raise ValueError(
                    f"min_sigma={self.min_sigma!r}: expected numbers of at least 0, one or n={n}"
                )

    @property
    def takes_surrogate(self) -> bool:  # type: ignore[override]
        """Whether there are descents that may follow one."""
        return self.slopes

    # -- the three functions ---------------------------------------------------------------------

    def _init(self, x: Array) -> PortfolioState:
        return portfolio.begin(x, self._settings(x), self.slopes)

    def _center(self, state: Any) -> Array:
        return portfolio.center(state)

    def _wants_surrogate(self, state: Any) -> bool:
        return portfolio.wants_surrogate(state)

    def _takes_values(self, state: Any) -> bool:
        return bool(state.turn != "evolution")

    def _n_points(self, state: Any) -> int:
        return portfolio.n_points(state)

    def _ask(self, state: Any, surrogate: Any) -> tuple[State, Plan]:
        if surrogate is not None:
            state = portfolio.shown(state, surrogate)
        if self.max_evals is not None:
            state = portfolio.within(state, self.max_evals - self.n_reevaluations)
        return state, portfolio.plan(state)

    def _tell(self, state: Any, told: Told) -> PortfolioState:
        return portfolio.learn(state, told, self._settings(state.x))

    def _stop(self, state: Any) -> str | None:
        return state.reason  # type: ignore[no-any-return]

    def _has_converged(self) -> bool:
        state: Any = self.state_
        return any(
            run.reason == "tol" and (run.kind == "evolution" or run.fun <= state.kept_fun)
            for run in state.ended
        )

    def _extras(self) -> dict[str, Any]:
        return {"runs": self.runs_}

    def _settings(self, x: Array) -> Settings:
        n = x.size
        full = self.covariance == "full" or (self.covariance == "auto" and n <= _FEW)
        scales = self._scales(x)
        largest = scales if isinstance(scales, float) else float(scales.max())
        x_tol = self.tol * largest if self.xatol is None else self.xatol
        least = self.min_sigma
        if least is None:  # integers of a Space would freeze
            least = getattr(self.bounds, "min_sigma", None)
        least = None if least is None else np.asarray(least, float)
        restarts: Any = self.restarts
        if restarts == "auto":
            limits = (self.max_evals, self.max_time, self.f_target)
            restarts = "bipop" if any(limit is not None for limit in limits) else 0
        return Settings(
            scales,
            self.pairs(n),
            full,
            Tolerance(x_tol, self.fatol, least),
            None if isinstance(restarts, str) else restarts,
            restarts == "bipop",
        )

    def _scales(self, x: Array) -> Scales:
        if self.sigma is not None:
            return float(self.sigma) if np.ndim(self.sigma) == 0 else np.asarray(self.sigma)
        bounds = box.resolve(self.bounds)
        if bounds is None:
            return 1.0
        width = (bounds.high - bounds.low)[bounds.high > bounds.low]
        return np.where(np.isfinite(width), width / 5.0, 1.0).astype(x.dtype)

    @property
    def runs_(self) -> tuple[Ended, ...]:
        return self.state_.ended  # type: ignore[attr-defined, no-any-return]


def _check_scales(sigma: Any, n: int) -> None:
    scales = np.asarray(sigma)
    if scales.dtype.kind not in "fiu" or scales.shape not in ((), (n,)):
        raise ValueError(f"sigma={sigma!r}: expected a positive number, or {n} of them")
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError(f"sigma={sigma!r}: expected positive numbers")
