"""The four estimators: whose noise the losses of a window are multiplied by."""

from __future__ import annotations

from typing import ClassVar

from blackbox_es._config import config
from blackbox_es.unrolled.strategy import UnrolledES


@config
class FullES(UnrolledES):
    """Each iteration unrolls whole episodes: no truncation, no bias, and few steps of theta.

    ``truncation`` is the window of the truncated gradient, for ``alpha < 1``.

    Examples
    --------
    >>> from blackbox_es.unrolled.tasks import InfluenceBalancing
    >>> problem = InfluenceBalancing(horizon=200)
    >>> es = FullES(n_pairs=1, learning_rate=0.1, max_iter=40, random_state=0)
    >>> bool(abs(es.fit(problem, [0.5]).x_ - problem.minimum)[0] < 0.1)
    True
    """

    whole: ClassVar[bool] = True


@config
class TruncatedES(UnrolledES):
    """Fresh noise in each window, and its own loss: what came before the window counts for nothing.

    ``E[g]`` is the smoothed truncated gradient, which is biased: theta moves as if each window
    began in a state that it has no influence on.

    Examples
    --------
    >>> from blackbox_es.unrolled.tasks import InfluenceBalancing
    >>> problem = InfluenceBalancing(horizon=200)  # the minimum is below zero
    >>> es = TruncatedES(truncation=1, max_iter=300, random_state=0)
    >>> bool(es.fit(problem, [0.5]).x_[0] > 0.7)
    True
    """


@config
class PersistentES(UnrolledES):
    """Fresh noise in each window, whose loss is multiplied by the sum of the episode's noise.

    ``g = 1/(2P) sum_p (L+_p - L-_p) sum_w e_p,w / sigma^2``: unbiased, since a loss depends on the
    noise of all windows before it, too. Its variance grows with the number of windows (Vicol, Metz,
    Sohl-Dickstein 2021, "Unbiased gradient estimation in unrolled computation graphs with
    persistent evolution strategies").

    Examples
    --------
    >>> from blackbox_es.unrolled.tasks import InfluenceBalancing
    >>> problem = InfluenceBalancing(horizon=200)
    >>> es = PersistentES(truncation=10, n_pairs=20, max_iter=300, random_state=0)
    >>> bool(abs(es.fit(problem, [0.5]).x_ - problem.minimum)[0] < 0.15)
    True
    """

    sums: ClassVar[bool] = True


@config
class NoiseReuseES(UnrolledES):
    """A pair keeps its noise for all windows of an episode.

    ``g = 1/(2P) sum_p (L+_p - L-_p) e_p / sigma^2``: unbiased, and of lower variance than
    `PersistentES` where the gradients of an episode's windows agree (Li, Harrison, Sohl-Dickstein,
    Smith, Metz 2023, "Variance-reduced gradient estimation via noise-reuse in online evolution
    strategies").

    Examples
    --------
    >>> from blackbox_es.unrolled.tasks import InfluenceBalancing
    >>> problem = InfluenceBalancing(horizon=200)
    >>> es = NoiseReuseES(truncation=10, n_pairs=20, max_iter=300, random_state=0)
    >>> bool(abs(es.fit(problem, [0.5]).x_ - problem.minimum)[0] < 0.15)
    True
    """

    holds: ClassVar[bool] = True
