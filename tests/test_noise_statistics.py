"""The statistics of the noise are those of independent draws, at known error rates.

Each law is a function of a generator, so that bad generators can be shown to fail it.
"""

import numpy as np
import pytest
from scipy import stats

from blackbox_es import _jit, noise
from blackbox_es.testing.statistics import assert_distributed, assert_independent, assert_mean

pytestmark = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")

MILLION, QUARTER = (16, 2**16), (16, 2**14)  # pairs, coordinates


def draw(normals, shape=QUARTER, *, key=(1, 2), first_pair=0, stream=noise.FULL_SPACE):
    pairs = (first_pair, first_pair + shape[0])
    return normals(key, pairs, (0, shape[1]), stream).astype(np.float64).ravel()


def shifted(x, lags):
    """``x`` without its end, and a view of all lagged copies of it, one a row."""
    size = x.size - lags
    return x[:size], np.lib.stride_tricks.sliding_window_view(x, size)[1:]


# --- normals -------------------------------------------------------------------------------------


def law_moments(normals):
    """Finds a mean of .011, moments 2, 3, 4 that are off by .016, .042, .11."""
    z = draw(normals, MILLION)
    assert_mean(z, 0.0, std=1.0, detects=0.011)
    assert_mean(z**2, 1.0, std=np.sqrt(2), detects=0.016)
    assert_mean(z**3, 0.0, std=np.sqrt(15), detects=0.042)
    assert_mean(z**4, 3.0, std=np.sqrt(96), detects=0.11)


def law_distribution(normals):
    """Finds a distribution function that is off by .006 somewhere."""
    assert_distributed(draw(normals, MILLION), stats.norm.cdf, detects=0.006)


def law_places(normals):
    """Finds a mean of .1, or a variance off by .14, at one of the 64 places of a block."""
    places = draw(normals, MILLION).reshape(-1, 64).T
    assert_mean(places, 0.0, std=1.0, detects=0.1)
    assert_mean(places**2, 1.0, std=np.sqrt(2), detects=0.14)


def law_serial(normals):
    """Finds correlations of .023 between coordinates up to 130 apart, or between their squares.

    The two normals of a Box-Muller pair are 16 apart, those of neighbouring counters 1, blocks 64.
    """
    for lagged in np.array_split(shifted(draw(normals), 130)[1], 10):
        assert_independent(draw(normals)[: lagged.shape[1]], lagged, detects=0.023)


def law_neighbours(normals):
    """Finds correlations of .023 between pairs, generations, seeds or streams."""
    others = [
        draw(normals, first_pair=1),
        draw(normals, key=(1, 3)),
        draw(normals, key=(2, 2)),
        draw(normals, key=(1 + 2**32, 2)),
        draw(normals, key=(1, 1), first_pair=1),
        draw(normals, key=(2, 1)),
        draw(normals, stream=noise.SUBSPACE),
    ]
    assert_independent(draw(normals), np.stack(others), detects=0.023)


def normals(key, pairs, coordinates, stream):
    return noise.normals(key, pairs, coordinates, stream=stream)


@pytest.mark.parametrize(
    "law", [law_moments, law_distribution, law_places, law_serial, law_neighbours]
)
def test_normals_are_independent_standard_normals(law):
    law(normals)


def equal_sizes(z):
    """Box-Muller partners that differ in sign only: uncorrelated, their squares are not."""
    z = z.reshape(len(z), -1, 2, 2, 16).copy()
    z[..., 1, :] = np.copysign(z[..., 0, :], z[..., 1, :])
    return z.reshape(len(z), -1)


BAD_VALUES = {
    "scaled by 1.01": (law_moments, lambda z: 1.01 * z),
    "shifted by .011": (law_moments, lambda z: z + 0.011),
    "skewed by .042": (law_moments, lambda z: z + 0.042 / 6 * (z**2 - 1)),
    "cut off at 2.5": (law_moments, lambda z: z.clip(-2.5, 2.5)),
    "rounded to .1": (law_distribution, lambda z: z.round(1)),
    "5 % uniform": (law_distribution, lambda z: np.where(z % 1e-3 < 5e-5, z % 1, z)),
    "a dead lane": (law_places, lambda z: z * (np.arange(z.shape[1]) % 64 != 37)),
    "correlated by .023": (law_serial, lambda z: z + 0.023 * np.roll(z, 3, axis=1)),
    "equal sizes": (law_serial, equal_sizes),
    "a short period": (law_serial, lambda z: np.tile(z[:, :128], z.shape[1] // 128)),
}
BAD_COUNTERS = {
    "generation ignored": lambda key, pairs, stream: ((key[0], 0), pairs, stream),
    "seed ignored": lambda key, pairs, stream: ((0, key[1]), pairs, stream),
    "half of the seed": lambda key, pairs, stream: ((key[0] % 2**32, key[1]), pairs, stream),
    "seed plus generation": lambda key, pairs, stream: ((sum(key), 0), pairs, stream),
    "stream ignored": lambda key, pairs, stream: (key, pairs, noise.FULL_SPACE),
    "pairs overlap": lambda key, pairs, stream: (key, (0, pairs[1] - pairs[0]), stream),
    "pair plus generation": lambda key, pairs, stream: (
        (key[0], 0),
        (pairs[0] + key[1], pairs[1] + key[1]),
        stream,
    ),
}


@pytest.mark.parametrize("fault", BAD_VALUES)
def test_bad_values_are_found(fault):
    law, spoil = BAD_VALUES[fault]
    with pytest.raises(AssertionError):
        law(lambda *args: spoil(normals(*args)))


@pytest.mark.parametrize("fault", BAD_COUNTERS)
def test_reused_normals_are_found(fault):
    def reused(key, pairs, coordinates, stream):
        key, pairs, stream = BAD_COUNTERS[fault](key, pairs, stream)
        return normals(key, pairs, coordinates, stream)

    with pytest.raises(AssertionError):
        law_neighbours(reused)


# --- signs ---------------------------------------------------------------------------------------


def law_balance(signs):
    """Finds a mean of .011, and one of .13 at one of the 128 places of a counter."""
    s = signs((1, 2), (0, 64), 2**14, np.float64)
    assert_mean(s.ravel(), 0.0, std=1.0, detects=0.011)
    assert_mean(s.reshape(-1, 128).T, 0.0, std=1.0, detects=0.13)


def law_sign_correlations(signs):
    """Finds correlations of .023 between places up to 260 apart, pairs, generations, seeds."""
    s = signs((1, 2), (0, 16), 2**14, np.float64).ravel()
    others = [
        signs((1, 2), (1, 17), 2**14, np.float64),
        signs((1, 3), (0, 16), 2**14, np.float64),
        signs((2, 2), (0, 16), 2**14, np.float64),
        signs((1, 1), (1, 17), 2**14, np.float64),
    ]
    assert_mean(s * np.reshape(others, (4, -1)), 0.0, std=1.0, detects=0.023)
    head, lagged = shifted(s, 260)
    for part in np.array_split(lagged, 20):
        assert_mean(head * part, 0.0, std=1.0, detects=0.023)


@pytest.mark.parametrize("law", [law_balance, law_sign_correlations])
def test_signs_are_independent_and_fair(law):
    law(noise.signs)


BAD_SIGNS = {
    "biased by .011": (law_balance, lambda s, coin: np.where(coin < 0.011, 1, s)),
    "a stuck bit": (law_balance, lambda s, coin: np.where(np.arange(s.shape[1]) % 128 == 7, 1, s)),
    "runs": (
        law_sign_correlations,
        lambda s, coin: np.where(coin < 0.023, np.roll(s, 1, axis=1), s),
    ),
    "a period of 256": (
        law_sign_correlations,
        lambda s, coin: np.tile(s[:, :256], s.shape[1] // 256),
    ),
    "equal rows": (law_sign_correlations, lambda s, coin: np.broadcast_to(s[0], s.shape)),
}


@pytest.mark.parametrize("fault", BAD_SIGNS)
def test_bad_signs_are_found(fault):
    law, spoil = BAD_SIGNS[fault]
    coin = np.random.default_rng(0)
    with pytest.raises(AssertionError):
        law(
            lambda *args: spoil(noise.signs(*args), coin.random((args[1][1] - args[1][0], args[2])))
        )


def test_generations_are_told_apart_by_their_signs():
    """The same signs in every generation, seed or pair are found."""
    with pytest.raises(AssertionError):
        law_sign_correlations(lambda key, *args: noise.signs((0, 0), *args))
