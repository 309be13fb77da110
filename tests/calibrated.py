"""Statistical assertions whose error rates are known, in both directions.

``FALSE_ALARM`` is the probability, over seeds, that one assertion fails on correct code. There are
fewer than a hundred, and skewness raises the rate of a few to some 50 times that, so that less
than one seed in a million fails the suite. (The seeds are fixed: what passes keeps passing.) Each
assertion also states in ``detects`` the smallest departure that it must find with probability
``1 - MISS``, and raises ValueError, which no test expects, if the sample is too small for that.
"""

import numpy as np
from scipy import stats

FALSE_ALARM = 1e-9
MISS = 1e-6


def assert_mean(sample, expected, *, std=None, detects):
    """The mean is as expected, for each row of the sample (corrected for their number).

    ``std`` is that of one observation; None takes the sample's.
    """
    rows = np.reshape(sample, (-1, np.shape(sample)[-1]))
    error = np.reshape(rows.std(axis=1) if std is None else std, -1) / np.sqrt(rows.shape[1])
    limit = stats.norm.isf(FALSE_ALARM / 2 / len(rows))
    require_power(error.max() * (limit + stats.norm.isf(MISS)), detects)
    off = np.abs(rows.mean(axis=1) - np.reshape(expected, -1))
    worst = np.argmax(off - limit * error)
    assert (off <= limit * error).all(), (
        f"row {worst} is off by {off[worst]:.3g}, {limit:.3g} standard errors"
    )


def assert_distributed(sample, cdf, *, detects):
    """Independent draws have this distribution function (Kolmogorov-Smirnov, DKW bounds).

    ``detects`` is a distance between distribution functions.
    """
    allowed, missed = (np.sqrt(np.log(2 / rate) / 2 / len(sample)) for rate in (FALSE_ALARM, MISS))
    require_power(allowed + missed, detects)
    distance = stats.kstest(sample, cdf).statistic
    assert distance <= allowed, f"at a distance of {distance:.3g}, allowed {allowed:.3g}"


def assert_independent(x, y, *, detects):
    """Standard normals x and y have uncorrelated values and squares, in each row.

    ``detects`` is a correlation.
    """
    products = np.stack([x * y, (x * x - 1) * (y * y - 1) / 2])  # both of variance one
    assert_mean(products, 0.0, std=1.0, detects=detects)


def require_power(needed, detects):
    if needed > detects:
        raise ValueError(f"the sample can only detect {needed:.3g}, not {detects:.3g}")
