"""A model of the objective, fitted to what is evaluated anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._config import Configurable, config
from blackbox_es._validation import as_center, as_values, check_count
from blackbox_es.models.archive import Archive, added
from blackbox_es.models.quadratic import Quadratic, fitted

Array = npt.NDArray[Any]

_NUMBERS = 2**22  # in an archive, which checkpoints hold


@config
class SurrogateModel(Configurable):
    """A quadratic model of the last points told; called at a point it gives its gradient there.

    The model is a Gaussian process with a quadratic kernel around the point (see
    `blackbox_es.models.quadratic`): it interpolates where values are smooth, and averages where
    they are rough or noisy. Enough values of a quadratic function determine it. Its gradient is a
    synthetic one (Maheswaranathan et al. 2019): following it alone stalls where the model is wrong,
    so it is for guiding a search, which measures what it is worth.

    Scales do not matter: with values, or points, multiplied by a power of two the direction is the
    same bit for bit. Fitting costs about ``4 m^3 + 2 m^2 n`` multiplications with m points.

    Parameters
    ----------
    n_points : int
        How many points are remembered, the last ones. In many dimensions they are fewer:
        ``2^22 / n``, at least 4.

    Attributes
    ----------
    archive_ : Archive or None
        The points and their values; all that the model depends on.

    Examples
    --------
    >>> import numpy as np
    >>> from blackbox_es import GuidedES
    >>> es = GuidedES(alpha="auto", sigma="auto", learning_rate="auto", random_state=0, max_iter=40)
    >>> es, model = es.start(np.ones(30)), SurrogateModel()
    >>> while not es.stop_reason_:
    ...     X = es.ask(surrogate_grad=model(es.x_))
    ...     values = [x @ x for x in X]
    ...     model.tell(X, values)
    ...     es.tell(X, values)
    >>> bool(es.x_ @ es.x_ < 1e-6)
    True
    """

    n_points: int = 300

    def tell(self, X: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Remember points and their values; those that are not finite are left out.

        Parameters
        ----------
        X : array-like of shape (m, n)
        values : array-like of shape (m,)

        Raises
        ------
        TypeError, ValueError
            For other shapes, what is not real, and points of another dimension than those told
            before; nothing has changed then.
        """
        check_count("n_points", self.n_points)
        points = np.asarray(X)
        if points.dtype.kind not in "fiub":
            raise TypeError(f"X is of dtype {points.dtype}: expected real numbers")
        archive = self.archive_
        n = None if archive is None else archive.X.shape[1]
        if points.ndim != 2 or points.shape[1] != (n or points.shape[1] or 1):
            raise ValueError(
                f"X has shape {points.shape}: expected (m, {n or 'n'}), rows of points"
            )
        if points.dtype != np.float32:
            points = points.astype(np.float64)
        told = as_values(values, points.shape[:1], "values")
        most = min(self.n_points, max(4, _NUMBERS // points.shape[1]))
        self._archive = added(archive, points, told, most)

    def __call__(self, x: npt.ArrayLike) -> Array | None:
        """The gradient of the model at a point, shape (n,); None if too little is known."""
        model = self.at(x)
        if model is None:
            return None
        gradient = model.gradient(model.center)
        return gradient if np.isfinite(gradient).all() else None

    def at(self, x: npt.ArrayLike) -> Quadratic | None:
        """The model around a point, with ``predict`` and ``gradient``; None if there is none.

        Raises
        ------
        TypeError, ValueError
            For what is no finite vector, or one of another dimension than the points told.
        """
        center, archive = as_center(x, "x"), self.archive_
        if archive is None:
            return None
        if center.size != archive.X.shape[1]:
            raise ValueError(f"x has {center.size} coordinates: expected {archive.X.shape[1]}")
        return fitted(archive.X, archive.values, center)

    @property
    def archive_(self) -> Archive | None:
        return vars(self).get("_archive")

    @archive_.setter
    def archive_(self, archive: Archive | None) -> None:
        if not (archive is None or isinstance(archive, Archive)):
            raise TypeError(f"archive_={archive!r:.99}: expected an Archive or None")
        self._archive = archive
