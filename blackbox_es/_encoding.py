"""Values as JSON and arrays, and back: only known classes, and no code."""

from __future__ import annotations

import builtins
import math
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._config import Configurable
from blackbox_es._value import REGISTRY, is_value, name_of, parts

Array = npt.NDArray[Any]

_CONTAINERS: dict[str, Any] = {"tuple": tuple, "set": set}
_SCALARS = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
            "float16", "float32", "float64")  # fmt: skip


class Arrays:
    """Arrays by name; one that occurs twice is stored once."""

    def __init__(self) -> None:
        self.named: dict[str, Array] = {}
        self._names: dict[int, str] = {}

    def add(self, array: Array) -> str:
        name = self._names.setdefault(id(array), f"array{len(self.named)}")
        self.named[name] = array  # which keeps it alive, and so its id
        return name


def encode(item: Any, arrays: Arrays) -> Any:
    """JSON for ``item``; its arrays are added to ``arrays`` and named in the JSON.

    Raises
    ------
    TypeError
        For what is of no known kind, such as a function of the user's.
    """
    if item is None or isinstance(item, (bool, str)):
        return item
    if isinstance(item, np.generic) and item.dtype.name in _SCALARS:
        return {"scalar": item.dtype.name, "array": arrays.add(np.array(item))}
    if isinstance(item, Integral):
        return int(item)
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else {"float": repr(float(item))}
    if isinstance(item, np.ndarray):
        return {"array": arrays.add(item)}
    if isinstance(item, (list, tuple, set)):
        items = [encode(part, arrays) for part in item]
        return items if isinstance(item, list) else {type(item).__name__: items}
    if isinstance(item, dict):
        return {"dict": [[encode(k, arrays), encode(v, arrays)] for k, v in item.items()]}
    if is_value(item):
        held = {name: encode(part, arrays) for name, part in parts(item).items()}
        return {"value": name_of(type(item)), "fields": held}
    if isinstance(item, Configurable) and _configs().get(name_of(type(item))) is type(item):
        held = {name: encode(p, arrays) for name, p in item.get_params(deep=False).items()}
        return {"config": name_of(type(item)), "fields": held}
    if isinstance(item, type) and vars(builtins).get(str(item.__name__)) == item:
        return {"exception": item.__name__}
    raise TypeError(f"{item!r} cannot be stored in a checkpoint")


def decode(item: Any, arrays: dict[str, Array]) -> Any:
    """What `encode` gave this JSON for; raises anything if it is no such JSON."""
    if isinstance(item, list):
        return [decode(part, arrays) for part in item]
    if not isinstance(item, dict):
        return item
    match next(iter(item)):
        case "scalar":
            return arrays[item["array"]].astype(item["scalar"])[()]
        case "float":
            return float(item["float"])
        case "array":
            return arrays[item["array"]]
        case "dict":
            return {decode(k, arrays): decode(v, arrays) for k, v in item["dict"]}
        case "value":
            return _made(REGISTRY, item["value"], item["fields"], arrays)
        case "config":
            return _made(_configs(), item["config"], item["fields"], arrays)
        case "exception":
            kind = getattr(builtins, item["exception"])
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"{item['exception']} is no exception")
            return kind
        case container:
            return _CONTAINERS[container](decode(item[container], arrays))


def _made(known: dict[str, type], name: str, held: dict[str, Any], arrays: dict[str, Array]) -> Any:
    if name not in known:
        raise KeyError(f"{name} is not known: import the module that defines it first")
    return known[name](**{str(field): decode(part, arrays) for field, part in held.items()})


def _configs() -> dict[str, type]:
    """All configurations that have been imported, by name."""
    found, classes = {}, list(Configurable.__subclasses__())
    for cls in classes:
        classes += cls.__subclasses__()
        found[name_of(cls)] = cls
    return found
