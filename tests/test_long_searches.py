"""Searches of any length: history and values told are arrays, however many."""

import numpy as np
from problems import X0, bits, make

from blackbox_es._pending import Pending
from blackbox_es._record import HISTORY
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
    es._search.pending.told.update(zip(range(1, 10**5, 2), np.arange(5e4), strict=True))
    es.save(tmp_path / "run.npz")
    loaded = VanillaES.load(tmp_path / "run.npz")
    assert loaded.n_iter_ == n
    assert bits(loaded.history_) == bits(es.history_)
    assert loaded._search.pending.told == es._search.pending.told


def test_telling_a_trial_looks_at_no_other(monkeypatch):
    """Values are gathered once, when the last one has been told."""
    gathered = []
    values = Pending.values
    monkeypatch.setattr(
        Pending, "values", lambda self: gathered.append(len(self.told)) or values(self)
    )
    es = make("vanilla-es", n_pairs=500).start(X0)
    told = es._begin(None).told
    for trial in es.ask_trials():
        es.tell_trial(trial.id, 1.0)
        assert es.n_iter_ or es._search.pending.told is told  # the same dictionary, which grows
    assert gathered == list(range(1, 1001))
