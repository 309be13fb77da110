"""Displays hold data and draw it; matplotlib is needed for drawing alone."""

import itertools
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from problems import X0, bits, bowl, fit, make
from scipy.optimize import OptimizeResult, minimize

from blackbox_es import ESMLPClassifier
from blackbox_es.plotting import ConvergenceDisplay, LiveDisplay
from blackbox_es.plotting.axes import spread
from blackbox_es.plotting.convergence import band

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
    assert vars(made) == {
        "curves": CURVES, "xlabel": "evaluations", "ylabel": "loss", "title": "",
    }  # fmt: skip
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


def test_a_linear_axis_for_values_that_are_not_positive():
    """A zero has no logarithm; values that are not finite say nothing."""
    assert display({"one": ([1, 2], [1.0, 0.0])}).plot().ax_.get_yscale() == "linear"
    assert display({"one": ([1, 2], [np.nan, np.inf])}).plot().ax_.get_yscale() == "linear"
    assert display({"one": ([1, 2], [np.nan, 2.0])}).plot().ax_.get_yscale() == "log"


def test_names_at_the_ends_of_several_lines():
    """If there is more than one, each has its name, in its colour, at the height of its end."""
    made = display().plot()
    assert [label.get_text() for label in made.labels_] == list(CURVES)
    assert [label.get_color() for label in made.labels_] == [c.get_color() for c in made.lines_]
    assert [label.xy[1] for label in made.labels_] == [1.0, 1.0]
    first, second = (label.get_position()[1] for label in made.labels_)
    assert abs(first - second) > 0.04  # both lines end at 1: the names are apart
    assert made.ax_.get_legend() is None
    assert display({"one": CURVES["one"]}).plot().labels_ == []


def test_a_line_without_an_end_has_a_name():
    """NaN at the end: the last known point counts; without any there is no leader."""
    made = display({"a": ([1, 2], [2.0, np.nan]), "b": ([1, 2], [np.nan, np.nan])}).plot()
    assert made.labels_[0].xy[1] == 2.0
    assert made.labels_[1].arrow_patch is None


def test_lines_are_told_apart_without_colour():
    """Colours repeat after seven and styles after five lines: no two lines look the same."""
    lines = display({str(i): ([1, 2], [1.0, i + 1.0]) for i in range(12)}).plot().lines_
    looks = {(line.get_color(), str(line._dash_pattern)) for line in lines}
    assert len(looks) == 12
    assert len({str(line._dash_pattern) for line in lines}) == 5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0.01, 0.1))
def test_names_are_spread(heights, gap):
    """They keep their order, are a gap apart and in sight, and nothing in sight is nearer."""
    placed = spread(heights, gap)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    assert -1e-9 <= placed.min() <= placed.max() <= 1 + 1e-9
    best = minimize(
        lambda x: ((x - np.array(heights)[order]) ** 2).sum(),
        gap * np.arange(len(heights)), method="SLSQP", bounds=[(0, 1)] * len(heights),
        constraints={"type": "ineq", "fun": lambda x: np.diff(x) - gap},
    )  # fmt: skip
    np.testing.assert_allclose(((placed - heights) ** 2).sum(), best.fun, atol=1e-5)


def test_names_that_do_not_fit():
    """Begin at the bottom."""
    assert spread([0.9, 0.1, 0.5], 0.6).tolist() == [1.2, 0.0, 0.6]


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


def test_looks_of_single_lines():
    """By name, and before the keywords of all."""
    lines = display().plot(looks={"two": {"color": "red"}}, color="blue").lines_
    assert [line.get_color() for line in lines] == ["blue", "red"]


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


# -- bands over runs -----------------------------------------------------------------------------

RUNS = [([0.0, 2.0], [1.0, 3.0]), ([0.0, 1.0], [5.0, 5.0]), ([1.0, 3.0], [9.0, 9.0])]
RUNS = [(np.array(x), np.array(y)) for x, y in RUNS]


def test_a_band():
    """Medians and extremes where any run has a point; what has ended goes on as it was."""
    x, middle, low, high = band(RUNS, quartiles=False)
    assert x.tolist() == [1, 2, 3]  # before 1 a run is not known
    assert middle.tolist() == [5, 5, 5]
    assert (low.tolist(), high.tolist()) == ([2, 3, 3], [9, 9, 9])


def test_quartiles_of_five_runs():
    """A band of fewer runs is from the least to the greatest value; the title says what it is."""
    runs = [(np.arange(3), np.full(3, float(i))) for i in (10, 2, 3, 4, 5)]
    five = ConvergenceDisplay.from_curves({"a": runs, "b": runs[:1]}, xlabel="x", ylabel="y")
    _, middle, low, high = five.curves["a"]
    assert (middle[0], low[0], high[0]) == (4, 3, 5)
    assert five.title == "medians of 5 runs, bands between their quartiles"
    four = ConvergenceDisplay.from_curves({"a": runs, "b": runs[:4]}, xlabel="x", ylabel="y")
    assert [end[0] for end in four.curves["a"][1:]] == [4, 2, 10]
    assert four.title == "medians of 4 to 5 runs, bands from the least to the greatest"
    assert len(four.plot().bands_) == 2
    one = ConvergenceDisplay.from_curves({"a": runs[:1]}, xlabel="x", ylabel="y")
    assert (one.title, one.plot().bands_) == ("", [])


def test_from_results():
    """Searches and their results are one; runs of a name are a band, a single one is a line."""
    runs = [fit(make("vanilla-es", random_state=seed)) for seed in range(3)]
    of_searches = ConvergenceDisplay.from_results({"a": runs, "b": runs[0]})
    results = {"a": [es.result_ for es in runs], "b": [runs[0].result_]}
    of_results = ConvergenceDisplay.from_results(results)
    for name in "ab":
        for one, other in zip(of_searches.curves[name], of_results.curves[name], strict=True):
            assert bits(np.asarray(one)) == bits(np.asarray(other))
    x, middle, _, _ = of_searches.curves["a"]
    assert list(x) == [6, 12, 18, 24, 30]
    assert bits(middle) == bits(np.median([es.history_["mean"] for es in runs], axis=0))
    assert bits(of_searches.curves["b"][1]) == bits(np.array(runs[0].history_["mean"]))
    assert of_searches.title == "medians of 3 runs, bands from the least to the greatest"


def test_over_generations():
    """Which are counted from 1."""
    made = ConvergenceDisplay.from_results({"a": fit(make("pgpe"))}, x="generations")
    assert list(made.curves["a"][0]) == [1, 2, 3, 4, 5]
    assert made.xlabel == "generations"


def test_what_cannot_be_drawn_is_refused():
    """By name, with what to do."""
    es = fit(make("vanilla-es"))
    with pytest.raises(ValueError, match="x='steps': take 'evaluations', 'generations'"):
        ConvergenceDisplay.from_results({"a": es}, x="steps")
    with pytest.raises(ValueError, match=r"results\['a'\] is empty"):
        ConvergenceDisplay.from_results({"a": []})
    with pytest.raises(ValueError, match=r"seconds.*LiveDisplay"):
        ConvergenceDisplay.from_results({"a": es}, x="seconds")
    with pytest.raises(TypeError, match="3 is no run"):
        ConvergenceDisplay.from_results({"a": [3]})
    with pytest.raises(TypeError, match="is no run"):
        ConvergenceDisplay.from_results({"a": OptimizeResult(x=1.0, fun=2.0)})


# -- live ----------------------------------------------------------------------------------------


@pytest.fixture
def notebook(monkeypatch):
    """IPython as a notebook has it: what is displayed, and then put in its place."""
    shown = []
    handle = types.SimpleNamespace(update=lambda drawn: shown.append(("update", drawn)))

    def show(drawn, display_id):
        shown.append(("display", drawn))
        return handle

    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.version_info = (9, 0)  # matplotlib asks for it
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=None)
    module.display = show
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_a_live_display_keeps_the_history():
    """That of the search, with seconds that increase; nothing is drawn outside of a notebook."""
    live = LiveDisplay(every=0.0)
    es = make("guided-es").fit(bowl, X0, lambda x: x, live)
    assert live.history_["n_evaluations"] == list(es.history_["n_evaluations"])
    assert live.history_["mean"] == list(es.history_["mean"])
    assert (np.diff(live.history_["seconds"]) > 0).all()
    made = ConvergenceDisplay.from_results({"a": [live, live]}, x="seconds")
    assert list(made.curves["a"][0]) == live.history_["seconds"]
    assert bits(es.x_) == bits(make("guided-es").fit(bowl, X0, lambda x: x).x_)


def test_a_live_display_in_a_notebook(notebook):
    """The first drawing is displayed, further ones take its place."""
    live = LiveDisplay(every=0.0)
    make("vanilla-es").fit(bowl, X0, callback=live)
    assert [how for how, _ in notebook] == ["display"] + 4 * ["update"]
    last = notebook[-1][1]
    assert list(last.curves["fit"][1]) == live.history_["mean"]
    assert last.title.startswith(f"{live.history_['mean'][-1]:.4g} after ")
    assert last._repr_png_().startswith(b"\x89PNG")


def test_a_live_display_is_not_drawn_all_the_time(notebook, monkeypatch):
    """But when so many seconds have passed since the last drawing."""
    clock = itertools.count()  # a look at it takes a second
    monkeypatch.setattr("blackbox_es.plotting.live.time.perf_counter", lambda: next(clock))
    live = LiveDisplay(every=3)
    for i in range(5):  # seconds 1, 2, 3, and after the drawing 5, 6
        live(OptimizeResult(nfev=i, fun=1.0))
    assert live.history_["seconds"] == [1, 2, 3, 5, 6]
    assert len(notebook) == 1


def test_a_live_display_in_a_terminal(notebook):
    """IPython in a terminal has no kernel: nothing is drawn."""
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace()
    make("vanilla-es").fit(bowl, X0, callback=LiveDisplay(every=0.0))
    assert notebook == []


def test_a_live_display_of_an_estimator():
    """Losses and evaluations of a network, as it counts them."""
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    live = LiveDisplay()
    model = ESMLPClassifier((2,), max_iter=3, random_state=0).fit(X, y, callback=live)
    assert live.history_["mean"] == model.loss_curve_
    assert live.history_["n_evaluations"][-1] == model.n_evaluations_


# -- files ---------------------------------------------------------------------------------------


def test_figures_are_written(tmp_path):
    """A figure can be saved."""
    display().plot().figure_.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_notebook_shows_what_was_plotted():
    """On the axes of the last plot, or of one that is made for it."""
    made = display()
    made._repr_png_()
    figure = made.figure_
    assert made._repr_png_().startswith(b"\x89PNG")
    assert made.figure_ is figure


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib():
    """Without matplotlib a display is made, and drawing tells how to install it."""
    made = display()
    with pytest.raises(ImportError, match="python -m pip install matplotlib"):
        made.plot()
