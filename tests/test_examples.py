"""Every example runs with a small budget and prints what its docstring promises."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"

SMALL = {
    "ask_tell.py": "--generations 4",
    "asynchronous.py": "--generations 8",
    "cartpole.py": "--generations 4",
    "images.py": "--generations 80",
    "jax_vmap.py": "--generations 100",
    "long_run.py": "--generations 6",
    "mnist.py": "--budget 0.001",
    "own_objective.py": "--evaluations 48 --seeds 1",
    "quadratic.py": "--n 30 --evaluations 200 --seeds 2",
    "test_objective.py": "",
    "torch_mnist.py": "--steps 30",
    "vq_autoencoder.py": "--seconds 0.3",
}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """A function that runs an example with a small budget and returns what it prints."""

    def run(name):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [name, *SMALL[name].split()])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def column(out, name, place):
    """The number in one column, counted from the end, of the row that begins with this name."""
    (line,) = (line for line in out.splitlines() if line.startswith(name))
    return float(line.split()[place].replace(",", ""))


def test_every_example_is_tested():
    """There is a small budget for each file in the folder."""
    assert SMALL.keys() == {path.name for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("name", SMALL)
def test_examples_say_how_to_run_them(name):
    """The docstring begins with a sentence and shows the command; the file stays readable."""
    text = (FOLDER / name).read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring.splitlines()[0].endswith(".")
    assert f"    python examples/{name}\n" in docstring
    assert len(text.splitlines()) <= 112


def test_ask_tell(run):
    """The interrupted search ends where `fit` does, and is better than its start."""
    out = run("ask_tell.py")
    assert "the same bits as fit: True" in out
    assert "8 of 12 trials have no value yet" in out
    start, reached, best = map(float, re.findall(r"cost ([\d.]+)", out))
    assert best < start
    assert reached < start


def test_asynchronous(run):
    """The second driver goes on where the first one was killed, and the cost has fallen."""
    out = run("asynchronous.py")
    assert "exit code -9" in out
    told = int(re.search(r"begins in generation [1-9]\d*, (\d+) values told", out)[1])
    assert told > 0
    start, end = map(float, re.search(r"cost ([\d.]+) at the start, ([\d.]+)", out).groups())
    assert end < start


def test_long_run(run, tmp_path):
    """Started again it is where it was; with more generations it goes on."""
    first, again = run("long_run.py").splitlines(), run("long_run.py").splitlines()
    assert first[0] == "begins"
    assert again[0].startswith("goes on after generation 6 and")
    assert first[1:] == again[1:]
    start, reached = map(float, re.findall(r"[\d.]+(?= at the start| now)", first[2]))
    assert reached < start
    assert (tmp_path / "long_run.npz").stat().st_size > 1000


def test_quadratic(run, tmp_path):
    """All strategies get the same number of evaluations and make progress; there is a figure."""
    out = run("quadratic.py")
    start = float(re.search(r"f\* = ([\d.]+)", out)[1])
    for name in ("vanilla", "guided, alpha 0.5", "guided, alpha 0.9"):
        assert column(out, name, -5) < start / 2
        assert column(out, name, -2) == 199
    assert (tmp_path / "quadratic.png").stat().st_size > 1000


def test_own_objective(run):
    """Every method ends below the start."""
    out = run("own_objective.py")
    start = float(re.search(r"loss ([\d.]+) at the start", out)[1])
    for name in ("greedy descent", "vanilla", "guided ", "guided, own rule"):
        assert column(out, name, -3) < start


def test_mnist(run):
    """Every model is better than chance after twenty generations."""
    out = run("mnist.py")
    assert "1,347 digits to train on, 450 to test" in out
    for name in (
        "log loss, relu",
        "log loss, step",
        "zero-one loss, relu",
        "zero-one loss, guided",
    ):
        assert column(out, name, -4) > 0.15


def test_images(run):
    """Every kind of weights is better than chance after eighty generations."""
    out = run("images.py")
    assert "1,347 images to train on, 450 to test" in out
    for weights in ("float", "ternary", "binary"):
        assert column(out, weights, -4) > 0.15


def test_vq_autoencoder(run):
    """Both ways learn something."""
    out = run("vq_autoencoder.py")
    for way in ("straight through", "guided"):
        assert column(out, way, -3) < 200


def test_cartpole(run):
    """Both policies are far better than at the start."""
    pytest.importorskip("gymnasium")
    out = run("cartpole.py")
    assert column(out, "pole", -1) > 100
    assert column(out, "car", -1) > 50


def test_jax_vmap(run):
    """The guide is worth its price."""
    pytest.importorskip("jax")
    out = run("jax_vmap.py")
    assert column(out, "guided", -1) < column(out, "values alone", -1) / 1.2
    assert column(out, "values alone", -1) < column(out, "at the start", -1) / 2


def test_torch_mnist(run):
    """Both models are far better than chance after thirty steps."""
    pytest.importorskip("torch")
    out = run("torch_mnist.py")
    assert "1,347 digits to train on, 450 to test" in out
    assert column(out, "log loss", -2) > 0.5
    assert column(out, "mistakes, guided", -2) > 0.5


def test_test_objective(run):
    """One report without a failure and one with the mistake, and as tests it is green."""
    healthy, broken = run("test_objective.py").split("check_objective(Tune)")
    assert "FAILED" not in healthy
    assert "common random numbers  " in healthy
    assert "FAILED  check_deterministic" in broken
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command.append("examples/test_objective.py")
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 xfailed" in done.stdout
