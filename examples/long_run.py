"""A run that lasts: stop this script as you like and start it again, and it goes on.

The objective is a small simulation, a pendulum that a controller with four weights is to swing up;
think of one that takes minutes. The search is written to a file every few seconds. Ctrl-C, a full
disk, `kill -9` or a job that has used up its time cost what came after the last time of writing,
and the result is, bit for bit, that of a run in one piece. Once it has ended it stays as it is,
unless it is given more generations.

    python examples/long_run.py
    python examples/long_run.py                       # what is there already is not done again
    python examples/long_run.py --generations 60      # goes on, with a larger budget
"""

import argparse
from pathlib import Path

import numpy as np

from blackbox_es import AdaptiveES

STEP, N_STEPS, TORQUE = 0.05, 200, 2.0


def cost(weights):
    """The mean height that a pendulum lacks which hangs at first, and what its torque costs."""
    angle, speed, total = np.pi, 0.0, 0.0  # the angle is zero when it stands
    for _ in range(N_STEPS):
        seen = np.array([np.sin(angle), np.cos(angle), speed, speed * np.cos(angle)])
        torque = TORQUE * np.tanh(weights @ seen)
        speed += STEP * (5.0 * np.sin(angle) - 0.1 * speed + torque)
        angle += STEP * speed
        total += 1.0 - np.cos(angle) + 0.01 * torque**2
    return total / N_STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=40, help="in all (40)")
    parser.add_argument("--file", type=Path, default=Path("long_run.npz"))
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    args = parser.parse_args()
    budget = {"max_iter": args.generations, "n_jobs": args.jobs}
    if args.file.exists():
        es = AdaptiveES.load(args.file, **budget)
        print(f"goes on after generation {es.n_iter_} and {es.n_evaluations_} evaluations")
        x0 = None
    else:
        es = AdaptiveES(random_state=0, **budget)
        print("begins")
        x0 = np.zeros(4)
    es.fit(cost, x0, checkpoint=args.file, checkpoint_every=5.0, resume=x0 is None)
    print(f"{es.n_iter_} generations, {es.n_evaluations_} evaluations")
    print(f"cost {cost(np.zeros(4)):.3f} at the start, {es.fun_:.3f} now: {es.result_.message}")


if __name__ == "__main__":
    main()
