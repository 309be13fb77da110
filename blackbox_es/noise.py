"""Noise is a pure function of (seed, stream, generation, pair, coordinate).

The words come from Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as
easy as 1, 2, 3"). The 128-bit counter is (block of coordinates, pair, generation, stream) and the
64-bit key is the seed, so any part of any direction can be computed anywhere, in any order. Only
IEEE additions, products and square roots are used and none is contracted: every processor gives
the same bits.

Normals are made in blocks of 64 coordinates by 16 counters side by side, which the compiler turns
into vector instructions. They are never stored: `perturb` and `combine` make them again where they
are needed, which costs about what reading them from memory would.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import inline, jit

Array = npt.NDArray[Any]
Key = tuple[int, int]  # (seed, generation)
Range = tuple[int, int]  # (start, stop)

# What a counter's last word says the noise is for. Streams are independent of each other.
FULL_SPACE, SUBSPACE, SIGNS, OBJECTIVE, EXAMPLES, RESTARTS = map(np.uint32, range(6))

LANES = 16  # counters per block: one 512-bit register of 32-bit words
BLOCK = 4 * LANES  # normals per block: a counter gives four words, two words give two normals
TILE = 16 * BLOCK  # coordinates per pass over the pairs, small enough for the first-level cache
SIGN_BLOCK = 128  # signs per counter
_NORMALS_AT_ONCE = 2**24  # by one call of a kernel, which no signal interrupts: some 30 ms
# An argument of its kernel: a constant would tempt the compiler to unroll what it could vectorise.
_MASKS = np.uint32(1) << np.arange(32, dtype=np.uint32)

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inline()
def _philox(c0, c1, c2, c3, k0, k1):
    """Four random words of a counter and a key, all uint32."""
    # In 64 bits throughout: conversions between the rounds would cost more than the rounds.
    c0, c1, c2, c3 = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    k0, k1 = np.uint64(k0), np.uint64(k1)
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1
        c0, c1 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW
        c2, c3 = (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)


# Box-Muller in float32. ln(1+m) on [sqrt(1/2)-1, sqrt(2)-1] is m - m^2/2 + m^3 P(m) (Cephes logf);
# sine and cosine of (pi/2) t on [-1/2, 1/2] are Taylor polynomials, whose error there is < 3e-7.
_f32, _i32, _u32 = np.float32, np.int32, np.uint32
_HALF, _ONE, _MINUS_TWO, _ULP = _f32(0.5), _f32(1.0), _f32(-2.0), _f32(2.0**-24)
_TOP_BIT, _NEXT_BIT = _u32(0x80000000), _u32(0x40000000)
_SQRT_HALF_BITS = _i32(0x3F3504F3)
_LN2_HIGH, _LN2_LOW = _f32(0.693359375), _f32(-2.12194440e-4)
_L8, _L7, _L6 = _f32(7.0376836292e-2), _f32(-1.1514610310e-1), _f32(1.1676998740e-1)
_L5, _L4, _L3 = _f32(-1.2420140846e-1), _f32(1.4249322787e-1), _f32(-1.6668057665e-1)
_L2, _L1, _L0 = _f32(2.0000714765e-1), _f32(-2.4999993993e-1), _f32(3.3333331174e-1)
_Q = math.pi / 2
_S1, _S3, _S5, _S7 = _f32(_Q), _f32(-(_Q**3) / 6), _f32(_Q**5 / 120), _f32(-(_Q**7) / 5040)
_C2, _C4, _C6, _C8 = (
    _f32(s * _Q**p / math.factorial(p)) for s, p in ((-1, 2), (1, 4), (-1, 6), (1, 8))
)


@inline()
def _flipped(x, word):
    """-x if the top bit of the word is set, else x."""
    return _u32(_f32(x).view(_u32) ^ _u32(word & _TOP_BIT)).view(_f32)


@inline()
def _box_muller(word, angle):
    """Two independent float32 normals of two uint32 words, without a branch, a table or a call."""
    u = (_f32(_i32(word >> _u32(8))) + _HALF) * _ULP  # in (0, 1): the radius is at most 5.9
    bits = _f32(u).view(_i32)
    exponent = _i32(_i32(bits - _SQRT_HALF_BITS) >> _i32(23))
    m = _i32(bits - _i32(exponent << _i32(23))).view(_f32) - _ONE
    poly = _L8
    poly = poly * m + _L7
    poly = poly * m + _L6
    poly = poly * m + _L5
    poly = poly * m + _L4
    poly = poly * m + _L3
    poly = poly * m + _L2
    poly = poly * m + _L1
    poly = poly * m + _L0
    square = m * m
    e = _f32(exponent)
    log = m + (poly * m * square + e * _LN2_LOW - _HALF * square) + e * _LN2_HIGH
    radius = math.sqrt(_MINUS_TWO * log)

    t = (_f32(_i32((angle >> _u32(6)) & _u32(0xFFFFFF))) + _HALF) * _ULP - _HALF
    t2 = t * t
    sine = t * (_S1 + t2 * (_S3 + t2 * (_S5 + t2 * _S7)))
    cosine = _ONE + t2 * (_C2 + t2 * (_C4 + t2 * (_C6 + t2 * _C8)))
    # The two upper bits are the quadrant: an odd one swaps them, x < 0 in 1 and 2, y in 2 and 3.
    odd = _u32(angle & _NEXT_BIT) != _u32(0)
    x = sine if odd else cosine
    y = cosine if odd else sine
    return radius * _flipped(x, angle ^ _u32(angle << _u32(1))), radius * _flipped(y, angle)


@inline()
def _fill_block(z, block, pair, generation, stream, k0, k1):
    """The 64 normals of one block, in ``z``."""
    for lane in range(LANES):
        counter = _u32(block * LANES + lane)
        a, b, c, d = _philox(counter, pair, generation, stream, k0, k1)
        z[lane], z[LANES + lane] = _box_muller(a, b)
        z[2 * LANES + lane], z[3 * LANES + lane] = _box_muller(c, d)


@inline()
def _fill_tile(z, tile, size, pair, generation, stream, k0, k1):
    """The normals from coordinate ``tile`` on, ``size`` of them rounded up to whole blocks."""
    for start in range(0, size, BLOCK):
        _fill_block(
            z[start : start + BLOCK], (tile + start) // BLOCK, pair, generation, stream, k0, k1
        )


@inline()
def _add_rows(total, coefs, rows, tile):
    """Add ``coefs @ rows`` from coordinate ``tile`` on, row by row."""
    for j in range(rows.shape[0]):
        c, row = coefs[j], rows[j, tile : tile + total.size]  # a slice, so that the loop vectorises
        for i in range(total.size):
            total[i] += c * row[i]


@inline()
def _multiply(total, scales, tile):
    """Multiply by the scales from coordinate ``tile`` on, if there are any."""
    if scales.size:
        factor = scales[tile : tile + total.size]
        for i in range(total.size):
            total[i] *= factor[i]


@jit()
def _normals(out, k0, k1, stream, index, first_pair, first):
    generation = _u32(index)
    z = np.empty(BLOCK, np.float32)
    n = out.shape[1]
    for p in range(out.shape[0]):
        for block in range(first // BLOCK, (first + n + BLOCK - 1) // BLOCK):
            _fill_block(z, block, _u32(first_pair + p), generation, stream, k0, k1)
            shift = block * BLOCK - first
            for i in range(max(0, -shift), min(BLOCK, n - shift)):
                out[p, shift + i] = z[i]


@jit()
def _signs(out, k0, k1, generation, first_pair, masks):
    one = out.dtype.type(1)
    n = out.shape[1]
    words = np.empty(4 * LANES, np.uint32)
    for p in range(out.shape[0]):
        pair = _u32(first_pair + p)
        for first in range(0, n, LANES * SIGN_BLOCK):
            for lane in range(LANES):
                counter = _u32(first // SIGN_BLOCK + lane)
                a, b, c, d = _philox(counter, pair, generation, SIGNS, k0, k1)
                words[4 * lane], words[4 * lane + 1] = a, b
                words[4 * lane + 2], words[4 * lane + 3] = c, d
            last = min(n, first + LANES * SIGN_BLOCK)
            for w in range((last - first + 31) // 32):
                word = words[w]
                row = out[p, first + 32 * w : min(first + 32 * w + 32, last)]
                for i in range(row.size):
                    row[i] = one if (word & masks[i]) != _u32(0) else -one


@jit()
def _sign_words(out, k0, k1, generation, first_pair):
    a, b = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32)
    c, d = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32)
    for p in range(out.shape[0]):
        pair = _u32(first_pair + p)
        for start in range(0, out.shape[1], LANES):
            for lane in range(LANES):
                counter = _u32(start + lane)
                words = _philox(counter, pair, generation, SIGNS, k0, k1)
                a[lane], b[lane], c[lane], d[lane] = words
            for i in range(start, min(start + LANES, out.shape[1])):
                lane = i - start
                out[p, i, 0], out[p, i, 1] = a[lane], b[lane]
                out[p, i, 2], out[p, i, 3] = c[lane], d[lane]


@jit()
def _perturb(
    points, center, scale, scales, coefs, subspace, k0, k1, index, first_pair, start, stop
):
    generation = _u32(index)
    z, directions = np.empty(TILE, np.float32), np.empty(TILE, center.dtype)
    s = center.dtype.type(scale)
    for tile in range(start, stop, TILE):
        c = center[tile : tile + TILE]
        d = directions[: c.size]
        for p in range(points.shape[1]):
            _fill_tile(z, tile, c.size, _u32(first_pair + p), generation, FULL_SPACE, k0, k1)
            for i in range(d.size):
                d[i] = s * z[i]
            _multiply(d, scales, tile)
            _add_rows(d, coefs[p], subspace, tile)
            plus, minus = points[0, p, tile : tile + TILE], points[1, p, tile : tile + TILE]
            for i in range(d.size):
                plus[i] = c[i] + d[i]
                minus[i] = c[i] - d[i]


@jit()
def _combine(out, weights, scale, scales, coefs, subspace, k0, k1, index, start, stop):
    generation = _u32(index)
    z, sums = np.empty(TILE, np.float32), np.empty(TILE, np.float64)
    for tile in range(start, stop, TILE):
        total = sums[: min(TILE, out.size - tile)]
        total[:] = 0.0
        for p in range(weights.size):
            _fill_tile(z, tile, total.size, _u32(p), generation, FULL_SPACE, k0, k1)
            w = weights[p]
            for i in range(total.size):
                total[i] += w * z[i]
        for i in range(total.size):
            total[i] *= scale
        _multiply(total, scales, tile)
        _add_rows(total, coefs, subspace, tile)
        out[tile : tile + TILE] = total


@jit()
def _squares(out, weights, k0, k1, generation, start, stop):
    z = np.empty(TILE, np.float32)
    for tile in range(start, stop, TILE):
        total = out[tile : tile + TILE]
        total[:] = 0.0
        for p in range(weights.size):
            _fill_tile(z, tile, total.size, _u32(p), generation, FULL_SPACE, k0, k1)
            w = weights[p]
            for i in range(total.size):
                square = np.float64(z[i]) * np.float64(z[i])
                total[i] += w * square


@lru_cache(maxsize=8)
def split(seed: int) -> tuple[np.uint32, np.uint32]:
    """The two key words of a seed, 0 <= seed < 2**64."""
    return np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)


@jit()
def _words(c0, c1, c2, c3, k0, k1):
    return _philox(c0, c1, c2, c3, k0, k1)


def words(counter: tuple[int, int, int, int], seed: int) -> tuple[int, ...]:
    """Four random words: Philox4x32-10 of a 128-bit counter and a 64-bit seed.

    Examples
    --------
    >>> [hex(word) for word in words((0, 0, 0, 0), seed=0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    out = _words(*(*map(np.uint32, counter), *split(seed)))
    return tuple(int(word) for word in out)


def integer(key: Key, pair: int, stream: np.uint32) -> int:
    """One uniform integer in [0, 2**32), to seed another generator with."""
    seed, generation = key
    return words((0, pair, generation, int(stream)), seed)[0]


@lru_cache(maxsize=4)  # the same for all points of a generation, as a rule
def user_seed(key: Key, index: int) -> int:
    """A seed for the user's generators: below 2**31, which all of them take."""
    return integer(key, index, OBJECTIVE) & 0x7FFFFFFF


def normals(key: Key, pairs: Range, coordinates: Range, *, stream: np.uint32 = FULL_SPACE) -> Array:
    """Independent standard normals, one row per pair: directions before scaling.

    Parameters
    ----------
    key : (seed, generation)
        ``0 <= seed < 2**64`` and ``0 <= generation < 2**32``.
    pairs, coordinates : (start, stop)
        Any part can be asked for alone: its values are those of the whole.
    stream : uint32
        What the noise is for; streams are independent.

    Returns
    -------
    ndarray of shape (stop - start of pairs, stop - start of coordinates), float32
        24 bits of resolution; no value is beyond +-5.9.

    Examples
    --------
    >>> whole = normals((0, 3), (0, 4), (0, 1000))
    >>> bool((whole[2:, 70:90] == normals((0, 3), (2, 4), (70, 90))).all())
    True
    """
    out = np.empty((pairs[1] - pairs[0], coordinates[1] - coordinates[0]), np.float32)
    _normals(out, *split(key[0]), stream, key[1], pairs[0], coordinates[0])
    return out


def signs(key: Key, pairs: Range, size: int, dtype: npt.DTypeLike) -> Array:
    """Independent fair signs, +1 or -1, one row of ``size`` per pair.

    Examples
    --------
    >>> signs((0, 0), (0, 2), 3, "float32").shape
    (2, 3)
    """
    out = np.empty((pairs[1] - pairs[0], size), dtype)
    _signs(out, *split(key[0]), np.uint32(key[1]), pairs[0], _MASKS)
    return out


def sign_words(key: Key, pairs: Range, size: int) -> Array:
    """The signs of `signs`, 32 to a word, lowest bit first: 1 is +1, 0 is -1.

    Returns
    -------
    ndarray of shape (n_pairs, size), uint32

    Examples
    --------
    >>> format(sign_words((0, 0), (0, 1), 1)[0, 0], "032b")[::-1][:5]
    '00101'
    >>> signs((0, 0), (0, 1), 5, int).tolist()
    [[-1, -1, 1, -1, 1]]
    """
    out = np.empty((pairs[1] - pairs[0], -(-size // 4), 4), np.uint32)
    _sign_words(out, *split(key[0]), np.uint32(key[1]), pairs[0])
    return out.reshape(len(out), 4 * out.shape[1])[:, :size]


def _spans(n: int, n_pairs: int) -> list[Range]:
    """Ranges of coordinates, each for one call of a kernel: a signal waits for no more than one."""
    if n * n_pairs <= _NORMALS_AT_ONCE:
        return [(0, n)]
    size = TILE * max(1, _NORMALS_AT_ONCE // (TILE * n_pairs))
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def perturb(
    center: Array,
    scale: float,
    scales: Array,
    coefs: Array,
    subspace: Array,
    key: Key,
    pairs: Range,
) -> Array:
    """``center + d`` and ``center - d``, ``d = scale scales z + coefs @ subspace``, z normal.

    Parameters
    ----------
    center : ndarray of shape (n,), float32 or float64
    scale : float
    scales : ndarray of shape (n,), dtype of the center
        One for each coordinate; empty for ones.
    coefs : ndarray of shape (n_pairs, k), dtype of the center
    subspace : ndarray of shape (k, n), dtype of the center; k may be 0
    key : (seed, generation)
    pairs : (start, stop)

    Returns
    -------
    ndarray of shape (2, n_pairs, n), dtype of the center
        One pass over memory: z is made block by block and not stored.
    """
    points = np.empty((2, pairs[1] - pairs[0], center.size), center.dtype)
    k0, k1 = split(key[0])
    for span in _spans(center.size, pairs[1] - pairs[0]):
        _perturb(points, center, scale, scales, coefs, subspace, k0, k1, key[1], pairs[0], *span)
    return points


def combine(
    weights: Array, scale: float, scales: Array, coefs: Array, subspace: Array, key: Key
) -> Array:
    """``scale scales sum_p weights[p] z_p + coefs @ subspace``: the sum over directions.

    Parameters
    ----------
    weights : ndarray of shape (n_pairs,), float64
    scale : float
    scales : ndarray of shape (n,), float32 or float64
        One for each coordinate; empty for ones.
    coefs : ndarray of shape (k,), float64
        Already summed over the pairs.
    subspace : ndarray of shape (k, n), float32 or float64; k may be 0
    key : (seed, generation)

    Returns
    -------
    ndarray of shape (n,), dtype of the subspace
        Summed in float64 in the order of the pairs, whatever made the weights.
    """
    out = np.empty(subspace.shape[1], subspace.dtype)
    k0, k1 = split(key[0])
    for span in _spans(out.size, weights.size):
        _combine(out, weights, scale, scales, coefs, subspace, k0, k1, key[1], *span)
    return out


def squares(weights: Array, n: int, key: Key) -> Array:
    """``sum_p weights[p] z_p^2``, coordinate by coordinate, of the normals of `perturb`.

    Parameters
    ----------
    weights : ndarray of shape (n_pairs,), float64
    n : int
    key : (seed, generation)

    Returns
    -------
    ndarray of shape (n,), float64
        Summed in the order of the pairs.

    Examples
    --------
    >>> squares(np.full(10_000, 1e-4), 3, key=(0, 0)).round(1)
    array([1., 1., 1.])
    """
    out = np.empty(n)
    for span in _spans(n, weights.size):
        _squares(out, weights, *split(key[0]), np.uint32(key[1]), *span)
    return out
