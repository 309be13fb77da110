"""Tables for people: data frames, and what a notebook shows of a strategy."""

import re
import sys

import numpy as np
import pytest
from problems import X0, fit, make
from sklearn.exceptions import NotFittedError

from blackbox_es import ESMLPClassifier, ESMLPRegressor, VanillaES
from blackbox_es.plotting import ConvergenceDisplay
from blackbox_es.strategies import STRATEGIES
from blackbox_es.unrolled import PersistentES
from blackbox_es.unrolled.tasks import InfluenceBalancing

X, Y = np.eye(4), np.array([0, 1, 0, 1])


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_frame_is_the_history(name):
    """A row for each generation, 1 for the first, and a column for each of the history's."""
    es = fit(make(name))
    frame = es.history_frame()
    assert list(frame.columns) == list(es.history_)
    assert list(frame.index) == list(range(1, es.n_iter_ + 1))
    assert frame.index.name == "generation"
    for column, values in es.history_.items():
        assert frame[column].to_numpy().tobytes() == np.array(values).tobytes()
    frame["mean"] = 0.0  # the frame is a copy


def test_frames_of_networks():
    """The loss of each generation."""
    for model in ESMLPClassifier((2,)), ESMLPRegressor((2,)):
        with pytest.raises(NotFittedError):
            model.history_frame()
        model.set_params(max_iter=3, random_state=0).fit(X, Y)
        frame = model.history_frame()
        assert list(frame.index) == [1, 2, 3]
        assert list(frame["loss"]) == model.loss_curve_


def test_frames_of_unrolled_searches():
    """A row for each iteration."""
    es = PersistentES(truncation=10, n_pairs=2, max_iter=3, random_state=0)
    es.fit(InfluenceBalancing(5, 2, horizon=20), [0.5])
    frame = es.history_frame()
    assert list(frame.index) == [1, 2, 3]
    assert list(frame["mean"]) == list(es.history_["mean"])
    made = ConvergenceDisplay.from_results({"a": es})
    assert list(made.curves["a"][0]) == list(es.history_["n_evaluations"])


def test_without_pandas(monkeypatch):
    """It says how to have it; there must be a search, with or without it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="python -m pip install pandas"):
        fit(make("vanilla-es")).history_frame()
    with pytest.raises(RuntimeError, match="start"):
        make("vanilla-es").history_frame()


def cells(html):
    """Names and texts of all rows, and the names of the bold ones."""
    rows = re.findall(r"<tr style=\"font-weight: (\w+)[^>]*><td>(.*?)</td><td>(.*?)</td>", html)
    return {name: text for _, name, text in rows}, {name for how, name, _ in rows if how == "bold"}


@pytest.mark.parametrize("name", STRATEGIES)
def test_html_before_a_search(name):
    """All parameters, those that differ from the defaults bold; no progress."""
    es = STRATEGIES[name](max_iter=7)
    found, bold = cells(es._repr_html_())
    assert list(found) == list(es.get_params(deep=False))
    assert found["max_iter"] == "7"
    assert bold == {"max_iter"}
    assert type(es).__name__ in es._repr_html_()


def test_html_of_a_search():
    """Where it is, and why it stopped."""
    es = make("vanilla-es", max_iter=5).start(X0)
    es.tell(es.ask(), np.arange(6.0))
    found, _ = cells(es._repr_html_())
    assert found["generations"] == "1"
    assert found["evaluations"] == "6"
    assert found["value"] == "2.5"
    assert found["best value"] == "0"
    assert found["stopped"] == "no: it goes on"
    assert cells(fit(make("vanilla-es"))._repr_html_())[0]["stopped"] == "max_iter"


def test_html_is_escaped():
    """Parameters may have anything in their reprs."""
    html = VanillaES(random_state="<b>&")._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html
