"""The command line, in process and out of it."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import sklearn.datasets
from sklearn.neural_network import MLPClassifier

import blackbox_es
from blackbox_es import problems
from blackbox_es.cli import main, mnist
from blackbox_es.cli.mnist import _edges, _moved

ROOT = Path(blackbox_es.__file__).parents[1]
QUADRATIC = ["quadratic", "--iterations", "50"]
MNIST = ["mnist", "--dataset", "digits", "--budget", "1", "--hidden", "8"]


@pytest.fixture
def no_matplotlib(monkeypatch):
    """Importing matplotlib fails."""
    for name in [*sys.modules, "matplotlib", "matplotlib.figure"]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)


def status(arguments):
    """The exit status of the command line."""
    try:
        return main(arguments)
    except SystemExit as exit:
        return exit.code


def reported(text):
    """Seconds, generations and accuracy of the runs of a training, by how they were trained."""
    rows = re.findall(
        r"^(ev|ba)\S+(?: strategy)? +([0-9.]+) +([0-9,]*) +[0-9.]+ +([0-9.]+)$", text, re.M
    )
    return [[row[1:] for row in rows if row[0] == how] for how in ("ev", "ba")]


def assert_is_a_figure(path):
    height, width, _ = matplotlib.image.imread(path).shape
    assert min(height, width) > 300


# -- quadratic -----------------------------------------------------------------------------------


def test_quadratic(tmp_path, capsys):
    """It prints a row for each method and writes a figure."""
    out = tmp_path / "quadratic.png"
    assert main([*QUADRATIC, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "f(x0) - f* = 0.260563" in text  # as in the authors' notebook
    rows = [line.rsplit(maxsplit=3) for line in text.splitlines() if re.match("SGD|van|gui", line)]
    assert len(rows) == 5
    for name, gap, evaluations, _ in rows:
        assert 0.0 < float(gap) < 0.27
        assert evaluations == ("0" if name.startswith("SGD") else "101")
    assert f"figure: {out}" in text
    assert_is_a_figure(out)


def test_quadratic_repeats(tmp_path, capsys):
    """The same seed prints the same values, another one others."""
    gaps = []
    for seed in "0", "0", "1":
        main([*QUADRATIC, "--seed", seed, "--out", str(tmp_path / "figure.png")])
        gaps.append(re.findall(r"vanilla.* (0\.\d{4}) ", capsys.readouterr().out))
    assert gaps[0] == gaps[1] != gaps[2]


# -- mnist ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "network", "n_examples"),
    [
        ("", "64-8-10", 1347),
        ("--shifts", "64-8-10", 5 * 1347),
        ("--edges --hidden 9 8", "32-9-8-10", 1347),
    ],
)
def test_mnist_command(options, network, n_examples, tmp_path, capsys, monkeypatch):
    """Both are trained on what the options say; it reports what they did, and writes a figure."""
    trained, fit = [], blackbox_es.ESMLPClassifier.fit

    def recorded(self, X, y):
        trained.append((X.dtype, X.shape, y.shape))
        return fit(self, X, y)

    monkeypatch.setattr(blackbox_es.ESMLPClassifier, "fit", recorded)
    out = tmp_path / "digits.png"
    assert main([*MNIST, *options.split(), "--n-jobs", "1", "--out", str(out)]) == 0
    n_inputs = int(network.partition("-")[0])
    assert set(trained) == {(np.dtype("f4"), (n_examples, n_inputs), (n_examples,))}
    text = capsys.readouterr().out
    assert text.startswith(
        f"digits: {n_examples:,} digits to train on, 450 to test; network {network}, threads: 1\n"
    )
    without, backward = reported(text)
    assert len(without) == len(backward) == 4
    generations = [int(row[1].replace(",", "")) for row in without]
    assert min(generations) >= 1
    assert float(without[-1][2]) > 0.3
    losses, forwards = (
        int(re.search(rf"{what}[^0-9]*([0-9,]+)", text)[1].replace(",", ""))
        for what in ("A generation: ", "example-forwards of the longest run: ")
    )
    assert losses == 2 * 128 * 128  # of each of 128 pairs and digits
    assert forwards == losses * generations[-1]
    assert_is_a_figure(out)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("once", "each"), [(0.0, 0.01), (0.1, 0.002), (3.0, 0.5)])
def test_runs_are_as_long_as_they_are_told(once, each, monkeypatch, capsys):
    """An eighth, a quarter, half and all of the budget, less what a fit takes once."""
    lengths = []

    def fit(model, n_iter, train, test):
        lengths.append(n_iter)
        return mnist.Run(once + n_iter * each, n_iter, 0.5, model)

    monkeypatch.setattr(mnist, "_fit", fit)
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    runs = mnist._runs("backpropagation", MLPClassifier((2,)), (5, 20), 4.0, (X, y), (X, y))
    expected = [max(1, round((4.0 / share - once) / each)) for share in (8, 4, 2, 1)]
    assert lengths == [5, 20, *expected] == [5, 20, *(run.n_iter for run in runs)]


def test_images_are_moved():
    """Down and to the right by so many pixels, around the corner; images stay what they are."""
    images = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 1, 0, 0, 0, 0]], np.uint8)
    for (down, right), expected in {
        (0, 0): images,
        (1, 0): [[7, 8, 9, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0, 0, 1, 0]],
        (-1, 0): [[4, 5, 6, 7, 8, 9, 1, 2, 3], [0, 1, 0, 0, 0, 0, 0, 0, 0]],
        (0, 1): [[3, 1, 2, 6, 4, 5, 9, 7, 8], [0, 0, 0, 0, 0, 1, 0, 0, 0]],
        (0, -1): [[2, 3, 1, 5, 6, 4, 8, 9, 7], [0, 0, 0, 1, 0, 0, 0, 0, 0]],
    }.items():
        moved = _moved(images, down, right)
        assert moved.dtype == np.uint8
        np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize(("side", "n_places"), [(28, 49), (8, 4)])
def test_edges(side, n_places):
    """Each orientation answers to slopes along it; a ramp has the same ones away from borders."""
    down, right = np.mgrid[:side, :side].astype(np.float32) / 10
    ramps = [np.ones_like(down), right, down, -right, -down]
    flat, *maps = _edges(np.stack(ramps).reshape(5, -1)).reshape(5, 8, n_places)
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat, 0, atol=1e-5)
    for quarter, answer in enumerate(maps):  # of slope 0.1, times 10, along 0, 90, 180, 270
        angles = (np.arange(8) - 2 * quarter) * (np.pi / 4)
        if side == 28:
            middle = answer.reshape(8, 7, 7)[:, 2:5, 2:5]
            expected = np.maximum(np.cos(angles), 0)[:, None, None] * np.ones((8, 3, 3))
            np.testing.assert_allclose(middle, expected, atol=0.02)
        others = np.delete(answer, 2 * quarter, axis=0)
        np.testing.assert_array_less(others.max(axis=0), answer[2 * quarter])


def test_no_mnist(tmp_path, capsys, monkeypatch):
    """If MNIST cannot be had it says why, without a traceback."""

    def fetch(*args, **options):
        raise OSError("MNIST could not be loaded:\n- no network")

    monkeypatch.setattr("blackbox_es.datasets.fetch_mnist", fetch)
    assert status(["mnist", "--data-home", str(tmp_path)]) == 1
    assert "MNIST could not be loaded" in capsys.readouterr().err


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib(tmp_path, capsys):
    """Without matplotlib there is no figure, and it says how to have one."""
    out = tmp_path / "quadratic.png"
    assert main([*QUADRATIC, "--out", str(out)]) == 0
    assert "no figure: plots need matplotlib: python -m pip install" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "target"),
    [(QUADRATIC, (problems, "PerturbedQuadratic")), (MNIST, (sklearn.datasets, "load_digits"))],
    ids=["quadratic", "mnist"],
)
def test_interrupted(command, target, monkeypatch, capsys):
    """Control-C ends it with the status of an interrupt and no traceback."""

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(*target, interrupt)
    assert main(command) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["cifar"],
        ["quadratic", "--iterations", "0"],
        ["quadratic", "--iterations", "many"],
        ["quadratic", "--seed", "-1"],
        ["quadratic", "--problem-seed", "-1"],
        [*QUADRATIC, "--out", "no/such/folder/figure.png"],
        ["mnist", "--budget", "0"],
        ["mnist", "--dataset", "digits", "--budget", "inf"],
        ["mnist", "--budget", "nan"],
        ["mnist", "--dataset", "cifar"],
        [*MNIST, "--hidden", "0"],
        [*MNIST, "--seed", "-1"],
        [*MNIST, "--n-jobs", "0"],
        [*MNIST, "--budget", "0.1", "--out", "no/such/folder/figure.png"],
        ["study", "cubic"],
        ["study", "alpha", "--seeds", "0"],
        ["study", "alpha", "--jobs", "0"],
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments, tmp_path, monkeypatch, capsys):
    """Bad arguments end it at once with status 2 and a message, and no traceback."""
    monkeypatch.chdir(tmp_path)
    assert status(arguments) == 2
    error = capsys.readouterr().err
    assert "usage: blackbox-es" in error
    assert "error: " in error


# -- help, version, entry points -----------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["mnist"], ["quadratic"], ["study"]], ids=str)
def test_help(command, capsys):
    """Help tells every option and ends well."""
    assert status([*command, "--help"]) == 0
    text = capsys.readouterr().out
    options = {
        "mnist": (
            "--budget", "--seed", "--dataset", "--edges", "--shifts", "--hidden",
            "--n-jobs", "--out",
        ),
        "quadratic": ("--iterations", "--seed", "--problem-seed", "--out"),
        "study": ("--out", "--seeds", "--jobs", "--quick"),
    }  # fmt: skip
    for word in options[command[0]] if command else options:
        assert word in text


def test_as_a_module():
    """`python -m blackbox_es` is the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "blackbox_es", "--version"],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == blackbox_es.__version__


def test_console_script():
    """The script that is installed calls a function that is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["blackbox-es"].partition(":")
    assert getattr(importlib.import_module(module), function) is main
    assert project["version"] == blackbox_es.__version__


# -- check ---------------------------------------------------------------------------------------

MINE = """
import numpy as np
X0 = np.ones(30)
def start(): return [1.0, 2.0]
def loss(x): return float(((x - 0.5) ** 2).sum())
def rows(X): return ((X - 0.5) ** 2).sum(axis=1)
def gradient(x): return 2 * (x - 0.5)
def spoils(x):
    x -= 0.5
    return float((x**2).sum())
class problem:
    inner = staticmethod(loss)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the working directory; imported afresh each time."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    "words",
    [
        "mine:loss --x0 0.5 -1 2",
        "mine:loss --x0 mine:X0 --sigma 0.5 --surrogate mine:gradient",
        "mine:problem.inner --x0 mine:start --seed 3",
        "mine:rows --x0 1 2 --vectorized",
        "mine:loss --x0 1 2 --bounds 0 3 --stochastic",
        "scipy.optimize:rosen --x0 0 0 --checks check_pickle",
    ],
)
def test_check(words, mine, capsys):
    """It prints the report; nothing is wrong with these."""
    assert status(["check", *words.split()]) == 0
    text, errors = capsys.readouterr()
    assert text.startswith("check_objective(")
    assert not errors
    assert ("surrogate" in text) == ("--surrogate" in words)


def test_check_of_a_broken_objective(mine, capsys):
    """The failure is shown in full, and the exit status says so."""
    assert status(["check", "mine:spoils", "--x0", "1", "2"]) == 1
    text = capsys.readouterr().out
    assert "check_argument_untouched: The objective does not write into its argument" in text
    assert "what to do: work on a copy" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mine --x0 1", "'mine' is not of the form MODULE:NAME"),
        ("nowhere:f --x0 1", "there is no module 'nowhere'"),
        ("mine:nothing --x0 1", "module 'mine' has no 'nothing'"),
        ("mine:X0 --x0 1", "is not callable"),
        ("mine:loss --x0 one", "--x0 one: expected numbers, or MODULE:NAME"),
        ("mine:loss --x0 nan", "x0[0] is nan"),
        ("mine:loss --x0 1 --sigma 0", "sigma=0.0"),
        ("mine:loss --x0 1 --bounds 2 3", "is not within its bounds"),
        ("mine:loss --x0 1 --budget 0", "0 is less than 1"),
        ("mine:loss --x0 1 --checks check_x", "no check 'check_x' here"),
        ("mine:loss", "--x0"),
    ],
)
def test_check_of_bad_arguments(words, message, mine, capsys):
    """One line says what is wrong; the exit status is 2."""
    assert status(["check", *words.split()]) == 2
    assert message in capsys.readouterr().err
