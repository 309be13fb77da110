"""`ESSearchCV`: hyper-parameters by cross-validation, as scikit-learn's searches do it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV

from blackbox_es._validation import as_seed, check_count
from blackbox_es.model_selection.screening import screened
from blackbox_es.space import Space

Array = npt.NDArray[Any]

_ALL_FAILED = "All the "  # begins scikit-learn's message, which has no class of its own

_BaseSearchCV: Any = GridSearchCV.__base__  # which has no public name


class ESSearchCV(_BaseSearchCV):  # type: ignore[misc]
    """Search hyper-parameters by cross-validation where each evaluation counts.

    As `sklearn.model_selection.RandomizedSearchCV`, but later candidates learn from earlier ones:
    `AdaptiveES` draws, and a Gaussian process fitted to the ranks of all scores chooses what is
    evaluated. That costs about a tenth of a second for a candidate.

    Parameters
    ----------
    estimator : estimator
    space : Space, or dict of str to Real, Log, Int or Choice
        Names of parameters are those of ``estimator.set_params``: ``clf__alpha`` in a pipeline.
    n_iter : int
        Candidates evaluated, all different; fewer if the space has no more.
    batch_size : int
        Candidates that are chosen together once the first ``2 n`` are known. They and their folds
        are evaluated in parallel, but learn nothing from each other: more than 1 pays if there are
        more workers than folds.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in `sklearn.model_selection.GridSearchCV`. With several scores ``refit`` names the one
        that is maximised. A score of NaN is taken for the worst. Candidates whose fits all fail are
        warned of and count, but after the first ``2 n`` ones they are not in ``cv_results_``.
    random_state : int, RandomState or None

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_,
    refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As in `sklearn.model_selection.GridSearchCV`.

    Raises
    ------
    ValueError
        By ``fit``, for names that the estimator does not know, and for several scores of which
        ``refit`` names none.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.svm import SVC
    >>> from blackbox_es import Log
    >>> search = ESSearchCV(SVC(), {"C": Log(0.1, 1e4), "gamma": Log(1e-7, 1)}, n_iter=20,
    ...                     random_state=0)
    >>> bool(search.fit(*load_wine(return_X_y=True)).best_score_ > 0.9)
    True
    """

    def __init__(
        self,
        estimator: Any,
        space: Space | Mapping[str, Any],
        *,
        n_iter: int = 100,
        batch_size: int = 1,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., Any] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = math.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.random_state = random_state

    def _run_search(self, evaluate_candidates: Callable[..., Any]) -> None:
        """The hook of scikit-learn's searches."""
        space = self.space if isinstance(self.space, Space) else Space(self.space)
        check_count("n_iter", self.n_iter)
        check_count("batch_size", self.batch_size)

        def evaluate(candidates: list[dict[str, Any]]) -> Array:
            try:
                scores = self._maximised(evaluate_candidates(candidates))
            except ValueError as error:
                # scikit-learn gives up if all fits of one call fail. At first that is right: the
                # estimator is misconfigured. Later it may be one bad candidate.
                if begun and str(error).lstrip().startswith(_ALL_FAILED):
                    warnings.warn(str(error), FitFailedWarning, stacklevel=2)
                    return np.full(len(candidates), np.nan)
                raise
            begun.append(True)
            return -scores[-len(candidates) :]

        begun: list[bool] = []
        screened(space, evaluate, self.n_iter, self.batch_size, as_seed(self.random_state))

    def _maximised(self, results: dict[str, Any]) -> Array:
        """The scores that are maximised, of all candidates so far."""
        several = "mean_test_score" not in results
        key = f"mean_test_{self.refit}" if several else "mean_test_score"
        if key not in results:
            names = [name[10:] for name in results if name.startswith("mean_test_")]
            raise ValueError(
                f"refit={self.refit!r}: there are several scores; take one of {', '.join(names)}, "
                "which is maximised"
            )
        return np.asarray(results[key])
