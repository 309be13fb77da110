"""What the scripts of tests/benchmarks count, keep and draw; their peers are not needed."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import coco
import coco_results
import convergence
import records


def test_first_hits_are_those_of_a_plain_loop():
    """The evaluations until each target: ties, NaN and values that get worse again included."""
    rng = np.random.default_rng(0)
    for size in (0, 1, 40):
        counts = np.cumsum(rng.integers(1, 9, size)).tolist()
        values = (10.0 ** rng.uniform(-10, 4, size)).tolist()
        values[2:5] = [coco_results.TARGETS[7], np.nan, coco_results.TARGETS[7]][: len(values[2:5])]
        expected = [
            next((c for c, v in zip(counts, values, strict=True) if v <= target), np.inf)
            for target in coco_results.TARGETS
        ]
        assert coco_results.first_hits(counts, values).tolist() == expected
    exact = coco_results.first_hits([1, 2], coco_results.TARGETS[[0, 3]])
    assert exact[:5].tolist() == [1, 2, 2, 2, np.inf]


def test_a_run_has_exactly_its_budget():
    """And keeps the values that were better than all before."""
    run = coco.Run(lambda x: float(x), 4)
    for x in (3, 4, 1, 1):
        run(x)
    with pytest.raises(records.Spent):
        run(0)
    assert run.values() == ([1, 3], [3.0, 1.0])


def test_with_noise_what_is_recommended_counts():
    """Judged without noise; without recommendations, the points with the best values measured."""
    run = coco.NoisyRun(lambda x: float(x[0]), 9, clean=lambda x: float(x[0]) + 0.5)
    x = np.array([3.0])
    for x[0] in (3, 4, 1):
        run(x)
    assert run.values() == ([1, 3], [3.5, 1.5])
    for x[0] in (7, 8):
        run.callback(x)
    assert run.values() == ([3, 3], [7.5, 8.5])  # the first one due, and the last one


def test_rows_are_kept_and_a_broken_one_is_not(tmp_path):
    """What is appended is read again."""
    for i in range(2):
        records.append(tmp_path / "new" / "a.csv", {"solver": 'x:{"a": 1, "b": 2}', "n": i})
    with (tmp_path / "new" / "a.csv").open("a") as file:
        file.write("half")
    assert [row["n"] for row in records.rows(tmp_path / "new")] == ["0", "1"]
    name, options = records.split_solver(next(records.rows(tmp_path / "new"))["solver"])
    assert (name, options) == ("x", {"a": 1, "b": 2})
    assert records.split_solver("x#edited") == ("x", {})
    assert records.numbers("1-3,7") == [1, 2, 3, 7]


def rows_of(solver, functions, hits, budget):
    """Runs that reach the first target after ``hits`` evaluations, and no other."""
    for function in functions:
        empty = {f"t{i}": "" for i in range(1, coco_results.TARGETS.size)}
        key = dict(zip(coco_results.KEY, (solver, "bbob", function, 2, 1, 1), strict=True))
        yield {**key, "budget": budget, "evaluations": budget, "t0": hits, **empty}


def test_shares_are_of_the_runs_that_all_have(tmp_path):
    """The run with the larger budget counts; budgets that were not spent have no column."""
    for row in (
        *rows_of("peer", (1, 2), 200, 2000),
        *rows_of("ours", (2, 3), 201, 200),
        *rows_of("ours", (2,), 201, 600),
    ):
        records.append(tmp_path / "a.csv", row)
    cases = {(function, 2, 1, 1) for function in range(1, 25)}
    found = coco_results.load(tmp_path, "bbob", None, cases)
    assert list(found) == ["ours", "peer"]
    assert found["ours"].cases.tolist() == [[2, 2, 1, 1]]
    shares = [coco_results.share(found[s].hits, 100) for s in ("ours", "peer")]
    assert shares == [0.0, 1 / coco_results.TARGETS.size]
    text = coco_results.report(found, "bbob")
    assert text.count("| ours ") == 2  # 100 n and 300 n
    assert "1000 n evaluations" in text
    coco_results.draw(found, "bbob", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert coco_results.budgets(tmp_path)["ours", "bbob", 2, 2, 1, 1] == 600


@pytest.mark.parametrize("heights", [[], [50.0], [99, 100, 98.0], [0, 0, 1, 90], [3.0] * 19])
def test_labels_keep_their_order_and_distance(heights):
    """And stay below the top of the figure."""
    moved = coco_results.apart(heights, 5.0)
    assert all(np.diff(np.sort(moved)) > 5.0 - 1e-9)
    assert max(moved, default=0) <= 100
    assert coco_results.apart([52.0, 50.0], 5.0) == [53.5, 48.5]  # as little as it takes
    by_height = np.argsort(heights, kind="stable")
    assert np.array_equal(by_height, np.argsort(moved, kind="stable"))


@pytest.mark.parametrize("name", convergence.PROBLEMS)
def test_problems_have_their_minimum_zero(name):
    """At the zeros, or the ones, and nowhere near them less; the start is far from the target."""
    f, rng = convergence.PROBLEMS[name](6, 3), np.random.default_rng(0)
    best, x0 = (np.ones(6), np.zeros(6)) if name == "rosenbrock" else (np.zeros(6), np.ones(6))
    assert f(best) == 0.0
    assert f(x0) > 0.1
    assert min(f(best + rng.normal(0.0, 0.3, 6)) for _ in range(50)) > 0.0
    again = convergence.PROBLEMS[name](6, 3)
    assert f(np.arange(6.0)) == again(np.arange(6.0))


def test_a_rotation_keeps_lengths():
    """It is orthogonal, and another one for another seed."""
    x = np.arange(5.0)
    turned = convergence.rotated(convergence.quadratic(np.ones(5)), 5, 1)
    assert turned(x) == pytest.approx(30.0)
    assert convergence.PROBLEMS["rotated cigar"](5, 1)(x) != convergence.PROBLEMS["rotated cigar"](
        5, 2
    )(x)


def test_ours_reaches_the_target():
    """A whole run: it ends when the center is there, which costs nothing."""
    run = convergence.Run(convergence.quadratic(np.ones(3)), 5000, 60.0)
    with pytest.raises(records.Spent):
        convergence.ours(run, np.ones(3), 1)
    assert run.stop == "target"
    assert run.value <= convergence.TARGET
    run = convergence.Run(convergence.quadratic(np.ones(3)), 5, 60.0)
    with pytest.raises(records.Spent):
        convergence.ours(run, np.ones(3), 1)
    assert (run.stop, run.count) == ("evaluations", 5)
    row = {"stop": "target", "evaluations": "10"}
    assert convergence.cell([row]) == "10 (1)"
    assert convergence.cell([row, {"stop": "time"}]) == "1/2"
