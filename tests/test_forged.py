"""Well-formed files with wrong content: a CheckpointError, or a search that runs.

``NUMBA_BOUNDSCHECK=1 python tests/test_forged.py 20000`` tries more of them than a plain run: then
no read outside an array goes unseen. A second number is how many MiB more the process may take.
"""

import copy
import json
import os
import re
import subprocess
import sys
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import X0, bits, bowl, guide, make, slope

from blackbox_es import CheckpointError, EvaluationError, Isotropic, checkpoint, config
from blackbox_es._value import value
from blackbox_es.steps import Plan, State
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import EvolutionStrategy

ODD = [None, True, False, 0, 1, -1, 2**31, 2**32, 2**63, 2**64, 10**400, 0.0, -1.5, 1e308, "", "x",
       [], {}, [1], {"x": 1}, {"float": "nan"}, {"float": "inf"}, {"float": "x"},
       {"array": "array0"}, {"array": "none"}, {"tuple": []}, {"tuple": [1, 2]}, {"set": [[]]},
       {"dict": [[1]]},
       {"dict": [[{"dict": []}, 1]]}, {"exception": "print"}, {"exception": "ValueError"},
       {"value": "Isotropic", "fields": {"n": 3, "sigma": 0.1}}, {"value": "none", "fields": {}},
       {"value": "Isotropic", "fields": {"n": 2}}, {"value": "LowRank", "fields": {"shapes": []}},
       {"config": "SGD", "fields": {}}, {"config": "Adam", "fields": {"beta_1": 2}},
       {"scalar": "float32", "array": "array0"}, {"shaping": "nes"}, {"shaping": "x"}]  # fmt: skip


def originals(folder):
    """Checkpoints of all strategies: at the start, in mid-generation, at the end."""
    found = []
    for name in STRATEGIES:
        for when in ("start", "middle", "end"):
            bounds = [(0, 1), (-1, -1), (None, 2.5)] if when == "middle" else None
            es = make(name, bounds=bounds).start(X0)
            if when == "middle":
                es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
                for trial, _ in zip(es.ask_trials(guide(es)), range(4), strict=False):
                    es.tell_trial(trial.id, bowl(trial.x))
            while when == "end" and not es.stop_reason_:
                es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
            es.save(folder / "run.npz")
            found.append((name, *checkpoint.read(folder / "run.npz")))
    return found


def places(node, path=()):
    """Paths to everything in a tree of lists and dictionaries."""
    yield path
    if not isinstance(node, (dict, list)):
        return
    for key, item in node.items() if isinstance(node, dict) else enumerate(node):
        yield from places(item, (*path, key))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def forge(meta, arrays, other, rng):
    """One or two changes of a checkpoint, which may take parts of another one."""
    meta, arrays = copy.deepcopy(meta), dict(arrays)
    for _ in range(rng.integers(1, 3)):
        kind = rng.integers(9)
        names, paths = list(arrays), [path for path in places(meta) if path]
        path = paths[rng.integers(len(paths))]
        parent, key = at(meta, path[:-1]), path[-1]
        if kind <= 2:
            parent[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
        elif kind == 3:
            del parent[key]
        elif kind == 4:
            parent[key] = copy.deepcopy(at(meta, paths[rng.integers(len(paths))]))
        elif kind == 5:
            deep = parent[key]
            for _ in range(rng.integers(1, 300)):
                deep = [deep]
            parent[key] = deep
        elif kind == 6:
            part = ["params", "state", "record", "pending"][rng.integers(4)]
            text = json.dumps(other[0][part])
            meta[part] = json.loads(re.sub(r'"array(\d)', r'"other\1', text))
            arrays |= {name.replace("array", "other"): held for name, held in other[1].items()}
        elif names:
            name = names[rng.integers(len(names))]
            arrays[name] = spoiled(arrays, name, names, rng)
    return meta, arrays


def spoiled(arrays, name, names, rng):
    array = arrays[name]
    return [
        lambda: array.ravel()[:0],
        lambda: array[: array.size // 2] if array.ndim else array,
        lambda: np.concatenate([array.ravel(), array.ravel()]),
        lambda: array.reshape(1, -1),
        lambda: array.reshape(-1, 1),
        lambda: array.astype(np.float32),
        lambda: array.astype(np.int64),
        lambda: array.astype(bool),
        lambda: np.full_like(array, -1),
        lambda: np.zeros_like(array),
        lambda: np.full(array.shape, np.nan),
        lambda: np.full(array.shape, np.inf),
        lambda: np.full(array.shape, 1e300),
        lambda: arrays[names[rng.integers(len(names))]],
        lambda: np.array(3.0),
    ][rng.integers(15)]()


def fate(cls, path):
    """What becomes of a file: "refused", "incomplete" or "ran"; anything else is raised."""
    try:
        es = cls.load(path)
    except CheckpointError as error:
        if isinstance(error.__cause__, MemoryError):  # what was asked for was too much
            raise error.__cause__ from None
        return "refused"
    except ValueError as error:
        if re.search(r"could not hold (\w+).*: load\(path, \1=", str(error)):
            return "incomplete"
        raise
    assert repr(es.set_params())
    assert es.x_best_.shape == es.x_.shape
    assert es.result_.x.shape == es.x_.shape
    es.save(path)
    saved = bits(cls.load(path).state_)
    assert saved == bits(es.state_)
    for _ in range(2):
        pending = es._search.pending
        n_pairs = pending.generation.n_pairs if pending else es.pairs(es.x_.size)
        if es.stop_reason_ or n_pairs > 10**4:
            break  # it has ended; or would be evaluated for long, as it says
        x = np.resize(es.x_, 3)  # a file may hold a sound search of another dimension
        surrogate = np.resize(slope(x), es.x_.size) if es.takes_surrogate else None
        trials = es.ask_trials(surrogate if pending is None else None)
        try:
            for trial in list(trials):
                es.tell_trial(trial.id, float(np.nan_to_num(bowl(np.resize(trial.x, 3)))))
        except EvaluationError:  # the values told in the file have failed
            assert pending is not None
            break
    return "ran"


def run(count, folder):
    """How many forged files came to which end."""
    known, rng, ends = originals(folder), np.random.default_rng(0), Counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        while ends.total() < count:
            (name, *given), (_, *other) = (known[rng.integers(len(known))] for _ in range(2))
            forged = forge(*given, other, rng)
            try:
                checkpoint.write(folder / "forged.npz", *forged)
            except (TypeError, ValueError):  # not even well-formed
                continue
            ends[fate(STRATEGIES[name], folder / "forged.npz")] += 1
    return ends


def test_forged_checkpoints(tmp_path):
    """Refused with CheckpointError, or a search that asks, is told, and is saved again."""
    ends = run(300, tmp_path)
    assert ends["refused"] > 200
    assert ends["ran"] > 15


@pytest.mark.slow
def test_twenty_thousand_forged_checkpoints_with_bounds_checking(tmp_path):
    """No kernel reads or writes outside an array, whatever the file says."""
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    out = subprocess.run(
        [sys.executable, __file__, "20000"],
        env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "bounds checking: 1" in out


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory that is kept to")
def test_forged_checkpoints_under_a_cap(tmp_path):
    """A process that may take 100 MiB more than it has reads them all, and is asked for no more."""
    run = subprocess.run(
        [sys.executable, __file__, "300", "100"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "under a cap" in run.stdout


def mid_generation(folder):
    """A checkpoint with two of six values told in its second generation."""
    es = make("vanilla-es").start(X0)
    es.tell(es.ask(), bowl(es.ask()))
    for trial, _ in zip(es.ask_trials(), range(2), strict=False):
        es.tell_trial(trial.id, bowl(trial.x))
    es.save(folder / "run.npz")
    return es, *checkpoint.read(folder / "run.npz")


RECORD = {name: ("record", "dict", i, 1) for i, name in enumerate(
    ["rows", "n_rows", "n_evaluations", "n_surrogate_calls", "n_failed", "fun", "fun_best", "best"]
)}  # fmt: skip
GENERATION = ("pending", 0, "fields")
WRONG = [  # what is put where, and what is said
    (("strategy",), "SNES", "checkpoint of SNES, not of VanillaES"),
    (("seed",), -1, "random_state=-1"),
    (("seed",), True, "seed True is invalid"),
    (("elapsed",), -1.0, "elapsed time"),
    (("elapsed",), {"float": "nan"}, "elapsed time"),
    (("stop_reason",), "bored", "stop reason 'bored'"),
    (("params", "n_pairs"), 0, "n_pairs"),
    (("state", "value"), "nobody", "nobody is not known"),
    (("state", "value"), "XNESState", "XNESState"),
    (("state", "fields", "t"), True, "t is True: expected int"),
    (("state", "fields", "t"), 2, "of another search"),
    (("state", "fields", "t"), 0, "is not that of the state|of another search"),
    (("state", "fields", "gradient"), np.zeros(2), "gradient has shape"),
    (("state", "fields", "gradient"), np.zeros((1, 3)), "gradient has shape"),
    (("state", "fields", "gradient"), np.zeros(3, "f4"), "gradient has shape .* float32"),
    (("state", "fields", "optimizer"), {"tuple": []}, "cannot go on"),
    (("state", "fields", "optimizer"), [], "expected a tuple"),
    (("state", "fields", "memory"), 1, "the memory is a int"),
    (RECORD["rows"], {"dict": []}, "mean"),
    (RECORD["n_rows"], 2, "2 generations are counted, 1 recorded"),
    (RECORD["n_failed"], -1, "n_failed is -1"),
    (RECORD["fun"], 1, "fun is 1: expected float"),
    ((*RECORD["best"], "tuple", 1), 6, "best point is row 6"),
    ((*RECORD["best"], "tuple", 0), 6, "expected Generation"),
    ((*RECORD["best"], "tuple", 0, "fields", "sampler", "fields", "n"), 4, "does not fit"),
    ((*GENERATION, "seed"), 8, "of another search"),
    ((*GENERATION, "index"), 2, "not that of the state"),
    ((*GENERATION, "center"), np.zeros(3), "not that of the state"),
    ((*GENERATION, "n_pairs"), 0, "n_pairs is 0"),
    ((*GENERATION, "n_pairs"), 1, "expected 1 to 1"),
    ((*GENERATION, "sampler", "fields", "n"), 4, "does not fit"),
    ((*GENERATION, "sampler", "fields", "sigma"), {"float": "inf"}, "sigma is inf"),
    (("pending", 1, "fields", "optimizer"), {"tuple": []}, "cannot go on"),
    (("pending", 1, "fields", "t"), 3, "not that of the state"),
    (("pending", 2), np.array([0, 6]), "out of range"),
    (("pending", 2), np.array([-1, 0]), "out of range"),
    (("pending", 2), np.array([1, 1]), "told twice"),
    (("pending", 2), np.array([0.0, 1.0]), "do not fit"),
    (("pending", 3), np.zeros(3), "do not fit"),
    (("pending", 4), np.array([1]), "do not fit"),
    (("pending", 5), np.zeros(0), "do not fit"),
    (("pending", 6), 0, "expected 1 to 3"),
    (("pending", 6), 1.0, "expected 1 to 3"),
    (("pending", 7), -1, "expected 0 to 1048576"),
    (("n_trials",), -1, "ids of trials are invalid"),
    (("n_trials",), "0", "ids of trials are invalid"),
    (("late",), [1.5], "ids of trials are invalid"),
    (("late",), [0] * 70_000, "ids of trials are invalid"),
]


@pytest.mark.parametrize(("path", "item", "said"), WRONG, ids=str)
def test_each_check_says_what_is_wrong(path, item, said, tmp_path):
    """One change, and the check that is there for it."""
    es, meta, arrays = mid_generation(tmp_path)
    if isinstance(item, np.ndarray):
        item, arrays = {"array": "new"}, {**arrays, "new": item}
    at(meta, path)  # there it is
    at(meta, path[:-1])[path[-1]] = item
    checkpoint.write(tmp_path / "run.npz", meta, arrays)
    with pytest.raises(CheckpointError, match=said):
        type(es).load(tmp_path / "run.npz")


@value
class Noted(State):
    """A state of a user's that says nothing of what it holds."""

    note: Any = 0.0


@config
class Noting(EvolutionStrategy):
    """A strategy of a user's with such a state."""

    def _init(self, x):
        return Noted(x, 0)

    def _ask(self, state, surrogate):
        return state, Plan(Isotropic(state.x.size, 0.1), self.pairs(state.x.size))

    def _tell(self, state, told):
        return Noted(state.x, state.t + 1, state.note / 2)


def test_a_state_that_declares_nothing_is_tried(tmp_path):
    """Loading takes a step, so that it fails at once, not after the first generation."""
    Noting().start(X0).save(tmp_path / "run.npz")
    meta, arrays = checkpoint.read(tmp_path / "run.npz")
    assert Noting.load(tmp_path / "run.npz").state_.note == 0.0
    meta["state"]["fields"]["note"] = "x"
    checkpoint.write(tmp_path / "run.npz", meta, arrays)
    with pytest.raises(CheckpointError, match="unsupported operand"):
        Noting.load(tmp_path / "run.npz")


HUGE = [
    (("params", "n_pairs"), 2**32 - 1),
    (("params", "max_iter"), 2**32 - 1),
    (("params", "n_pairs"), 10**400),
    (RECORD["n_rows"], 2**62),
    (RECORD["n_evaluations"], 2**62),
    ((*GENERATION, "n_pairs"), 2**32 - 1),
    ((*GENERATION, "sampler", "fields", "n"), 2**62),
    (("state", "fields", "t"), 2**32 - 1),
]


@pytest.mark.parametrize(("path", "number"), HUGE, ids=str)
def test_huge_numbers_take_no_memory(path, number, tmp_path):
    """Nothing is as large, or takes as long, as a number in a file says."""
    es, meta, arrays = mid_generation(tmp_path)
    assert type(at(meta, path)) is int
    at(meta, path[:-1])[path[-1]] = number
    checkpoint.write(tmp_path / "run.npz", meta, arrays)
    tracemalloc.start()
    try:
        type(es).load(tmp_path / "run.npz").save(tmp_path / "again.npz")
    except CheckpointError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**21


def cap(mebibytes):
    """Let this process take so much more memory than it has taken, and no more."""
    import resource

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + mebibytes * 2**20,) * 2)
    with pytest.raises(MemoryError):
        np.ones(2**30)  # it holds


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        if len(sys.argv) > 2:
            run(100, Path(name))  # kernels are compiled, libraries are there
            cap(int(sys.argv[2]))
            print("under a cap; ", end="")
        ends = run(int(sys.argv[1]), Path(name))
    print(f"bounds checking: {os.environ.get('NUMBA_BOUNDSCHECK', '0')};", dict(ends))
