"""Studies: cells that are kept, runs that go on, figures and reports of rows."""

import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import blackbox_es
from blackbox_es import theory
from blackbox_es.cli import main
from blackbox_es.neural.data import Data
from blackbox_es.neural.network import Network
from blackbox_es.study import STUDIES, Cell, Study, run_cells
from blackbox_es.study.base import curves, ends, table
from blackbox_es.study.population import _quality
from blackbox_es.study.quadratic import METHODS, NAMES
from blackbox_es.study.rastrigin import rastrigin, smoothed
from blackbox_es.study.runner import read_rows, write_rows
from blackbox_es.study.smoothing import gaussian

ROOT = Path(blackbox_es.__file__).parents[1]


class Counted(Study):
    """Two methods; a cell appends its name to a file when it is run."""

    name = "counted"
    summary = "counts"
    n_seeds = 2

    def cells(self, n_seeds):
        return [Cell(method, seed) for method in ("a", "b") for seed in range(n_seeds)]

    def run(self, cell):
        if cell == FAILS:
            raise ArithmeticError("as planned")
        RUN.append(cell)
        return [{"value": cell.seed / 3, "word": cell.method * 2}, {"value": -1, "word": "1e3"}]

    def figure(self, rows):
        raise NotImplementedError

    report = figure


RUN: list = []
FAILS = None


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "RUN", [])
    monkeypatch.setattr(sys.modules[__name__], "FAILS", None)


def silent(line):
    """What is told is not looked at."""


# -- the runner ----------------------------------------------------------------------------------


def test_rows_are_those_of_the_cells(tmp_path):
    """In their order, with method and seed in front; one file has all of them."""
    rows = run_cells(Counted(), tmp_path, tell=silent)
    assert [(row["method"], row["seed"]) for row in rows[::2]] == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1),
    ]  # fmt: skip
    assert rows[2] == {"method": "a", "seed": 1, "value": 1 / 3, "word": "aa"}
    assert rows == read_rows(tmp_path / "counted.csv")


def test_finished_cells_are_not_run_again(tmp_path, monkeypatch):
    """A run that failed goes on with the cell that failed and those after it."""
    monkeypatch.setattr(sys.modules[__name__], "FAILS", Cell("b", 0))
    with pytest.raises(ArithmeticError, match="as planned") as raised:
        run_cells(Counted(), tmp_path, tell=silent)
    assert raised.value.__notes__ == ["in the study counted: b, seed 0"]
    assert [Cell("a", 0), Cell("a", 1)] == RUN
    assert not (tmp_path / "counted.csv").exists()
    monkeypatch.setattr(sys.modules[__name__], "FAILS", None)
    told = []
    rows = run_cells(Counted(), tmp_path, tell=told.append)
    assert [Cell("a", 0), Cell("a", 1), Cell("b", 0), Cell("b", 1)] == RUN
    assert told[0] == "2 of 4 cells were finished before"
    assert len(rows) == 8
    run_cells(Counted(), tmp_path, tell=silent)
    assert len(RUN) == 4


def test_more_seeds_are_added(tmp_path):
    """With more seeds only the new ones are run, with fewer only those are told of."""
    run_cells(Counted(), tmp_path, n_seeds=1, tell=silent)
    run_cells(Counted(), tmp_path, n_seeds=2, tell=silent)
    assert [Cell("a", 0), Cell("b", 0), Cell("a", 1), Cell("b", 1)] == RUN
    assert len(run_cells(Counted(), tmp_path, n_seeds=1, tell=silent)) == 4


def test_processes_change_nothing(tmp_path):
    """Two of them give the rows of one."""
    study = STUDIES["rastrigin"](quick=True)
    one, two = (
        run_cells(study, tmp_path / str(n), n_seeds=2, n_jobs=n, tell=silent) for n in (1, 2)
    )
    assert one == two


def test_an_unfinished_cell_is_run_again(tmp_path):
    """What was written before a kill has another name until it is complete."""
    (tmp_path / "cells").mkdir()
    part = tmp_path / "cells" / "a-0.csv.123.part"
    part.write_text("method,seed,val")
    rows = run_cells(Counted(), tmp_path, tell=silent)
    assert Cell("a", 0) in RUN
    assert len(rows) == 8


def test_a_file_of_rows_appears_as_a_whole(tmp_path):
    """Rows that cannot be written leave what was there."""
    path = tmp_path / "rows.csv"
    write_rows(path, [{"a": 1}])
    with pytest.raises(ValueError, match="b"):
        write_rows(path, [{"a": 2}, {"b": 3}])
    assert read_rows(path) == [{"a": 1}]


def test_numbers_survive_a_file(tmp_path):
    """Integers, floats to the last bit, NaN and words come back."""
    row = {"i": 3, "f": 0.1 + 0.2, "big": 1e300, "word": 'a, "b"', "none": float("nan")}
    write_rows(tmp_path / "rows.csv", [row])
    (found,) = read_rows(tmp_path / "rows.csv")
    assert np.isnan(found.pop("none"))
    assert found == {name: value for name, value in row.items() if name != "none"}
    assert [type(value) for value in found.values()] == [int, float, float, str]


def test_a_killed_study_goes_on(tmp_path):
    """A process that is killed leaves whole cells, which the next one does not touch."""
    command = [sys.executable, "-m", "blackbox_es", "study", "rastrigin", "--jobs", "1"]
    process = subprocess.Popen([*command, "--out", str(tmp_path)], cwd=ROOT,
                               stdout=subprocess.DEVNULL)  # fmt: skip
    parts = tmp_path / "rastrigin" / "cells"
    try:
        deadline = time.monotonic() + 120
        while len(list(parts.glob("*.csv"))) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.csv")}
    assert kept
    assert main(["study", "rastrigin", "--jobs", "1", "--out", str(tmp_path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(parts.glob("*.csv"))) == 20


# -- the studies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_study(name, tmp_path, capsys):
    """A quick one has data, a figure and a report, and is not run twice."""
    if name == "quadratic":
        pytest.importorskip("cmaes")
    command = ["study", name, "--quick", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    folder = tmp_path / f"{name}-quick"
    text = capsys.readouterr().out
    assert f"data: {folder / name}.csv" in text
    height, width, _ = matplotlib.image.imread(folder / f"{name}.png").shape
    assert min(height, width) > 300
    rows = read_rows(folder / f"{name}.csv")
    study = STUDIES[name](quick=True)
    assert {Cell(row["method"], row["seed"]) for row in rows} == set(study.cells(2))
    assert main(command) == 0
    again = capsys.readouterr().out
    n_cells = len(study.cells(2))
    assert again.startswith(f"{n_cells} of {n_cells} cells were finished before")
    assert study.report(rows) in again


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "population"])
def test_rows_depend_on_the_cell_alone(name):
    """The same cell has the same rows."""
    study = STUDIES[name](quick=True)
    cell = study.cells(1)[-1]
    assert study.run(cell) == study.run(cell)


def test_studies_are_listed(capsys):
    """Without a name there is a line for each study."""
    assert main(["study"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(STUDIES)


def test_an_unknown_study_is_refused(capsys, tmp_path):
    """With the names of those that there are; nothing is made."""
    with pytest.raises(SystemExit) as refused:
        main(["study", "quadratc", "--out", str(tmp_path / "out")])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "there is no study 'quadratc': take quadratic, quadratic-tuning" in error
    assert not (tmp_path / "out").exists()


def test_without_matplotlib(tmp_path, capsys, monkeypatch):
    """There are data, and it says how to have a figure."""
    for name in [*sys.modules, "matplotlib", "matplotlib.figure"]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
    assert main(["study", "rastrigin", "--quick", "--jobs", "1", "--out", str(tmp_path)]) == 0
    assert "no figure: plots need matplotlib" in capsys.readouterr().out


def test_the_quadratic_without_cmaes(monkeypatch, capsys):
    """What is not installed is left out, and said."""
    monkeypatch.setitem(sys.modules, "cmaes", None)
    cells = STUDIES["quadratic"]().cells(1)
    assert [cell.method for cell in cells] == [method for method in METHODS if method != "cma"]
    assert "python -m pip install cmaes" in capsys.readouterr().err


@pytest.mark.parametrize("method", METHODS)
def test_the_quadratic_counts_all(method):
    """The cost is evaluations and surrogate gradients, and no row is beyond the budget."""
    if method == "cma":
        pytest.importorskip("cmaes")
    rows = STUDIES["quadratic"](quick=True).run(Cell(method, 1))
    cost, evaluations, calls = (
        np.array([row[name] for row in rows]) for name in ("cost", "evaluations", "surrogate_calls")
    )
    assert (cost == evaluations + calls).all()
    assert (np.diff(cost) > 0).all()
    assert 0.9 * 300 < cost[-1] <= 300
    pairs = {"guided-published": 1, "guided-tuned": 4}
    if method in pairs:
        assert (evaluations == 2 * pairs[method] * calls).all()
    elif method not in ("sgd", "adaptive-guided"):
        assert (calls == 0).all()
    assert rows[-1]["gap"] < rows[0]["gap"]


def test_smoothed_rastrigin():
    """Its closed form is the mean over normal errors, with no error the function itself."""
    x = np.linspace(8.0, 11.0, 7)[:, None]
    np.testing.assert_allclose(smoothed(x, 0.0), rastrigin(x), atol=1e-9)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    mean = (rastrigin((x + 0.4 * nodes)[..., None]) * weights).sum(axis=1) / weights.sum()
    np.testing.assert_allclose(smoothed(x, 0.4), mean, rtol=1e-9)


def test_annealed_search_finds_the_minimum():
    """Where small noise and descent stay at the start."""
    study = STUDIES["rastrigin"]()
    last = {method: study.run(Cell(method, 1))[-1]["value"] for method in ("descent", "annealed")}
    assert last["annealed"] < 1e-6
    assert last["descent"] > 100


def test_errors_are_those_of_the_closed_form():
    """Measured errors of the study of alpha agree with `theory`."""
    rows = STUDIES["alpha"]().run(Cell("r0.35-k10", 1))
    for row in rows[::5]:
        of = {"n": 100, "k": 10, "n_pairs": 20}
        beta = theory.optimal_beta(row["alpha"], 0.35, **of)
        law = theory.mean_squared_error(row["alpha"], beta, 0.35, **of)
        assert row["error"] == pytest.approx(law, abs=0.05)  # 200 estimates: some 0.01 off


def test_populations_are_counted():
    """Evaluations are steps of whole pairs, an example-forward is one example of a batch of 100."""
    rows = STUDIES["population"](quick=True).run(Cell("mlp-25", 1))
    assert [row["step"] for row in rows] == list(range(10, 31))
    for row in rows:
        assert row["evaluations"] == 26 * row["step"]
        assert row["example_forwards"] == 100 * row["evaluations"]
        assert row["n_parameters"] == 65 * 64 + 65 * 10
        assert 0.0 <= row["accuracy"] <= 1.0
    assert [i for i, row in enumerate(rows) if np.isfinite(row["cosine"])] == [0, 5, 10, 15, 20]
    assert (np.diff([row["seconds"] for row in rows]) > 0).all()


def test_the_quality_of_estimates_is_that_of_the_law():
    """Where all see all examples, and steps are small: P / (P + n + 1) is the squared cosine."""
    rng = np.random.default_rng(0)
    data = Data(rng.standard_normal((100, 8), np.float32), rng.integers(0, 3, 100))
    network, n_pairs = Network((8, 4, 3), "tanh"), 64
    theta = network.initial(rng)
    found = np.mean([_quality(network, theta, data, n_pairs, seed) for seed in range(30)], axis=0)
    law = np.sqrt(n_pairs / (n_pairs + network.n_parameters + 1))
    np.testing.assert_allclose(found, [law, 1 / law], rtol=0.05)


def test_smoothing_leaves_the_mean():
    """A smoothed spike is a normal density of that sigma."""
    spike = np.zeros(401)
    spike[200] = 1.0
    smooth = gaussian(spike, 20.0)
    x = (np.arange(401) - 200) / 20.0
    np.testing.assert_allclose(smooth, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi) / 20, atol=1e-5)


# -- rows ----------------------------------------------------------------------------------------


def test_curves_and_ends():
    """By method and seed; what has no rows has no curve."""
    rows = [
        {"method": method, "seed": seed, "x": i, "y": 10 * seed + i + 100 * (method == "sgd")}
        for method in ("sgd", "adaptive") for seed in (1, 2) for i in range(3)
    ]  # fmt: skip
    found = curves(rows, "x", "y", NAMES)
    assert list(found) == [NAMES["sgd"], NAMES["adaptive"]]
    (x, y), second = found[NAMES["adaptive"]]
    assert (list(x), list(y), list(second[1])) == ([0, 1, 2], [10, 11, 12], [20, 21, 22])
    assert list(ends(rows, "y", "sgd")) == [112, 122]


def test_table():
    """Columns are as wide as their widest entry."""
    assert table(("f", "median"), [("long name", "1"), ("b", "12345678")]) == (
        "f            median\nlong name         1\nb          12345678"
    )
