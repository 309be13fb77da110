"""What estimators for unrolled problems reach, and at what cost.

    python tests/benchmarks/unrolled.py influence --figure influence.png
    python tests/benchmarks/unrolled.py learned --figure learned.png
    python tests/benchmarks/unrolled.py quadratics --seeds 10
    python tests/benchmarks/unrolled.py schedule
    python tests/benchmarks/unrolled.py schedule --data mnist

Cost is counted in inner steps; one that is differentiated counts as three. Options were chosen on
seeds from 101 on (``--first 101``); what is reported is seeds from 1 on. A seed is that of the
search and of where it begins, and of the order of examples; all losses are means over episodes that
no search has seen. With OPENBLAS_NUM_THREADS=1 it is quicker: the matrices are small.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

from blackbox_es import Cosine
from blackbox_es.optimizers import Adam
from blackbox_es.schedules import value_at
from blackbox_es.unrolled import FullES, NoiseReuseES, PersistentES, TruncatedES, unroll
from blackbox_es.unrolled.tasks import (
    InfluenceBalancing,
    LearnedOptimizer,
    NetworkSchedule,
    RandomQuadratics,
)

HELD_OUT = np.arange(10**6, 10**6 + 200)  # seeds of episodes that no search sees


# -- searches ------------------------------------------------------------------------------------


def searched(es, problem, theta0, budget, n_points, loss):
    """Inner steps and the loss at x_, at ``n_points`` times of a search."""
    found = [(0, loss(theta0))]
    for i in range(1, n_points + 1):
        es.set_params(max_iter=10**9, max_evals=budget * i // n_points)
        es.fit(problem, theta0 if i == 1 else None, resume=i > 1)
        found.append((es.n_evaluations_, loss(es.x_)))
    return np.array(found)


def descended(problem, theta0, n_steps, rate, budget, n_points, loss, seed, n_rows=1):
    """The same for Adam along truncated gradients of particles without noise."""
    rng, x, adam = np.random.default_rng(seed), theta0.copy(), Adam()
    state, found, each = adam.init(x), [(0, loss(theta0))], 3 * n_steps * n_rows
    done, seeds = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
    inner, n_windows = problem.init(seeds), problem.horizon // n_steps
    # Particles are at different windows, as pairs are.
    ends = problem.horizon - np.arange(n_rows) * n_windows // n_rows * n_steps
    for i in range(budget // each):
        over = done >= ends if i else done == 0
        if over.any():
            seeds[over], done[over] = rng.integers(2**31, size=over.sum()), 0
            ends[over] = problem.horizon if i else ends[over]
            inner = tuple(part.copy() for part in inner)
            for part, new in zip(inner, problem.init(seeds[over]), strict=True):
                part[over] = new
        rows = np.repeat(x[None], n_rows, axis=0)
        inner, gradients = problem.truncated_gradient(rows, inner, done, seeds, n_steps)
        done += n_steps
        gradient = gradients.mean(axis=0).astype(x.dtype)
        x, state = adam.step(x, gradient, state, value_at(rate, i))
        if (i + 1) * each >= budget * len(found) // n_points or i + 1 == budget // each:
            found.append(((i + 1) * each, loss(x)))
    return np.array(found)


def mean_interval(values):
    """Mean and half of its 95 % interval, by Student's t."""
    from scipy.stats import t

    n = len(values)
    return np.mean(values), t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)


def reached(curve, loss):
    """Inner steps until the loss is as low as this, between points by a straight line."""
    below = np.flatnonzero(curve[:, 1] <= loss)
    if not below.size or below[0] == 0:
        return np.inf if not below.size else 0.0
    (a, fa), (b, fb) = curve[below[0] - 1 : below[0] + 1]
    return a + (b - a) * (fa - loss) / (fa - fb)


# -- influence balancing -------------------------------------------------------------------------


def influence(given):
    """Theta after each iteration, windows of one step in episodes of 200."""
    problem, n_iter = InfluenceBalancing(horizon=200), 2000
    print(f"The minimum is at {problem.minimum:.3f}, and the search begins at 0.5.\n")
    print("| estimator | 200 iterations | 500 | 1000 | 2000 |\n|---|---|---|---|---|")
    curves = {}
    for cls in (PersistentES, NoiseReuseES, TruncatedES):
        paths = []
        for seed in given.seeds:
            path = [0.5]
            es = cls(truncation=1, n_pairs=500, sigma=0.1, learning_rate=Cosine(0.01, 0.0, n_iter),
                     max_iter=n_iter, random_state=seed)  # fmt: skip
            es.fit(problem, [0.5], callback=lambda x, path=path: path.append(x[0]))
            paths.append(path)
        low, middle, high = np.min(paths, axis=0), np.median(paths, axis=0), np.max(paths, axis=0)
        cells = [f"{middle[n]:.3f} ({low[n]:.3f} to {high[n]:.3f})" for n in (200, 500, 1000, 2000)]
        print(f"| `{cls.__name__}` | {' | '.join(cells)} |", flush=True)
        curves[cls.__name__] = np.arange(n_iter + 1), middle, low, high
    if given.figure:
        ax = axes("iteration", "theta: median and range", (-0.4, 1.2))
        ax.axhline(problem.minimum, color="0.6", linewidth=1, linestyle="--")
        ax.text(n_iter, problem.minimum, " minimum", va="center", color="0.4")
        draw(ax, curves, given.figure)


# -- a learned optimizer -------------------------------------------------------------------------


def digits():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def learned(given):
    """PersistentES with and without the truncated gradient for a guide, and what else there is.

    Rates fall to zero at the end of the budget; guided search is given the half of it.
    """
    x, y = digits()
    budget, window, n_pairs = 48_000, 10, 2
    plain = {"sigma": 0.03, "learning_rate": 0.01}
    guided = {"sigma": 0.003, "alpha": 0.1, "learning_rate": 0.006}
    runs = {
        "PersistentES": (PersistentES, plain, budget),
        "guided PersistentES, half the steps": (PersistentES, guided, budget // 2),
        "TruncatedES": (TruncatedES, plain, budget),
    }

    def search(cls, options, steps, seed):
        each = 2 * n_pairs * window + 3 * window * ("alpha" in options)
        rate = Cosine(options["learning_rate"], 0.0, steps // each)
        return cls(truncation=window, n_pairs=n_pairs, random_state=seed,
                   **{**options, "learning_rate": rate})  # fmt: skip

    curves = {name: [] for name in (*runs, "descent on the truncated gradient")}
    for seed in given.seeds:
        problem = LearnedOptimizer(x, y, horizon=100, seed=seed)
        theta0 = problem.start(seed).astype(np.float32)

        def loss(theta, problem=problem):
            return unroll(problem, theta, HELD_OUT[:32]).mean()

        for name, (cls, options, steps) in runs.items():
            es = search(cls, options, steps, seed)
            curves[name].append(searched(es, problem, theta0, steps, steps // 4000, loss))
        rate = Cosine(0.003, 0.0, budget // (3 * window))
        curves["descent on the truncated gradient"].append(
            descended(problem, theta0, window, rate, budget, 12, loss, seed)
        )
    report_learned(curves, given)


def report_learned(curves, given):
    final = np.array([curve[-1, 1] for curve in curves["PersistentES"]])
    print("| search | loss, each seed | median | steps to PersistentES's last loss | median |")
    print("|---|---|---|---|---|")
    for name, found in curves.items():
        losses = [curve[-1, 1] for curve in found]
        steps = [reached(curve, loss) for curve, loss in zip(found, final, strict=True)]
        cells = " ".join(f"{v:.3f}" for v in losses), " ".join(f"{v:,.0f}" for v in steps)
        print(f"| {name} | {cells[0]} | {np.median(losses):.3f} | {cells[1]} "
              f"| {np.median(steps):,.0f} |", flush=True)  # fmt: skip
    if given.figure:
        ax = axes("inner steps", "mean loss of an episode: median and range", (0.3, 1.2))
        bands = {}
        for name, found in curves.items():
            if "ES" in name:
                n = min(map(len, found))
                values = np.array([curve[:n, 1] for curve in found])
                name = "guided, half the steps" if "half" in name else name
                bands[name] = (found[0][:n, 0], np.median(values, axis=0), values.min(axis=0),
                               values.max(axis=0))  # fmt: skip
        draw(ax, bands, given.figure, (-8, -8, 8))


# -- quadratics ----------------------------------------------------------------------------------


def quadratics(given):
    """Guided and vanilla ES on whole episodes, and descent along gradients of one step."""
    problem, budget, n_pairs = RandomQuadratics(), 200_000, 4
    n_iter = budget // (2 * n_pairs * problem.horizon)

    def loss(theta):
        return unroll(problem, theta, HELD_OUT).mean()

    def es(seed, rate, **options):
        rate = Cosine(rate, 0.0, n_iter)
        es = FullES(truncation=1, n_pairs=n_pairs, learning_rate=rate, random_state=seed, **options)
        return searched(es, problem, problem.start(seed), budget, 1, loss)[-1, 1]

    def descent(seed, rate, n_rows, unrolled=problem):
        rate, start = Cosine(rate, 0.0, budget // (3 * n_rows)), problem.start(seed)
        return descended(unrolled, start, 1, rate, budget, 1, loss, seed, n_rows)[-1, 1]

    first = RandomQuadratics(horizon=1)
    runs = {
        "guided ES": lambda seed: es(seed, 0.006, sigma=0.003, alpha=0.5, n_guides=15),
        "vanilla ES": lambda seed: es(seed, 0.006, sigma=0.01),
        "descent, gradients of one step": lambda seed: descent(seed, 0.0003, 1),
        "the same, of 15 particles": lambda seed: descent(seed, 0.003, 15),
        "descent, gradient of the first step": lambda seed: descent(seed, 0.003, 15, first),
    }
    print("| search | loss, each seed | mean and 95 % interval |\n|---|---|---|")
    found = {}
    for name, run in runs.items():
        found[name] = np.array([run(seed) for seed in given.seeds])
        cells = " ".join(f"{v:.3f}" for v in found[name])
        mean, half = mean_interval(found[name])
        print(f"| {name} | {cells} | {mean:.3f} +- {half:.3f} |", flush=True)
    for name in [*runs][1:]:
        mean, half = mean_interval(found["guided ES"] - found[name])
        print(f"guided ES less {name}, seed by seed: {mean:.3f} +- {half:.3f}")


# -- a learning rate's schedule ------------------------------------------------------------------


def schedule(given):
    """A grid of 200 schedules, and searches that may cost a fifth of it."""
    if given.data == "mnist":
        from blackbox_es.datasets import fetch_mnist

        x, y = fetch_mnist(subset="train", return_X_y=True)
        x, y = x[:10_000], y[:10_000]
    else:
        x, y = digits()
    first, last = np.linspace(np.log(1e-3), np.log(3.0), 20), np.linspace(np.log(1e-4), 0.0, 10)
    grid = np.array([*itertools.product(first, last)])
    print("| seed | best of the grid | PersistentES | ratio | cost |\n|---|---|---|---|---|")
    ratios = []
    for seed in given.seeds:
        problem = NetworkSchedule(x, y, horizon=200, seed=seed)
        on_grid = unroll_in_parts(problem, grid, np.full(len(grid), seed))
        best = grid[np.nanargmin(on_grid)]
        cost = len(grid) * problem.horizon
        rate = Cosine(0.2, 0.0, cost // 5 // 80)
        es = PersistentES(truncation=20, n_pairs=2, sigma=0.3, learning_rate=rate, max_iter=10**6,
                          max_evals=cost // 5, random_state=seed)  # fmt: skip
        es.fit(problem, [np.log(0.01), np.log(0.01)])
        a, b = (unroll_in_parts(problem, np.tile(theta, (20, 1)), HELD_OUT[:20]).mean()
                for theta in (best, es.x_))  # fmt: skip
        ratios.append(b / a)
        print(f"| {seed} | {a:.4f} at {np.exp(best).round(4)} | {b:.4f} at "
              f"{np.exp(es.x_).round(4)} | {b / a:.3f} | {es.n_evaluations_ / cost:.2f} |",
              flush=True)  # fmt: skip
    print(f"median ratio {np.median(ratios):.3f}, worst {np.max(ratios):.3f}")


def unroll_in_parts(problem, rows, seeds):
    """`unroll`, few rows at a time, for what they need of memory."""
    with np.errstate(all="ignore"):
        parts = [unroll(problem, rows[i : i + 20], seeds[i : i + 20])
                 for i in range(0, len(rows), 20)]  # fmt: skip
    return np.concatenate(parts)


# -- figures -------------------------------------------------------------------------------------

# Okabe and Ito: distinct to the colour-blind
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def axes(xlabel, ylabel, ylim):
    from matplotlib.figure import Figure

    ax = Figure(figsize=(7, 4), dpi=150, layout="constrained").subplots()
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    return ax


def draw(ax, bands, path, shifts=(8, -8, 0)):
    """Medians and ranges, each with its name at the end; names of curves that meet are moved."""
    for i, (name, (x, middle, low, high)) in enumerate(bands.items()):
        colour = COLOURS[i]
        ax.plot(x, middle, color=colour, linewidth=1.6)
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        y = np.clip(middle[-1], *ax.get_ylim())
        ax.annotate(name, (x[-1], y), (4, shifts[i]), textcoords="offset points", color=colour,
                    va="center", annotation_clip=False)  # fmt: skip
    ax.figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    runs = {"influence": influence, "learned": learned, "quadratics": quadratics,
            "schedule": schedule}  # fmt: skip
    parser.add_argument("run", choices=runs)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--figure")
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    given = parser.parse_args()
    given.seeds = range(given.first, given.first + given.seeds)
    runs[given.run](given)


if __name__ == "__main__":
    main()
