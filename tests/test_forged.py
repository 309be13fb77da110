"""Well-formed files with wrong content: a CheckpointError, or a search that runs.

``python tests/test_forged.py 20000`` tries more of them; with ``NUMBA_BOUNDSCHECK=1`` no read
outside an array goes unseen.
"""

import copy
import os
import sys
import warnings

import numpy as np
import pytest
from problems import X0, bowl, guide, make

from blackbox_es import CheckpointError, EvaluationError, checkpoint
from blackbox_es.strategies import STRATEGIES

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
            es = make(name).start(X0)
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


def forge(meta, arrays, rng):
    """One or two changes of a checkpoint."""
    meta, arrays = copy.deepcopy(meta), dict(arrays)
    for _ in range(rng.integers(1, 3)):
        kind = rng.integers(8)
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


def survives(cls, path):
    """Whether the file is taken for a search, which then runs."""
    try:
        es = cls.load(path)
    except CheckpointError:
        return False
    except ValueError as error:
        if "could not hold" in str(error):  # a parameter is missing: it is asked for
            return False
        raise
    assert repr(es.set_params())
    assert es.x_best_.shape == es.x_.shape
    assert es.result_.x.shape == es.x_.shape
    es.save(path)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for _ in range(2):
            if es.stop_reason_ or es.pairs(es.x_.size) > 10**4:
                break
            pending = es._search.pending
            if pending is not None and pending.generation.n_points > 10**4:
                break
            try:
                trials = list(es.ask_trials(guide(es) if pending is None else None))
                for trial in trials:
                    es.tell_trial(trial.id, float(np.nan_to_num(bowl(trial.x))))
            except (EvaluationError, ValueError):  # a sigma out of range, said by name
                break
    return True


def run(count, folder):
    """How many forged files were refused, and how many ran."""
    known, rng = originals(folder), np.random.default_rng(0)
    refused = ran = 0
    while refused + ran < count:
        name, meta, arrays = known[rng.integers(len(known))]
        try:
            checkpoint.write(folder / "forged.npz", *forge(meta, arrays, rng))
        except (TypeError, ValueError):  # not even well-formed
            continue
        good = survives(STRATEGIES[name], folder / "forged.npz")
        refused, ran = refused + (not good), ran + good
    return refused, ran


@pytest.mark.filterwarnings("ignore")
def test_forged_checkpoints(tmp_path):
    """Refused with CheckpointError, or a search that asks, is told, and is saved again."""
    refused, ran = run(400, tmp_path)
    assert refused > 100
    assert ran > 20


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        refused, ran = run(int(sys.argv[1]), Path(name))
    print(
        f"bounds checking: {os.environ.get('NUMBA_BOUNDSCHECK', '0')}; refused {refused}, ran {ran}"
    )
