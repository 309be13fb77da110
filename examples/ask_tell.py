"""A simulator in a loop of your own: trials told out of order, saved and continued exactly.

The simulator heats a room: a PI controller reads a thermometer that knows whole tenths of a degree,
and drives a heater that saturates and acts late. Rounding, saturation and delay leave no gradient
to compute. The strategy asks for gains to try, a pool of workers simulates them, and values are
told as they come in, in whatever order. In the middle of a generation the search is saved and
loaded, as after a crash.

Expect the cost to fall to a fraction of what it was, and the last line to say that the interrupted
search with its random order ends at the same point as `fit`, bit for bit.

    python examples/ask_tell.py
    python examples/ask_tell.py --generations 10                         # two seconds
"""

import argparse
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from blackbox_es import VanillaES

TARGET, OUTSIDE, DELAY, MINUTES = 21.0, 5.0, 5, 240


def simulate(x):
    """Mean squared error in degrees, plus a price for heating, with gains exp(x)."""
    gain, reset = math.exp(x[0]), math.exp(x[1])
    room, integral, cost = 12.0, 0.0, 0.0
    pipe = [0.0] * DELAY
    for minute in range(MINUTES):
        error = TARGET - round(room, 1)
        integral += error / 60
        wanted = gain * (error + reset * integral)
        pipe.append(min(max(wanted, 0.0), 1.0))
        draught = 0.05 if 120 <= minute < 130 else 0.01  # somebody opens a window
        room += 0.5 * pipe.pop(0) - draught * (room - OUTSIDE)
        cost += (room - TARGET) ** 2 + 0.1 * pipe[-1]
    return cost / MINUTES


def advance(es, pool, generations):
    """Some generations, each told in the order in which its simulations end."""
    for _ in range(generations):
        futures = {pool.submit(simulate, trial.x): trial.id for trial in es.ask_trials()}
        for future in as_completed(futures):
            es.tell_trial(futures[future], future.result())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = {
        "sigma": 0.2, "n_pairs": 6, "learning_rate": 0.1, "shaping": "centered_ranks",
        "max_iter": args.generations, "random_state": args.seed,
    }  # fmt: skip
    x0 = np.log([0.05, 0.05])
    print(f"gains {np.exp(x0).round(3)}: cost {simulate(x0):.3f} at the start")

    es = VanillaES(**settings).start(x0)
    with ThreadPoolExecutor(4) as pool, tempfile.TemporaryDirectory() as folder:
        advance(es, pool, args.generations // 2)
        for trial in list(es.ask_trials())[::-3]:  # a third of a generation, backwards
            es.tell_trial(trial.id, simulate(trial.x))
        path = Path(folder) / "heating.npz"
        es.save(path)
        print(f"saved in generation {es.n_iter_}: {path.stat().st_size:,} bytes")
        es = VanillaES.load(path)
        print(f"loaded: {len(list(es.ask_trials()))} of {2 * es.n_pairs} trials have no value yet")
        while not es.stop_reason_:
            advance(es, pool, 1)

    print(f"gains {np.exp(es.x_).round(3)}: cost {simulate(es.x_):.3f} at the center reached")
    print(f"gains {np.exp(es.x_best_).round(3)}: cost {es.fun_best_:.3f} at the best point tried")
    print(f"{es.n_evaluations_} simulations, stopped by {es.stop_reason_}")
    fitted = VanillaES(**settings).fit(simulate, x0)
    print(f"the same bits as fit: {np.array_equal(es.x_, fitted.x_)}")


if __name__ == "__main__":
    main()
