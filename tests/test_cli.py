"""The command line, in process and out of it."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib.image
import pytest
import sklearn.pipeline

import blackbox_es
from blackbox_es import problems
from blackbox_es.cli import main

ROOT = Path(blackbox_es.__file__).parents[1]
QUADRATIC = ["quadratic", "--iterations", "50"]
MNIST = ["mnist", "--dataset", "digits", "--budget", "2", "--hidden", "8"]


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
    """What the report of a training says, by name."""
    return dict(re.findall(r"^(\S+(?: \S+)*) {2,}(\S+)", text, re.MULTILINE))


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


def test_mnist_command_on_digits(tmp_path, capsys):
    """It trains within its budget, reports what it did, and writes a figure."""
    out = tmp_path / "digits.png"
    assert main([*MNIST, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("digits: 1,347 digits to train on, 450 to test\n")
    report = reported(text)
    assert float(report["test accuracy"]) > 0.3
    assert report["network"].rstrip(",") == "64-8-10"
    generations, evaluations, forwards = (
        int(report[name].replace(",", ""))
        for name in ("generations", "loss evaluations", "example-forwards")
    )
    n_pairs = int(re.search("of ([0-9,]+) antithetic pairs", text)[1].replace(",", ""))
    assert evaluations == 2 * n_pairs * generations < forwards
    assert_is_a_figure(out)


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
    [(QUADRATIC, (problems, "PerturbedQuadratic")), (MNIST, (sklearn.pipeline, "make_pipeline"))],
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


@pytest.mark.parametrize("command", [[], ["mnist"], ["quadratic"]], ids=str)
def test_help(command, capsys):
    """Help tells every option and ends well."""
    assert status([*command, "--help"]) == 0
    text = capsys.readouterr().out
    options = {
        "mnist": ("--budget", "--seed", "--dataset", "--raw", "--hidden", "--n-jobs", "--out"),
        "quadratic": ("--iterations", "--seed", "--problem-seed", "--out"),
    }
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
