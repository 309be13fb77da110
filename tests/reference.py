"""Slow, obvious implementations to compare the package with. None of the package's code is used."""

import math

import numpy as np

# --- noise ---------------------------------------------------------------------------------------

FULL_SPACE, SUBSPACE, SIGNS = 0, 1, 2


def philox(counter, key):
    """Philox4x32-10 as printed in Salmon et al. 2011, in Python's integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def key_words(seed):
    return seed % 2**32, seed // 2**32


def uniform(word):
    """The upper 24 bits plus one half, as float32 has it, in (0, 1]."""
    return np.float64(np.float32((word >> 8) + 0.5)) / 2**24


def box_muller(word, angle):
    """Two normals in float64. The angle: quarter turns (2 bits), then a centred fraction."""
    radius = np.sqrt(-2 * np.log(uniform(word)))
    fraction = uniform((angle << 2) & 0xFFFFFFFF) - 0.5
    turn = (angle >> 30) + fraction  # in quarters; cosine and sine by their symmetries, to rounding
    c, s = np.cos(math.pi / 2 * fraction), np.sin(math.pi / 2 * fraction)
    cosine = np.choose(angle >> 30, [c, -s, -c, s])
    sine = np.choose(angle >> 30, [s, c, -s, -c])
    assert np.allclose(cosine, np.cos(math.pi / 2 * turn), atol=1e-15)
    return radius * cosine, radius * sine


def normals(key, pairs, coordinates, stream=FULL_SPACE):
    """Coordinate by coordinate: block of 64 = 16 counters x 4 normals, counter-minor."""
    seed, generation = key
    out = np.empty((pairs[1] - pairs[0], coordinates[1] - coordinates[0]))
    for row, pair in enumerate(range(*pairs)):
        for column, i in enumerate(range(*coordinates)):
            block, place = divmod(i, 64)
            which, lane = divmod(place, 16)
            words = philox((16 * block + lane, pair, generation, stream), key_words(seed))
            first = 0 if which < 2 else 2
            out[row, column] = box_muller(words[first], words[first + 1])[which % 2]
    return out


def signs(key, pairs, size):
    """Bit i of the 128 bits of a counter, lowest first: 1 is +1, 0 is -1."""
    seed, generation = key
    out = np.empty((pairs[1] - pairs[0], size))
    for row, pair in enumerate(range(*pairs)):
        for i in range(size):
            words = philox((i // 128, pair, generation, SIGNS), key_words(seed))
            out[row, i] = 1 if words[i % 128 // 32] >> (i % 32) & 1 else -1
    return out


def directions(scale, scales, z, coefs, rows):
    """``scale scales z + coefs @ rows`` in the dtype of the rows, terms from left to right."""
    d = rows.dtype.type(scale) * z.astype(rows.dtype)
    if scales.size:
        d *= scales
    for j, row in enumerate(rows):
        d += coefs[:, j, None] * row
    return d


def combine(weights, scale, scales, z, coefs, rows):
    """``scale scales (weights @ z) + coefs @ rows`` in float64, pairs in their order."""
    total = np.zeros(z.shape[1])
    for w, row in zip(weights, z, strict=True):
        total += w * row
    total *= scale
    if scales.size:
        total *= scales
    for c, row in zip(coefs, rows, strict=True):
        total += c * row
    return total.astype(rows.dtype)


def squares(weights, z):
    """``weights @ z^2`` in float64, pairs in their order."""
    total = np.zeros(z.shape[1])
    for w, row in zip(weights, z.astype(np.float64), strict=True):
        total += w * (row * row)
    return total


# --- products ------------------------------------------------------------------------------------


def weighted_sum(weights, rows, scale):
    """``weights @ (scale rows)`` in float64, in the order of the rows."""
    total = np.zeros(rows.shape[1])
    for w, row in zip(weights, rows.astype(np.float64), strict=True):
        total += w * (row * scale)
    return total


def unit(vector):
    """The vector at length 1 in float64, scaled by its largest entry; None if that says nothing."""
    vector = vector.astype(np.float64)
    if not np.isfinite(vector).all() or not vector.any():
        return None
    vector = vector / np.abs(vector).max()
    return vector / np.linalg.norm(vector)


# --- estimates -----------------------------------------------------------------------------------


def shape(alpha, rows):
    """``Sigma = alpha/n I + (1-alpha)/k U U^T`` with orthonormal rows ``U^T``: of trace 1."""
    k, n = rows.shape
    return alpha / n * np.eye(n) + (1 - alpha) / k * rows.T @ rows


def covariance(sigma, alpha, rows):
    """``n sigma^2 Sigma``: sigma is the root mean squared deviation of a coordinate."""
    return rows.shape[1] * sigma**2 * shape(alpha, rows)


def antithetic_gradient(f, x, directions, sigma, beta):
    """``beta / (2 n sigma^2 P) sum_p d_p (f(x + d_p) - f(x - d_p))``."""
    total = sum(d * (f(x + d) - f(x - d)) for d in directions)
    return beta / (2 * x.size * sigma**2 * len(directions)) * total


def regress(differences, latent):
    """What a regression of latents on the differences leaves, in units of the largest."""
    known = differences != 0
    largest = np.abs(differences).max()
    y, z = differences[known] / largest, latent[known].astype(float)
    left = z - np.outer(y, y @ z / (y @ y))
    excess = (y**2 * ((z**2).sum(axis=1) - z.shape[1])).sum()
    return left.T @ left, known.sum(), largest, y @ y, excess


# --- shaping -------------------------------------------------------------------------------------


def by_rank(values, utilities):
    """``utilities[k]`` for the k-th smallest value, averaged over equal values."""
    flat = values.ravel()
    out = [
        np.mean([utilities[k] for k in range((flat < v).sum(), (flat <= v).sum())]) for v in flat
    ]
    return np.reshape(out, values.shape)


def centered_ranks(values):
    m = values.size
    return by_rank(values, [k / (m - 1) - 0.5 for k in range(m)])


def nes(values):
    m = values.size
    best_first = [max(0.0, math.log(m / 2 + 1) - math.log(k)) for k in range(1, m + 1)]
    return by_rank(values, [1 / m - u / sum(best_first) for u in best_first])


def log_ranks(values):
    m = values.size
    return by_rank(values, [math.log(k) - math.log((m + 1) / 2) for k in range(1, m + 1)])


# --- optimizers: each yields the centers after every gradient ------------------------------------


def sgd(x, gradients, rate, momentum=0.0):
    v = 0.0
    for g in gradients:
        v = momentum * v + g
        x = x - rate * v
        yield x


def adam(x, gradients, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Algorithm 1 of Kingma and Ba 2015."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        x = x - rate * m_hat / (np.sqrt(v_hat) + epsilon)
        yield x


def clipup(x, gradients, rate, momentum=0.9, max_speed=None):
    """Algorithm 1 of Toklu, Liskowski and Srivastava 2020, downhill."""
    limit = 2 * rate if max_speed is None else max_speed
    v = 0.0
    for g in gradients:
        v = momentum * v + rate * g / np.linalg.norm(g)
        speed = np.linalg.norm(v)
        v = limit * v / speed if speed > limit else v
        x = x - v
        yield x
