"""How the parameters of a network and its examples lie before the kernels, checked.

The kernels look at no bounds: whatever does not fit is refused here or in `tasks`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.data import Data, writeable
from blackbox_es.neural.kernels import CHUNK, GROUP, TILE, NodePlaces, Places
from blackbox_es.neural.losses import LOSSES, Loss, as_loss
from blackbox_es.neural.network import FlatNetwork, Network

Array = npt.NDArray[Any]

ALIGNMENT = 64  # bytes, the widest register: no load or store straddles two cache lines


def check_center(network: FlatNetwork, theta: Array, X: Array) -> None:
    """Raise ValueError if these are no parameters and inputs of the network, of one real dtype."""
    if theta.dtype not in (np.float32, np.float64):
        raise ValueError(f"theta has dtype {theta.dtype}: expected float32 or float64")
    check_array("theta", theta, (network.n_parameters,), theta.dtype)
    check_array("X", X, (len(X), network.n_inputs), theta.dtype)


def check_array(name: str, array: Array, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Raise ValueError if an array is not of this shape and dtype."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}: expected {shape} and {dtype}"
        )


def targets_and_weights(
    network: FlatNetwork, loss: str | Loss, data: Data, dtype: npt.DTypeLike
) -> tuple[Array, Array]:
    """Labels or numbers, shape (m, 1 or n_outputs), and weights in float64, empty for ones.

    Raises
    ------
    ValueError
        If there is no such loss, or if shapes do not fit.
    """
    if not isinstance(loss, Loss) and (not isinstance(loss, str) or loss not in LOSSES):
        raise ValueError(
            f"loss={loss!r} is unknown: take one of {', '.join(LOSSES)}, which have a value for "
            "each example by itself"
        )
    targets = writeable(np.asarray(data.y, dtype))
    shape = as_loss(loss).target_shape(network.n_outputs)
    check_array("y", targets, (len(data), *shape), dtype)
    weights = np.empty(0)
    if data.weight is not None:
        weights = writeable(np.asarray(data.weight, np.float64))
        check_array("weight", weights, (len(data),), np.float64)
    return targets if shape else targets[:, None], weights


class Layout(NamedTuple):
    """Where the layers of a network lie in a padded vector of its parameters, and in its signs.

    Weights are padded by rows of zeros to whole tiles of inputs.
    """

    fan_in: Array  # (L,) int64
    fan_out: Array  # (L,) int64
    in_parameters: Array  # (L,) int64: where a layer starts
    in_signs: Array  # (L,) int64: where a layer starts in the signs of a pair
    moves: list[tuple[int, int, int]]  # pad by moving numbers start ... stop to target
    size: int  # of a padded vector
    room: int  # for the largest layer whose weights are perturbed; the first one's never are


@lru_cache
def layout_of(network: Network) -> Layout:
    """The layout of the parameters of a network."""
    fan_in, fan_out = np.array(network.shapes).T.copy()
    sizes, factors = (_whole(fan_in) + 1) * fan_out, fan_in + 2 * fan_out
    firsts = np.cumsum(sizes) - sizes
    moves, start = [], 0
    for (n_in, n_out), first in zip(network.shapes, firsts.tolist(), strict=True):
        moves.append((start, start + n_in * n_out, first))
        start += n_in * n_out
        moves.append((start, start + n_out, first + _whole(n_in) * n_out))
        start += n_out
    signs = np.cumsum(factors) - factors
    room = int(sizes[1:].max(initial=0))
    return Layout(fan_in, fan_out, firsts, signs, moves, int(sizes.sum()), room)


def padded(network: Network, vectors: tuple[Array, ...], dtype: npt.DTypeLike) -> Array:
    """These vectors of parameters, padded, and room for a perturbed layer."""
    layout = layout_of(network)
    out = aligned(len(vectors) * layout.size + layout.room, dtype)
    out[: len(vectors) * layout.size] = 0
    for g, vector in enumerate(vectors):
        for start, stop, target in layout.moves:
            first = target + g * layout.size
            out[first : first + stop - start] = vector[start:stop]
    return out


class Later(NamedTuple):
    """The layers of a network but the first, as `Layout` has them; there may be none."""

    fan_in: Array
    fan_out: Array
    in_parameters: Array
    parameters: Array


def later_layers(network: Network, theta: Array) -> Later:
    """What a network does behind its first layer."""
    if len(network.shapes) == 1:
        none = np.empty(0, np.int64)
        return Later(none, none, none, np.empty(0, theta.dtype))
    later = Network(network.layer_sizes[1:], network.activation)
    layout, parameters = layout_of(later), theta[-later.n_parameters :]
    padding = padded(later, (parameters,), theta.dtype)
    return Later(layout.fan_in, layout.fan_out, layout.in_parameters, padding)


@lru_cache
def places_of(network: Network, n_guides: int, n_targets: int) -> Places:
    """Where everything that depends on the examples lies, with so many guides and targets."""
    n_in, n_out = network.shapes[0]
    projected = GROUP if len(network.shapes) > 1 else n_out
    stride = 1 + max(network.layer_sizes[1:])
    heights = [_whole(n_in), n_targets, (1 + n_guides) * n_out, projected]
    heights += [2, CHUNK, 2 * stride, TILE, 1]
    places = Places._make([*np.cumsum([0, *heights]).tolist(), stride])
    return places._replace(linear=places.linear + 1)


@lru_cache
def node_places_of(network: Network, n_pairs: int, n_targets: int) -> NodePlaces:
    """Where everything that depends on the examples lies as activations are moved."""
    _, n_first, *later = network.layer_sizes
    widths = [_whole(n_first), _whole(n_first), later[0], _power(n_pairs)] if later else [0] * 4
    stride = 1 + max(network.layer_sizes[1:])
    heights = [n_targets, n_first, *widths, CHUNK, 2 * stride, TILE]
    places = NodePlaces._make([*np.cumsum([0, *heights]).tolist(), stride])
    return places._replace(linear=places.linear + 1)


def _power(n: int) -> int:
    """The next power of two."""
    return 1 << max(0, n - 1).bit_length()


def _whole(n: Any) -> Any:
    """The next multiple of TILE."""
    return -(-n // TILE) * TILE


def aligned(n: int, dtype: npt.DTypeLike) -> Array:
    """An uninitialised array whose address is a multiple of ALIGNMENT."""
    n_bytes = n * np.dtype(dtype).itemsize
    spare = np.empty(n_bytes + ALIGNMENT, np.uint8)
    skip = -spare.ctypes.data % ALIGNMENT
    return spare[skip : skip + n_bytes].view(dtype)
