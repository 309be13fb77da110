"""Values as JSON and arrays, and back, for checkpoints; only known classes, no code."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import fields
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.diagnostics import SurrogateQuality
from blackbox_es.generation import Generation
from blackbox_es.optimizers import OPTIMIZERS
from blackbox_es.samplers import Guided, Isotropic, LowRank
from blackbox_es.schedules import Cosine, Exponential, Linear
from blackbox_es.shaping import SHAPINGS

Array = npt.NDArray[Any]

_VALUES = (Cosine, Exponential, Generation, Guided, Isotropic, Linear, LowRank, SurrogateQuality)
_CLASSES: dict[str, Any] = {cls.__name__: cls for cls in (*_VALUES, *OPTIMIZERS.values())}
_CONTAINERS: dict[str, Any] = {"tuple": tuple, "set": set}


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
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(value.get_params(deep=False))
