"""Strategies as JSON and arrays, and back: only known classes, and no code."""

from __future__ import annotations

import math
import os
from collections import deque
from contextlib import suppress
from dataclasses import fields
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import checkpoint
from blackbox_es.diagnostics import SurrogateQuality
from blackbox_es.generation import Generation
from blackbox_es.optimizers import OPTIMIZERS
from blackbox_es.samplers import Guided, Isotropic, LowRank
from blackbox_es.schedules import Cosine, Exponential, Linear
from blackbox_es.shaping import SHAPINGS

Array = npt.NDArray[Any]

_VALUES = (Cosine, Exponential, Generation, Guided, Isotropic, Linear, LowRank, SurrogateQuality)
_CLASSES: dict[str, Any] = {cls.__name__: cls for cls in (*_VALUES, *OPTIMIZERS.values())}
FROM_PARAMETERS = ("_shape", "_optimizer")  # set by start from parameters, so not state
_CONTAINERS: dict[str, Any] = {"tuple": tuple, "set": set}


def save(es: Any, path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a strategy's parameters, as far as they can be written, and its state."""
    derived = {*es.get_params(deep=False), *FROM_PARAMETERS}
    arrays: dict[str, Array] = {}
    params: dict[str, Any] = {}
    for name, value in es.get_params(deep=False).items():
        with suppress(TypeError):  # a function of the user's: `load` asks for it
            params[name] = encode(value, arrays)
    encoded = {name: encode(v, arrays) for name, v in state.items() if name not in derived}
    meta = {"strategy": type(es).__name__, "params": params, "state": encoded}
    checkpoint.write(path, meta, arrays)


def load(
    cls: type, path: str | os.PathLike[str], params: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """A started strategy with the stored parameters, and the stored state.

    Raises
    ------
    CheckpointError
        If the file is no intact checkpoint of this strategy.
    ValueError
        If a parameter that could not be written is not given.
    """
    meta, arrays = checkpoint.read(path)
    if meta.get("strategy") != cls.__name__:
        raise checkpoint.CheckpointError(
            f"{path} is a checkpoint of {meta.get('strategy')}, not of {cls.__name__}"
        )
    try:
        stored = {name: decode(value, arrays) for name, value in meta["params"].items()}
        state = {name: decode(value, arrays) for name, value in meta["state"].items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path} holds no strategy: {error}") from error
    missing = sorted(cls().get_params(deep=False).keys() - stored.keys() - params.keys())
    if missing:
        raise ValueError(
            f"{path} could not hold {', '.join(missing)}: load(path, {missing[0]}=...)"
        )
    es = cls(**(stored | params))
    try:
        es.start(state["x_"])
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path} holds no strategy: {error}") from error
    if state.keys() != es.__dict__.keys() - {*es.get_params(deep=False), *FROM_PARAMETERS}:
        raise checkpoint.CheckpointError(f"{path} holds the state of another version")
    return es, state


def encode(value: Any, arrays: dict[str, Array]) -> Any:
    """JSON for ``value``; its arrays are added to ``arrays`` and named in the JSON.

    Raises
    ------
    TypeError
        For a value of no known kind, such as a function of the user's.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name, "writeable": value.flags.writeable}
    if isinstance(value, list) and len(value) > 0 and all(type(v) is float for v in value):
        return {"floats": encode(np.array(value), arrays)}
    if isinstance(value, (list, tuple, set)):
        items = [encode(item, arrays) for item in value]
        return items if isinstance(value, list) else {type(value).__name__: items}
    if isinstance(value, deque):
        return {"deque": encode(list(value), arrays), "maxlen": value.maxlen}
    if isinstance(value, dict):
        pairs = [[encode(k, arrays), encode(v, arrays)] for k, v in value.items()]
        return {"dict": pairs}
    if type(value).__name__ in _CLASSES and type(value) is _CLASSES[type(value).__name__]:
        return {
            "class": type(value).__name__,
            "fields": {name: encode(v, arrays) for name, v in _fields(value).items()},
        }
    for name, function in SHAPINGS.items():
        if value is function:
            return {"shaping": name}
    raise TypeError(f"{value!r} cannot be stored in a checkpoint")


def decode(value: Any, arrays: dict[str, Array]) -> Any:
    """The value that `encode` gave this JSON.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is no such JSON.
    """
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    match next(iter(value)):
        case "float":
            return float(value["float"])
        case "array":
            array = arrays[value["array"]]
            array.flags.writeable = bool(value["writeable"])
            return array
        case "floats":
            return decode(value["floats"], arrays).tolist()
        case "deque":
            return deque(decode(value["deque"], arrays), maxlen=value["maxlen"])
        case "dict":
            return {decode(k, arrays): decode(v, arrays) for k, v in value["dict"]}
        case "class":
            parts = {name: decode(v, arrays) for name, v in value["fields"].items()}
            return _CLASSES[value["class"]](**parts)
        case "shaping":
            return SHAPINGS[value["shaping"]]
        case container:
            return _CONTAINERS[container](decode(value[container], arrays))


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, _VALUES):
        # what is not compared, such as threads, makes no difference
        return {field.name: getattr(value, field.name) for field in fields(value) if field.compare}
    return dict(value.get_params(deep=False))
