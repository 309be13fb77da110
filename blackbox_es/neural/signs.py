"""Signs of each example its own, as orthogonal across its pairs as so many can be.

Example i draws one fair sign ``s_ij`` for each number j that is moved. Its pairs take these times
the Walsh functions of j, the rows of a Hadamard matrix,

    xi_ijp = s_ij w_jp,    w_jp = (-1)^(number of bits that j and p share).

A sign by itself is as fair as any, and those of two numbers are uncorrelated, because the signs s
are. But over P = 2^m pairs their mean product is zero unless j and k agree in their last m bits,
and then it is ``s_ij s_ik``. So an estimate ``1/P sum_p xi_p (g' xi_p)`` of a gradient g of n
numbers has an error of mean square ``sum_j sum_k g_k^2`` over those k, about ``(n/P - 1) |g|^2``,
where independent signs have ``(n - 1)/P |g|^2``; with n <= P there is none. With P between two
powers of two it lies between these. Choromanski, Rowland, Sindhwani, Turner, Weller (2018),
"Structured evolution with compact architectures for scalable policy optimization", use such
directions for the weights of a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

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


@lru_cache(maxsize=32)
def walsh(n_pairs: int, numbers: tuple[int, ...]) -> Array:
    """The functions w, 1.0 or -1.0: pairs in rows, read-only."""
    shared = np.arange(n_pairs)[:, None] & np.array(numbers, dtype=np.int64)
    table: Array = 1.0 - 2.0 * (np.bitwise_count(shared) & 1)
    table.flags.writeable = False
    return table


@dataclass(frozen=True, eq=False)
class Signs:
    """The signs xi of some examples, in blocks of 64, and pairs.

    Parameters
    ----------
    own : ndarray of shape (blocks, n, 2), uint32
        The signs s, which pair 0 has, too: 32 examples to a word, lowest bit first, 1 for +1.
    numbers : tuple of int
        The numbers j of what is moved: `of_units` or `of_factors`.
    n_pairs : int

    Examples
    --------
    >>> signs = Signs.drawn((0, 0), 0, n_pairs=4, numbers=of_units(3), n_examples=2)
    >>> signs.sums(0, np.eye(4)[[0, 0]], "float64")  # of the first pair: s
    array([[-1., -1., -1.],
           [-1.,  1., -1.]])
    >>> signs.sums(0, np.eye(4)[[1, 1]], "float64")  # of the next: the odd one the other way
    array([[-1.,  1., -1.],
           [-1., -1., -1.]])
    """

    own: Array
    numbers: tuple[int, ...]
    n_pairs: int

    @classmethod
    def drawn(
        cls, key: Key, pair: int, n_pairs: int, numbers: tuple[int, ...], n_examples: int
    ) -> Self:
        """Those whose signs s are in the words of a pair of the package's."""
        shape = -(-n_examples // BLOCK), len(numbers), _WORDS
        words = sign_words(key, (pair, pair + 1), int(np.prod(shape)))
        return cls(words.reshape(shape), numbers, n_pairs)

    def words(self) -> Array:
        """The words of all pairs: shape (blocks, P, 2 n), those of a number side by side."""
        flips = np.where(walsh(self.n_pairs, self.numbers) < 0, ~np.uint32(0), np.uint32(0))
        words = self.own[:, None] ^ flips[:, :, None]
        return words.reshape(len(self.own), self.n_pairs, -1)

    def sums(self, block: int, weights: Array, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[i, p] xi_ijp`` of the examples i of a block, summed in float64.

        Parameters
        ----------
        block : int
        weights : ndarray of shape (m, P), float64
            Of its m examples.
        dtype : float32 or float64

        Returns
        -------
        ndarray of shape (m, n)
        """
        sums = weights @ walsh(self.n_pairs, self.numbers)
        sums *= self._of_block(block).T[: len(weights)]
        return sums.astype(dtype, copy=False)

    def values(self, block: int) -> Array:
        """The signs xi of a block, in float64: shape (P, n, 64)."""
        return walsh(self.n_pairs, self.numbers)[:, :, None] * self._of_block(block)

    def _of_block(self, block: int) -> Array:
        """The signs s of a block: shape (n, 64)."""
        words = self.own[block].astype("<u4", copy=False).view(np.uint8)
        return np.unpackbits(words, axis=1, bitorder="little") * 2.0 - 1.0
