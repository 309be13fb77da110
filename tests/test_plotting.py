"""Displays hold data and draw it; matplotlib is needed for drawing alone."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from problems import X0, bits, bowl, fit, make

from blackbox_es.plotting import ConvergenceDisplay

CURVES = {"one": ([1, 2, 3], [3.0, 2.0, 1.0]), "two": (np.arange(4), np.ones(4))}


def display(curves=CURVES):
    return ConvergenceDisplay(curves, xlabel="evaluations", ylabel="loss")


@pytest.fixture
def no_matplotlib(monkeypatch):
    """Importing matplotlib fails."""
    for name in [*sys.modules, "matplotlib", "matplotlib.figure"]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)


def test_init_only_holds_data():
    """The data and labels are kept as they are; nothing is drawn."""
    made = display()
    assert vars(made) == {"curves": CURVES, "xlabel": "evaluations", "ylabel": "loss"}
    assert made.curves is CURVES


def test_plot_draws_each_curve():
    """`plot` returns the display, with one line for each curve, its data and its name."""
    made = display()
    assert made.plot() is made
    assert [line.get_label() for line in made.lines_] == list(CURVES)
    assert made.ax_.get_lines()[:] == made.lines_
    for line, (x, y) in zip(made.lines_, CURVES.values(), strict=True):
        assert np.array_equal(line.get_xdata(), x)
        assert np.array_equal(line.get_ydata(), y)


def test_axes():
    """The axes bear the labels, and the values are on a logarithmic scale."""
    made = display().plot()
    assert (made.ax_.get_xlabel(), made.ax_.get_ylabel()) == ("evaluations", "loss")
    assert (made.ax_.get_xscale(), made.ax_.get_yscale()) == ("linear", "log")
    assert made.figure_ is made.ax_.figure


def test_a_legend_for_several_curves():
    """Names are shown if there is more than one."""
    texts = [text.get_text() for text in display().plot().ax_.get_legend().get_texts()]
    assert texts == list(CURVES)
    assert display({"one": CURVES["one"]}).plot().ax_.get_legend() is None


def test_given_axes_are_used():
    """On axes of the caller's, no figure is made."""
    ax = Figure().subplots()
    made = display().plot(ax)
    assert made.ax_ is ax
    assert made.figure_ is ax.figure
    assert len(ax.get_lines()) == 2


def test_keywords_style_the_lines():
    """Keywords go to the lines, and come before the defaults."""
    lines = display().plot(linewidth=5, color="red").lines_
    assert {(line.get_linewidth(), line.get_color()) for line in lines} == {(5, "red")}


def test_plot_again():
    """A second plot is another figure, with lines of its own."""
    made = display()
    first = made.plot().lines_
    assert made.plot().lines_ is not first
    assert not set(first) & set(made.lines_)


@pytest.mark.parametrize(("minimum", "ylabel"), [(0.0, "generation"), (0.75, "less the minimum")])
def test_from_strategies(minimum, ylabel):
    """A curve is the mean value of each generation, less the minimum, over the evaluations."""
    runs = {"vanilla": fit(make("vanilla-es")), "guided": fit(make("guided-es"), bowl, -X0)}
    made = ConvergenceDisplay.from_strategies(runs, minimum=minimum)
    for name, es in runs.items():
        x, y = made.curves[name]
        assert list(x) == [6, 12, 18, 24, 30]
        assert bits(np.asarray(y)) == bits(np.array(es.history_["mean"]) - minimum)
    assert made.ylabel.endswith(ylabel)
    assert len(made.plot().lines_) == 2


def test_figures_are_written(tmp_path):
    """A figure can be saved."""
    display().plot().figure_.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib():
    """Without matplotlib a display is made, and drawing tells how to install it."""
    made = display()
    with pytest.raises(ImportError, match="python -m pip install matplotlib"):
        made.plot()
