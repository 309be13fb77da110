"""Searches as JSON and arrays, and back: only known classes, and no code.

What is read is not trusted: every value is checked against the types that its class declares,
the parts against each other, and all of it against the parameters.
"""

from __future__ import annotations

import builtins
import math
import os
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import checkpoint, steps
from blackbox_es._config import Configurable
from blackbox_es._pending import Pending
from blackbox_es._record import HISTORY, Record
from blackbox_es._search import STOP_REASONS, Search
from blackbox_es._validation import as_center, as_seed
from blackbox_es._value import REGISTRY, check, freeze, is_value, name_of, parts, same
from blackbox_es.box import Box
from blackbox_es.checkpoint import CheckpointError
from blackbox_es.generation import Generation
from blackbox_es.shaping import SHAPINGS
from blackbox_es.steps import State

Array = npt.NDArray[Any]

_CONTAINERS: dict[str, Any] = {"tuple": tuple, "set": set}
_SCALARS = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
            "float16", "float32", "float64")  # fmt: skip


# -- files ---------------------------------------------------------------------------------------


def save(es: Any, path: str | os.PathLike[str], search: Search) -> None:
    """Write a strategy's parameters, as far as they can be written, and its search."""
    arrays = _Arrays()
    params: dict[str, Any] = {}
    for name, given in es.get_params(deep=False).items():
        with suppress(TypeError):  # a function of the user's: `load` asks for it
            params[name] = encode(_plain(name, given, search), arrays)
    record = search.record.compact()
    history = {name: record.rows[name] for name in HISTORY.names or ()}
    pending = search.pending
    meta = {
        "strategy": type(es).__name__,
        "params": params,
        "seed": search.seed,
        "elapsed": time.perf_counter() - search.begun,
        "stop_reason": search.stop_reason,
        "state": encode(search.state, arrays),
        "record": encode({**parts(record), "rows": history}, arrays),
        "pending": pending and encode(
            [pending.generation, pending.before, np.array([*pending.told], np.int64),
             np.array([*pending.told.values()], np.float64)], arrays),
    }  # fmt: skip
    checkpoint.write(path, meta, arrays.named)


def load(
    cls: type[Configurable], path: str | os.PathLike[str], params: dict[str, Any]
) -> tuple[Any, Search]:
    """A strategy with the stored parameters, as far as no others are given, and its search.

    Raises
    ------
    CheckpointError
        If the file is no intact checkpoint of this strategy.
    ValueError
        If a parameter that could not be written is not given.
    """
    meta, arrays = checkpoint.read(path)
    if meta.get("strategy") != cls.__name__:
        raise CheckpointError(
            f"{path} is a checkpoint of {meta.get('strategy')!s:.99}, not of {cls.__name__}"
        )
    try:
        stored = {str(name): decode(item, arrays) for name, item in meta["params"].items()}
        es: Any = cls(**stored)
        search = _search(es, meta, arrays)
    except Exception as error:  # hostile contents get a dozen types out of innocent code
        raise CheckpointError(f"{path} holds no search: {error}") from error
    missing = sorted(cls().get_params(deep=False).keys() - stored.keys() - params.keys())
    if missing:
        raise ValueError(
            f"{path} could not hold {', '.join(missing)}: load(path, {missing[0]}=...)"
        )
    Configurable.set_params(es, **params)
    if "random_state" not in stored:  # a generator; what it gave is known
        search = search._replace(fixed=search.fixed | {"random_state": es.random_state})
    return es, search


def _search(es: Any, meta: dict[str, Any], arrays: dict[str, Array]) -> Search:
    """The stored search; raises if its parts are not what they should be, or do not fit."""
    seed, elapsed, reason = meta["seed"], meta["elapsed"], meta["stop_reason"]
    if type(seed) is not int or as_seed(seed) != seed:
        raise ValueError(f"seed {seed!r:.99} is invalid")
    if type(elapsed) is not float or not 0.0 <= elapsed < math.inf:
        raise ValueError(f"elapsed time {elapsed!r:.99} is invalid")
    if reason is not None and reason not in STOP_REASONS:
        raise ValueError(f"stop reason {reason!r:.99} is invalid")
    state = decode(meta["state"], arrays)
    x, box = as_center(state.x), es.bounds
    if box is not None and not (isinstance(box, Box) and box.n_free == x.size):
        raise ValueError(f"the bounds are not those of the state: {box!r:.99}")
    es.check_parameters(x.size)
    kind = type(es._init(x))
    record, pending = _record(decode(meta["record"], arrays), x, box), None
    if meta["pending"] is not None:
        generation, told_to, rows, values = decode(meta["pending"], arrays)
        check(told_to, x.size, x.dtype)
        _check_generation(generation, x, box)
        told = _told(generation, told_to, rows, values, es._center(told_to))
        pending = Pending(generation, told_to, told, record.n_evaluations)
        if type(told_to) is not kind or generation.seed != seed or told_to.t != state.t:
            raise ValueError("the pending generation is of another search")
        es._check_state(told_to)
    if type(state) is not kind or record.n_rows > state.t or state.x.dtype != x.dtype:
        raise ValueError(f"the state is a {type(state).__name__} at generation {state.t}")
    check(state, x.size, x.dtype)
    es._check_state(state)
    _try(es, state, pending)
    begun = time.perf_counter() - elapsed
    return Search(seed, freeze(state), record, begun, es.given(), box, pending, reason)


def _record(stored: dict[str, Any], x: Array, box: Box | None) -> Record:
    columns = stored.pop("rows")
    rows = np.empty(len(columns["mean"]), HISTORY)
    for name in HISTORY.names or ():
        column = columns[name]
        if column.dtype != rows[name].dtype or column.shape != rows.shape:
            raise ValueError(f"column {name} of the history has another length or dtype")
        rows[name] = column
    record = Record(rows, **stored)
    check(record, x.size, x.dtype)
    if record.n_rows != len(rows):
        raise ValueError(f"{record.n_rows} generations are counted, {len(rows)} recorded")
    if record.best is not None:
        generation, row = record.best
        _check_generation(generation, x, box)
        if row >= generation.n_points:
            raise ValueError(f"the best point is row {row} of its generation")
        generation.point(row)
    return record


def _told(generation: Any, before: Any, rows: Array, values: Array, x: Array) -> dict[int, float]:
    """What a pending generation around x has been told."""
    if generation.index != before.t or not same(generation.center, x):
        raise ValueError("the pending generation is not that of the state")
    if rows.dtype != np.int64 or values.dtype != np.float64 or rows.shape != values.shape:
        raise ValueError("rows and values of the pending generation do not fit")
    told = dict(zip(rows.tolist(), values.tolist(), strict=True))
    if len(told) != rows.size or not all(0 <= row < generation.n_points for row in told):
        raise ValueError("rows of the pending generation are out of range or told twice")
    if len(told) == generation.n_points:
        raise ValueError("the pending generation is complete")
    return told


def _check_generation(generation: Any, x: Array, box: Box | None) -> None:
    if not isinstance(generation, Generation):
        raise ValueError(f"a generation is a {type(generation).__name__}")
    check(generation, x.size, x.dtype)
    if generation.sampler.n != x.size or not 0.0 <= generation.sampler.sigma < math.inf:
        raise ValueError(f"a sampler does not fit: {generation.sampler!r:.99}")
    if generation.box != box:
        raise ValueError("a generation has other bounds than the search")


def _try(es: Any, state: State, pending: Pending | None) -> None:
    """Take one step of two pairs: whatever is wrong with a state shows now, not later."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if pending is None:
            _, generation = steps.ask(es, state, 0)
        else:
            generation = pending.generation
        if not es._takes_values(pending.before if pending else state):
            generation = replace(generation, n_pairs=min(2, generation.n_pairs))
        values = np.arange(float(generation.n_points)).reshape(generation.halves, -1)
        after, _ = steps.tell(es, state, generation, values)
        with suppress(ValueError):  # a schedule may end here
            steps.ask(es, after, 0)


# -- values --------------------------------------------------------------------------------------


def _plain(name: str, given: Any, search: Search) -> Any:
    """What means the same as a parameter, and can be stored."""
    if name == "bounds":
        return search.box
    if name == "shaping":  # one of the package by its name
        return next((name for name, function in SHAPINGS.items() if given is function), given)
    return given


class _Arrays:
    """Arrays by name; one that occurs twice is stored once."""

    def __init__(self) -> None:
        self.named: dict[str, Array] = {}
        self._names: dict[int, str] = {}

    def add(self, array: Array) -> str:
        name = self._names.setdefault(id(array), f"array{len(self.named)}")
        self.named[name] = array  # which keeps it alive, and so its id
        return name


def encode(item: Any, arrays: _Arrays) -> Any:
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
