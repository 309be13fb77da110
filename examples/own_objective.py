"""An objective of one's own: a whole training run, with noise, divergence and a biased gradient.

What is tuned is the schedule of 40 learning rates of noisy gradient descent. The objective is the
loss after the last step: stochastic (`seed` says which noise) and NaN where the run diverges. The
surrogate gradient is greedy: it judges each rate by the loss just after its own step, which is
cheap and short-sighted, since small rates look good early and leave the flat directions undone.

All searches get the same number of evaluations, and each method the best rate of one grid by one
seed; the table shows other seeds, and losses over fresh runs. Expect greedy descent to stall, and
guided search to be ahead while evaluations are few; with many, try `--alpha 0.9`. The last row
uses `estimate_gradient` with an update rule of one's own.

    python examples/own_objective.py
    python examples/own_objective.py --evaluations 200 --seeds 2         # a few seconds
"""

import argparse
import warnings
from contextlib import suppress
from functools import partial

import numpy as np
from numpy.random import default_rng
from sklearn.base import clone

from blackbox_es import EvaluationError, GuidedES, VanillaES, estimate_gradient

CURVATURE = np.geomspace(0.01, 1.0, 10)  # of the quadratic that is trained
START = np.full(40, np.log(0.1))


def train(x, seed):
    """The weights before each step of the run with rates exp(x), and after the last."""
    noise = 0.3 * default_rng(seed).standard_normal((x.size, CURVATURE.size))
    weights = [CURVATURE**-0.5]
    for rate, z in zip(np.exp(x), noise, strict=True):
        weights.append(weights[-1] - rate * (CURVATURE * weights[-1] + z))
    return np.array(weights), noise


def objective(x, seed):
    """The loss after the last step; both points of a pair are given the same seed."""
    loss = 0.5 * CURVATURE @ train(x, seed)[0][-1] ** 2
    return loss if loss < 100.0 else np.nan


def greedy(x, rng):
    """The gradient of each rate's own next loss: right for the last rate, biased for the rest."""
    weights, noise = train(x, rng.integers(2**32))
    moves = np.exp(x)[:, None] * (CURVATURE * weights[:-1] + noise)
    return -(moves * CURVATURE * weights[1:]).sum(axis=1)


def judge(x):
    """The mean loss over fresh runs; infinite if one diverges."""
    losses = [objective(x, seed) for seed in range(10**6, 10**6 + 200)]
    return np.nan_to_num(np.mean(losses), nan=np.inf)


def search(es, surrogate, rate, seed):
    """Where a search ends: if that is where most runs diverge, at its last center."""
    es, rng = clone(es).set_params(learning_rate=rate, random_state=seed), default_rng(seed)
    with suppress(EvaluationError):
        es.fit(objective, START, surrogate and (lambda x: surrogate(x, rng)))
    return es.x_


def descend(gradient, steps, rate, seed):
    """A rule of one's own: the signs of a momentum, with steps that fall to zero."""
    rng, x, last, v = default_rng(seed), START, START, np.zeros_like(START)
    for step in range(steps):
        try:
            v = 0.9 * v + gradient(x, rng)
        except EvaluationError:  # most runs diverge here: back, and slowly
            x, v = last, np.zeros_like(v)
            continue
        x, last = x - rate * (1 - step / steps) * np.sign(v), x
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=1000, help="per search (1000)")
    parser.add_argument("--alpha", type=float, default=0.5, help="of the guided search (0.5)")
    parser.add_argument("--seeds", type=int, default=4, help="runs in the comparison (4)")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", "evaluations failed")  # a diverged run or two is expected
    n, common = args.evaluations, {"sigma": 0.08, "n_pairs": 4}
    vanilla = VanillaES(max_evals=n, max_iter=n, **common)
    guided = GuidedES(max_evals=n, max_iter=n, alpha=args.alpha, **common)

    def estimate(x, rng):  # from 8 evaluations; rng makes the directions new in each step
        guide = greedy(x, rng)
        return estimate_gradient(objective, x, guide, alpha=args.alpha, random_state=rng, **common)

    methods = {
        "greedy descent": partial(descend, greedy, n // 8),
        "vanilla": partial(search, vanilla, None),
        "guided": partial(search, guided, greedy),
        "guided, own rule": partial(descend, estimate, n // 8),
    }
    print(f"{n} evaluations; loss {judge(START):.3f} at the start")
    print(f"{'mean loss':18}{'rate':>6}{'mean':>8}{'best':>8}{'worst':>8}")
    for name, run in methods.items():
        rate = min((0.01, 0.03, 0.1, 0.2), key=lambda rate, run=run: judge(run(rate, 0)))
        losses = [judge(run(rate, seed)) for seed in range(1, args.seeds + 1)]
        print(f"{name:18}{rate:6}{np.mean(losses):8.3f}{min(losses):8.3f}{max(losses):8.3f}")


if __name__ == "__main__":
    main()
