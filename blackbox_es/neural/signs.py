"""Signs of each example its own, as orthogonal across its pairs as so many can be.

Example i draws one fair sign ``s_ij`` for each number j that is moved. Its pairs take these times
the Walsh functions of j, the rows of a Hadamard matrix,

    xi_ijp = s_ij w_jp,    w_jp = (-1)^(number of bits that j and p share).

A sign by itself is as fair as before, and those of two numbers are uncorrelated, because the signs s
are. But their mean product over P = 2^m pairs is zero unless j and k agree in their last m bits, and
then it is ``s_ij s_ik``. An estimate ``1/P sum_p xi_p (g' xi_p)`` of a gradient g of n numbers then
has an error of mean square ``sum_j sum_(k = j mod P, not j) g_k^2``, about ``(n/P - 1) |g|^2``, where
independent signs have ``(n - 1)/P |g|^2``: as soon as n <= P there is none. With P between two
powers of two the error is between these. Choromanski, Rowland, Sindhwani, Turner, Weller (2018),
"Structured evolution with compact architectures for scalable policy optimization", use such
directions for the weights of a network.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.kernels import BLOCK
from blackbox_es.noise import Key, sign_words

Array = npt.NDArray[Any]

_WORDS = BLOCK // 32  # of a number, in a block of examples


def of_units(n: int) -> tuple[int, ...]:
    """Numbers j of n units."""
    return tuple(range(n))


def of_factors(fan_in: int, fan_out: int) -> tuple[int, ...]:
    """Numbers of factors a, b and c, for which all entries of ``a b'`` and of c have their own.

    The Walsh function of a product is that of the numbers' exclusive or.
    """
    step = 1 << fan_in.bit_length()
    b = range(0, fan_out * step, step)
    return (*range(fan_in), *b, *(fan_in + j for j in b))


def words_of_pairs(key: Key, first: int, n_pairs: int, numbers: tuple[int, ...], n: int) -> Array:
    """The signs xi of some pairs of n blocks of 64 examples, 32 to a word, lowest bit first.

    Parameters
    ----------
    key : (seed, generation)
    first : int
        The signs s are those of this pair of `noise.sign_words`.
    n_pairs : int
    numbers : tuple of int
        The numbers j of what is moved: `of_units` or `of_factors`.
    n : int

    Returns
    -------
    words : ndarray of shape (n_pairs, 2 n len(numbers)), uint32
        The first two words of a block are those of the first number. Pair 0 has the signs s.
    """
    (own,) = sign_words(key, (first, first + 1), _WORDS * n * len(numbers))
    flips = np.where(_walsh(n_pairs, numbers) < 0, ~np.uint32(0), np.uint32(0))
    words = own.reshape(n, len(numbers), _WORDS) ^ flips[:, None, :, None]
    return words.reshape(n_pairs, -1)


def sums_of_pairs(
    words: Array, weights: Array, numbers: tuple[int, ...], dtype: npt.DTypeLike
) -> Array:
    """``sum_p weights[i, p] xi_ijp`` of each example and number, summed in float64.

    Parameters
    ----------
    words : ndarray of shape (2 ceil(M / 64) len(numbers),), uint32
        The signs s, which pair 0 has, as `words_of_pairs` returns them.
    weights : ndarray of shape (M, P), float64
    numbers : tuple of int
    dtype : float32 or float64

    Returns
    -------
    ndarray of shape (M, len(numbers))
    """
    n, (m, n_pairs) = len(numbers), weights.shape
    bits = np.unpackbits(words.astype("<u4", copy=False).view(np.uint8), bitorder="little")
    plus = bits.reshape(-1, n, BLOCK).swapaxes(1, 2).reshape(-1, n)[:m]
    sums = weights @ _walsh(n_pairs, numbers)
    return np.where(plus, sums, -sums).astype(dtype, copy=False)


@lru_cache(maxsize=32)
def _walsh(n_pairs: int, numbers: tuple[int, ...]) -> Array:
    """The functions w, pairs in rows."""
    shared = np.arange(n_pairs)[:, None] & np.array(numbers, dtype=np.int64)
    walsh = 1.0 - 2.0 * (np.bitwise_count(shared) & 1)
    walsh.flags.writeable = False
    return walsh
