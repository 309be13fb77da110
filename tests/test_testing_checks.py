"""What all checks share: results, budget, expected failures, messages, and no trace left."""

import html.parser
import os
import pickle
import random
import re
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import pytest

import blackbox_es
from blackbox_es.testing import (
    CheckFailed,
    check_objective,
    check_optimizer,
    check_surrogate,
    objective_checks_generator,
    parametrize_with_objective_checks,
)
from blackbox_es.testing.gradient_laws import GRADIENT_CHECKS
from blackbox_es.testing.objectives import OBJECTIVE_CHECKS
from blackbox_es.testing.search_laws import SEARCH_CHECKS
from blackbox_es.testing.surrogates import SURROGATE_CHECKS

X0 = np.array([1.0, 2.0, 3.0])
# Those that apply to a plain function of one point.
PLAIN = [c.name for c in OBJECTIVE_CHECKS if c.name not in ("check_batch", "check_noise")]
TABLES = (OBJECTIVE_CHECKS, SURROGATE_CHECKS, GRADIENT_CHECKS, SEARCH_CHECKS)
EVERY = {c.name: c for checks in TABLES for c in checks}


def sphere(x):
    return float(x @ x)


def spoils(x):
    x += 1.0
    return float(x @ x)


@pytest.mark.parametrize("name", EVERY)
def test_checks_say_what_they_are(name):
    """A law of one line and an advice; what is needed comes before."""
    check = EVERY[name]
    assert name.startswith("check_")
    assert 10 < len(check.law) < 75
    assert not check.law.endswith(".")
    assert check.advice or name == "check_roughness"
    for checks in TABLES:
        names = [c.name for c in checks]
        assert len(set(names)) == len(names)
        for place, one in enumerate(checks):
            assert set(one.needs) <= set(names[:place])


# -- results -------------------------------------------------------------------------------------


def test_results_are_shaped_like_those_of_scikit_learn():
    """A list of dicts with the same keys, and a few more."""
    report = check_objective(spoils, X0, on_fail=None)
    shared = {"check_name", "exception", "status", "expected_to_fail", "expected_to_fail_reason"}
    assert [r["check_name"] for r in report] == PLAIN
    assert len(report) == len(PLAIN)
    for result in report:
        assert set(result) == {*shared, "subject", "law", "cost", "findings"}
        assert result["status"] in ("passed", "failed", "xfail", "skipped")
        assert (result["exception"] is None) == (result["status"] == "passed")
        assert result["subject"] is spoils
    assert report["check_argument_untouched"]["status"] == "failed"
    assert report.spent == sum(result["cost"] for result in report)
    assert report.findings["resolution"].endswith("bits")


def test_counted_evaluations_are_the_real_ones():
    """What is reported was called, no less and no more, but for the calls in other processes."""
    calls = []
    elsewhere = ("check_processes", "check_pickle", "check_neighbours")
    names = [c.name for c in OBJECTIVE_CHECKS if c.name not in elsewhere]
    report = check_objective(lambda x: calls.append(1) or sphere(x), X0, checks=names)
    assert report.spent == len(calls)


@pytest.mark.parametrize("options", [{}, {"vectorized": True}, {"stochastic": True}])
def test_no_check_costs_more_than_it_says(options):
    """Each check alone spends at most its cost."""

    def noisy(x, seed):
        return (x * x).sum(axis=-1) + 0.1 * np.random.default_rng(seed).standard_normal()

    def surrogate(x):
        return np.stack([x, x**2], axis=1)

    for f in (lambda x: (x * x).sum(axis=-1), noisy):
        report = check_objective(f, np.arange(8.0), surrogate_fn=surrogate, **options)
        assert report.spent <= 500
        for result in report:
            if result["check_name"] not in ("check_surrogate_informative", "check_surrogate_sign"):
                assert result["cost"] <= EVERY[result["check_name"]].cost(None)
        assert report["check_surrogate_informative"]["cost"] == 4 * 2 * (2 + 8)


def test_budget():
    """A check that would pass the budget is skipped, with its cost; those that fit still run."""
    report = check_objective(sphere, X0, budget=20, on_fail=None)
    assert report.spent <= 20
    skipped = report["check_finite_nearby"]
    assert skipped["status"] == "skipped"
    assert str(skipped["exception"]) == "costs 33 evaluations; 19 of 20 are left"
    assert report["check_deterministic"]["status"] == "passed"
    assert "skipped" in repr(report)


def test_one_cause_is_one_failure():
    """What follows from a law that is broken is skipped and says of which."""
    report = check_objective(lambda x: None, X0, on_fail=None)
    assert report.failed == ["check_return_value"]
    assert {str(r["exception"]) for r in report[1:]} >= {"check_return_value failed"}


def test_expected_failures():
    """They are marked, with their reason, and are no failures."""
    expected = {"check_argument_untouched": "it is documented"}
    report = check_objective(spoils, X0, expected_failed_checks=expected)
    result = report["check_argument_untouched"]
    assert (result["status"], result["expected_to_fail"]) == ("xfail", True)
    assert result["expected_to_fail_reason"] == "it is documented"
    assert not report.failed
    assert "it is documented" in repr(report)


def test_some_checks():
    """Only those that are named run."""
    report = check_objective(sphere, X0, checks=["check_pickle", "check_return_value"])
    assert [r["check_name"] for r in report] == ["check_return_value", "check_pickle"]


def test_callback():
    """Called with each result as it comes."""
    seen = []
    report = check_objective(sphere, X0, callback=lambda **result: seen.append(result))
    assert seen == list(report)


# -- failures ------------------------------------------------------------------------------------


def test_a_failure_says_law_example_and_cure():
    """First line the law, then the smallest example, last what to do."""
    with pytest.raises(CheckFailed) as raised:
        check_objective(spoils, X0)
    lines = str(raised.value).splitlines()
    assert lines[0] == (
        "check_argument_untouched: The objective does not write into its argument: violated."
    )
    assert lines[1:3] == ["    x before: [1., 2., 3.]", "    x after: [2., 3., 4.]"]
    assert lines[3].startswith("    what to do: work on a copy")
    assert isinstance(raised.value, AssertionError)


def test_all_failures_are_raised_together():
    """Independent failures are reported at once."""
    calls = []

    def twice_wrong(x):
        np.random.seed(len(calls))  # noqa: NPY002
        return spoils(x)

    with pytest.raises(CheckFailed) as raised:
        check_objective(twice_wrong, X0)
    text = str(raised.value)
    assert "check_argument_untouched: " in text
    assert "check_global_state: " in text
    assert "checks of check_objective(twice_wrong) failed" in text


def test_what_the_objective_raised_is_the_cause():
    """Its traceback is kept."""

    def raises(x):
        raise KeyError("mine")

    with pytest.raises(CheckFailed, match="raised: KeyError") as raised:
        check_objective(raises, X0)
    assert isinstance(raised.value.__cause__, KeyError)


def test_on_fail_warn():
    """One warning for each failure."""
    with pytest.warns(RuntimeWarning, match="check_argument_untouched"):
        report = check_objective(spoils, X0, on_fail="warn")
    assert report.failed == ["check_argument_untouched"]


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "checks: no check 'check_no' here: ch", {"checks": ["check_no"]}),
        (ValueError, "failed_checks: no check 'x'", {"expected_failed_checks": {"x": "y"}}),
        (ValueError, "on_fail='explode'", {"on_fail": "explode"}),
        (ValueError, "sigma=0.0", {"sigma": 0.0}),
        (ValueError, r"bounds has 1 pairs: expected 3", {"bounds": [(0, 1)]}),
        (ValueError, r"x0\[2\]=3.0 is not within its bounds", {"bounds": [(0, 9), (0, 9), (0, 1)]}),
        (ValueError, r"x0\[1\] is nan", {"x0": [0.0, np.nan]}),
        (TypeError, "f=3 is not callable", {"f": 3}),
        (TypeError, "surrogate_fn=3 is not callable", {"surrogate_fn": 3}),
        (ValueError, "budget=0", {"budget": 0}),
        (ValueError, "seed=-1", {"seed": -1}),
    ],
)  # fmt: skip
def test_bad_arguments(error, message, options):
    """They are named before anything is evaluated."""

    def never(x):
        raise RuntimeError("evaluated")

    with pytest.raises(error, match=message):
        check_objective(**{"f": never, "x0": X0, **options})


def test_bad_arguments_of_the_others():
    """So they are elsewhere."""
    with pytest.raises(TypeError, match="surrogate_fn=None is not callable"):
        check_surrogate(sphere, None, X0)
    with pytest.raises(TypeError, match="factory=3 is not callable"):
        check_optimizer(3)


# -- representations -----------------------------------------------------------------------------


def test_repr_is_readable():
    """A line for each check, what was found, and the failures in full; nothing too wide."""
    text = repr(check_objective(spoils, X0, on_fail=None))
    assert text.startswith("check_objective(spoils): ")
    assert "  FAILED  check_argument_untouched  The objective does not write" in text
    assert "  ok      check_return_value " in text
    assert re.search(r"suggested sigma +0\.1 \(", text)
    assert "what to do: " in text
    assert max(map(len, text.splitlines())) <= 115


def test_html_is_well_formed():
    """Tags are closed and what the user wrote is escaped."""

    def raises(x):
        raise ValueError("<script>alert('x')</script> & more")

    text = check_objective(raises, X0, on_fail=None)._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    open_tags = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Parser().feed(text)
    assert not open_tags


# -- reproducible, and no trace left -------------------------------------------------------------


def test_the_same_report_each_time():
    """All randomness comes from the seed, also if the objective uses NumPy's global generator."""

    def restless(x):
        return sphere(x) + np.random.normal()  # noqa: NPY002

    for f, options in ((sphere, {}), (restless, {"stochastic": True})):
        texts = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002
            report = check_objective(f, X0, on_fail=None, **options)
            report.seconds = 0.0
            texts.append(repr(report))
        assert texts[0] == texts[1]


def test_nothing_global_is_changed():
    """Not even what a bad objective does to the global generators remains."""

    def reseeds(x):
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        return sphere(x)

    before = pickle.dumps((np.random.get_state(), random.getstate(), np.geterr()))  # noqa: NPY002
    check_objective(reseeds, X0, on_fail=None)
    assert pickle.dumps((np.random.get_state(), random.getstate(), np.geterr())) == before  # noqa: NPY002


def test_x0_is_left_alone():
    """And may be a list."""
    x0 = X0.copy()
    check_objective(spoils, x0, on_fail=None)
    assert x0.tolist() == X0.tolist()
    assert not check_objective(sphere, [1, 2, 3]).failed


def test_works_without_pytest_and_hypothesis():
    """The kit imports neither."""
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
        "from blackbox_es.testing import *\n"
        "print(check_objective(lambda x: x @ x, [1.0, 2.0]).failed)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- one by one ----------------------------------------------------------------------------------


def test_generator():
    """Pairs of subject and check; a check raises if its law is broken, or SkipTest."""
    outcome = {}
    for f, check in objective_checks_generator(spoils, X0, budget=100):
        try:
            check(f)
            outcome[check.name] = "passed"
        except CheckFailed:
            outcome[check.name] = "failed"
        except unittest.SkipTest as why:
            outcome[check.name] = str(why)
    assert list(outcome) == PLAIN
    assert outcome["check_argument_untouched"] == "failed"
    assert outcome["check_read_only"] == "check_argument_untouched failed"
    assert "are left" in outcome["check_roughness"]


@parametrize_with_objective_checks(
    {"sphere": (sphere, X0), "spoils": (spoils, X0)},
    expected_failed_checks=lambda f: {"check_argument_untouched": "x - 1"} if f is spoils else {},
)
def test_parametrized(objective, check):
    """As users write it: expected failures are xfail, of one objective here."""
    check(objective)


MINE = """
import threading

def spoils(x):
    x -= 1.0
    return float(x @ x)

def raises(x, seed=0):
    raise KeyError("mine")

def raises_far_away(x):
    return float(x @ x) if abs(x).max() < 1e3 else exit()

def raises_if_read_only(x):
    return float(x @ x) if x.flags.writeable else raises(x)

def raises_in_threads(x):
    main = threading.current_thread() is threading.main_thread()
    return float(x @ x) if main else raises(x)

class Stuck:
    def __init__(self, x0, seed):
        pass
    def ask(self):
        raise KeyError("mine")
"""

TESTS = """
import numpy as np
from blackbox_es.testing import *
from blackbox_es.testing.stateful import optimizer_machine
from blackbox_es.testing.statistics import assert_mean
from mine import *

@parametrize_with_objective_checks(
    {"spoils": (spoils, [1, 2])}, checks=["check_argument_untouched"]
)
def test_step(objective, check):
    check(objective)

def test_steps():
    for f, check in objective_checks_generator(spoils, [1, 2]):
        check(f)

def test_report():
    check_objective(spoils, [1, 2])

def test_cause():
    check_objective(raises, [1, 2])

def test_far_away():
    check_objective(raises_far_away, [1, 2])

def test_read_only():
    check_objective(raises_if_read_only, [1, 2])

def test_threads():
    check_objective(raises_in_threads, [1, 2], checks=["check_threads"])

def test_processes():
    check_objective(raises, [1, 2], checks=["check_processes"])

def test_surrogate():
    check_surrogate(lambda x: float(x @ x), raises, [1, 2])

def test_gradient():
    check_gradient_estimator(raises)

def test_optimizer():
    check_optimizer(Stuck)

def test_mean():
    assert_mean(np.zeros(10**4), 1.0, std=1.0, detects=1.0)

TestMachine = optimizer_machine(Stuck).TestCase
"""


def test_under_pytest_the_report_comes_first(tmp_path):
    """Below the line of the test, with no frame of ours; the user's own are there."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    root = str(Path(blackbox_es.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    text = done.stdout
    assert "13 failed" in text, text + done.stderr
    assert not re.search(r"blackbox_es.testing.\w+\.py", text), text
    lines = text.splitlines()
    below = [lines[i + 1].split()[1:3] for i, line in enumerate(lines) if line[:5] == ">    "]
    failed = ["blackbox_es.testing.CheckFailed:", "check_argument_untouched:"]
    assert below[:3] == [failed] * 3
    assert below.count(["KeyError:", "'mine'"]) >= 5  # causes, at the user's own line
    assert re.search(r"raised in a worker: KeyError\('mine'\) in line 9 of .*mine\.py", text)
    assert lines.count("check = check_argument_untouched") == 1
