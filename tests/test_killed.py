"""Fits that are killed, a few; `tests/benchmarks/killed.py` kills many more of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import killed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")


@pytest.mark.parametrize(
    ("backend", "n_kills", "name"), [("serial", 4, "adaptive-es"), ("loky", 2, "guided-es")]
)
def test_killed_at_random_moments(backend, n_kills, name, capsys):
    """Started again, each ends as a serial run that was never stopped, bit for bit."""
    runs = killed.table(backend, n_kills, [name])
    assert [run.same for run in runs] == [True] * n_kills
    assert f"| {n_kills} of {n_kills} |" in capsys.readouterr().out
