"""Searches of any length: history and values told are arrays, however many."""

import tracemalloc

import numpy as np
import pytest
from problems import X0, bits, bowl, make, snapshot

from blackbox_es import _jit
from blackbox_es._record import HISTORY
from blackbox_es.generation import Generation
from blackbox_es.strategies import VanillaES


def test_a_history_of_any_length_is_saved(tmp_path):
    """600,000 generations, and the values told of 120,000 pairs in mid-generation."""
    n = 600_000
    es = make("vanilla-es", n_pairs=120_000, max_iter=10**6).start(X0)
    rows = np.zeros(n, HISTORY)
    rows["mean"] = np.arange(n)
    record = es._search.record._replace(rows=rows, n_rows=n, n_evaluations=6 * n)
    es._search = es._search._replace(record=record, state=type(es.state_)(
        es.x_, n, es.gradient_, es.state_.optimizer))  # fmt: skip
    es._begin(None)
    es._search.pending.told.update(zip(range(1, 240_000, 2), np.arange(1.2e5), strict=True))
    es.save(tmp_path / "run.npz")
    loaded = VanillaES.load(tmp_path / "run.npz")
    assert loaded.n_iter_ == n
    assert bits(loaded.history_) == bits(es.history_)
    assert loaded._search.pending.told == es._search.pending.told


class Counted(dict):
    """A dictionary that counts how often it is looked into; going through it is refused."""

    looked = 0

    def __getitem__(self, key):
        self.looked += 1
        return super().__getitem__(key)

    def get(self, *args):
        self.looked += 1
        return super().get(*args)

    def __iter__(self):
        raise AssertionError("all values are gone through")

    keys = values = items = copy = __iter__


def test_telling_a_trial_looks_at_no_other(monkeypatch):
    """However many values are known: one look, and no point is made again."""
    es = make("vanilla-es", n_pairs=120_000).start(X0)
    pending, first = es._begin(None), next(es.ask_trials()).id
    told = pending.told = Counted(zip(range(120_000), np.zeros(120_000), strict=True))

    def pairs(*args):
        raise AssertionError("points are made")

    monkeypatch.setattr(Generation, "pairs", pairs)
    for row in range(120_000, 120_100):
        es.tell_trial(first + row, 1.0)
    assert told.looked == 100
    assert len(told) == 120_100
    assert es._search.pending.told is told


def test_a_population_that_fits_into_no_memory():
    """Its points are made one at a time; all at once they are refused, and nothing has changed."""
    es = make("vanilla-es", n_pairs=2**32 - 1).start(np.resize(X0, 2**18))
    tracemalloc.start()
    try:
        trial = next(es.ask_trials())
        es.tell_trial(trial.id, bowl(trial.x))
        last = es._search.pending.generation.point(2**33 - 3)  # beyond what 32 bits count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * last.nbytes
    assert bits(last) == bits(es._search.pending.generation.pairs(2**32 - 2, 2**32 - 1)[1, 0])
    assert not np.array_equal(last, trial.x)
    before = snapshot(es)
    with pytest.raises(MemoryError):
        es.ask()
    assert snapshot(es) == before


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
def test_a_large_population_takes_no_more_memory_than_a_small_one():
    """Points and normals are made in chunks: the peak is that of two pairs."""

    def peak(n_pairs):
        es = make("vanilla-es", n_pairs=n_pairs, max_iter=1)
        tracemalloc.start()
        try:
            es.fit(lambda x: x[0], np.zeros(2**16))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(256) < peak(2) + 2**20 + 2**16  # points made at once, and the values
