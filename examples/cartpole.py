"""Balancing a pole and climbing a hill: policies for Gymnasium's environments.

Each evaluation is an episode with the seed that the search gives it: both points of a pair meet the
same start. The pole stands on a cart that is pushed left or right, and a linear policy will do. The
car has to swing back before it can climb; its speed is a number a tenth as large as its position,
so observations are divided by their standard deviation under random actions, measured beforehand.

Expect more than 475 of 500 for the pole and more than 90 for the car, the means of 100 episodes
that the search has not seen, which is what counts as solved.

    python examples/cartpole.py
    python examples/cartpole.py --generations 4                          # a second
"""

import argparse
import time

from blackbox_es import SNES, VanillaES
from blackbox_es.gymnasium import Rollouts


def balance(generations):
    """The cart and its pole."""
    cost = Rollouts("CartPole-v1")
    es = SNES(sigma=0.5, n_pairs=8, max_iter=generations, random_state=0)
    return cost, es.fit(cost, cost.start())


def climb(generations):
    """The car in the valley."""
    cost = Rollouts("MountainCarContinuous-v0").normalized()
    es = VanillaES(
        sigma=1.0, learning_rate=0.3, shaping="centered_ranks", max_iter=generations, random_state=0
    )
    return cost, es.fit(cost, cost.start())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=25)
    arguments = parser.parse_args()
    for name, search in (("pole", balance), ("car", climb)):
        begun = time.perf_counter()
        cost, es = search(arguments.generations)
        rewards = cost.rewards(es.x_, 100, seed=10**9)
        seconds = time.perf_counter() - begun
        print(
            f"{name:5} {es.n_evaluations_} episodes, {seconds:.1f} s, reward {rewards.mean():.1f}"
        )


if __name__ == "__main__":
    main()
