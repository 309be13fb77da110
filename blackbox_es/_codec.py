"""Searches as JSON and arrays, and back.

What is read is not trusted: every value is checked against the types that its class declares,
the parts against each other, and all of it against the parameters.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import checkpoint, steps
from blackbox_es._config import Configurable
from blackbox_es._encoding import Arrays, decode, encode
from blackbox_es._pending import Pending
from blackbox_es._record import HISTORY, Record
from blackbox_es._search import STOP_REASONS, Search, detached
from blackbox_es._validation import as_center, as_seed
from blackbox_es._value import check, freeze, parts, same
from blackbox_es.box import resolve
from blackbox_es.checkpoint import CheckpointError
from blackbox_es.generation import Generation
from blackbox_es.models import Archive
from blackbox_es.shaping import SHAPINGS
from blackbox_es.steps import State
from blackbox_es.tree import Into, Tree, box_of

Array = npt.NDArray[Any]


def save(es: Any, path: str | os.PathLike[str]) -> None:
    """Write a strategy's parameters, as far as they can be written, and its search."""
    with es._lock:  # not while it is written
        search = detached(es._started())
    arrays = Arrays()
    params: dict[str, Any] = {}
    for name, given in es.get_params(deep=False).items():
        with suppress(TypeError):  # a function of the user's: `load` asks for it
            params[name] = encode(_plain(name, given, search), arrays)
    record = search.record
    history = {name: record.rows[name] for name in HISTORY.names or ()}
    pending = search.pending
    meta = {
        "strategy": type(es).__name__,
        "params": params,
        "seed": search.seed,
        "elapsed": search.begun,
        "stop_reason": search.stop_reason,
        "tree": encode(search.box, arrays) if isinstance(search.box, Tree) else None,
        "state": encode(search.state, arrays),
        "record": encode({**parts(record), "rows": history}, arrays),
        "pending": pending and encode(
            [pending.generation, pending.before, *_columns(pending.told, np.float64),
             *_columns(pending.lost, np.int64), pending.least, pending.n_further], arrays),
        "n_trials": search.n_trials,
        "late": list(search.late),
        "archive": encode(search.archive, arrays),
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
    cls.check_complete(path, stored, params)
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
    x, tree = as_center(state.x), decode(meta.get("tree"), arrays)
    box: Into | None = resolve(es.bounds)
    if tree is not None:
        if not isinstance(tree, Tree) or tree.dtype != x.dtype or not same(tree.box, box):
            raise ValueError(f"the tree is not that of the state: {tree!r:.99}")
        box = tree
    if box is not None and box.n_free != x.size:
        raise ValueError(f"the bounds are not those of the state: {box!r:.99}")
    es.check_parameters(x.size)
    kind = type(es._init(x))
    record, pending = _record(decode(meta["record"], arrays), x, box), None
    n_trials, late = meta.get("n_trials", record.n_evaluations), tuple(meta.get("late", ()))
    if len(late) > 2**16 or not all(
        type(id) is int and 0 <= id < 2**63 for id in (n_trials, *late)
    ):
        raise ValueError(f"ids of trials are invalid: {n_trials!r:.99}, {late!r:.99}")
    if meta["pending"] is not None:
        pending = _pending(decode(meta["pending"], arrays), es, n_trials, x, box)
        generation, told_to = pending.generation, pending.before
        if type(told_to) is not kind or generation.seed != seed or told_to.t != state.t:
            raise ValueError("the pending generation is of another search")
        es._check_state(told_to)
    if type(state) is not kind or record.n_rows > state.t or state.x.dtype != x.dtype:
        raise ValueError(f"the state is a {type(state).__name__} at generation {state.t}")
    check(state, x.size, x.dtype)
    es._check_state(state)
    _try(es, state, pending)
    archive = _archive(decode(meta.get("archive"), arrays), x, box)
    begun = time.perf_counter() - elapsed
    given, state = es.given(), freeze(state)
    return Search(seed, state, record, begun, given, box, pending, reason, n_trials, late, archive)


def _archive(stored: Any, x: Array, box: Into | None) -> Archive | None:
    """What a model has been told: points that are folded already."""
    if stored is None:
        return None
    if not isinstance(stored, Archive):
        raise ValueError(f"the archive is a {type(stored).__name__}")
    stored.check(x.size if box is None else box.n)
    return freeze(stored)


def _record(stored: dict[str, Any], x: Array, box: Into | None) -> Record:
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


def _pending(stored: list[Any], es: Any, first: int, x: Array, box: Into | None) -> Pending:
    """A generation that some values are missing of."""
    generation, before, places, values, *more = stored
    check(before, x.size, x.dtype)
    _check_generation(generation, x, box)
    if generation.index != before.t or not same(generation.center, es._center(before)):
        raise ValueError("the pending generation is not that of the state")
    lost, counts, least, n_further = more or (places[:0], places[:0], generation.n_pairs, 0)
    for number, low, high in ((least, 1, generation.n_pairs), (n_further, 0, 2**20)):
        if type(number) is not int or not low <= number <= high:
            raise ValueError(f"a pending generation has {number!r:.99}: expected {low} to {high}")
    pending = Pending(generation, before, first, least, n_further=n_further)
    pending.told = _by_place(places, values, np.float64, pending.n_places)
    pending.lost = _by_place(lost, counts, np.int64, pending.n_places)
    pending.n_out = pending.n_places
    if len(pending.told) == pending.n_places and not np.isnan(values).any():  # which can be mended
        raise ValueError("the pending generation is complete")
    return pending


def _columns(held: dict[int, Any], dtype: npt.DTypeLike) -> tuple[Array, Array]:
    return np.array([*held], np.int64), np.array([*held.values()], dtype)


def _by_place(places: Array, held: Array, dtype: npt.DTypeLike, n_places: int) -> dict[int, Any]:
    if places.dtype != np.int64 or held.dtype != dtype or places.shape != held.shape:
        raise ValueError("rows and values of the pending generation do not fit")
    found = dict(zip(places.tolist(), held.tolist(), strict=True))
    if len(found) != places.size or not all(0 <= place < n_places for place in found):
        raise ValueError("rows of the pending generation are out of range or told twice")
    return found


def _check_generation(generation: Any, x: Array, box: Into | None) -> None:
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


def _plain(name: str, given: Any, search: Search) -> Any:
    """What means the same as a parameter, and can be stored."""
    if name == "bounds" and not hasattr(given, "params"):  # a Space is more than its box
        return box_of(search.box)
    if name == "shaping":  # one of the package by its name
        return next((name for name, function in SHAPINGS.items() if given is function), given)
    return given
