"""The cost of one generation beside that of other libraries, as a multiple of plain NumPy's.

Run it with nothing else running, on one core::

    taskset -c 0 python tests/benchmarks/peers.py [--largest N]
    python tests/benchmarks/peers.py --mnist

A generation is ask + tell: random values are told, and the time of an objective is not in it. Each
library is timed in turns with the three lines of `timing.numpy_generation`, in this process; the
ratio is that of the medians. Libraries get float32 where they offer it (evosax, evotorch). They are
asked and told as a user with an objective of his own would do it, so evosax compiles ask and tell
apart; evotorch has searchers with `step` only, so its time includes the evaluation of an objective
that returns the same tensor always. The algorithms differ: what is compared is what a user waits
for, not what the search then finds. The last lines are NumPy's own times, the median and the range
over its turns with each library: far apart, they say that the machine was not quiet or, in small
sizes, that a library leaves cold caches behind, which makes its own ratio look smaller.

The second table is training on MNIST, with backpropagation beside evolution strategies: minutes.
"""

from __future__ import annotations

import argparse
import gc
import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from timing import cores, header, in_turns, numpy_generation, seconds, strategy_generation

from blackbox_es import ESMLPClassifier, GuidedES, VanillaES

SIZES = (
    (10, 20),
    (100, 100),
    (1_000, 100),
    (10_000, 100),
    (100_000, 100),
    (1_000_000, 20),
    (1_000_000, 200),
)
TOO_SLOW = 20.0  # seconds of one generation
TIMED = 3.0  # seconds of each library at each size, about
Generation = Callable[[], object]


def vanilla(n: int, n_points: int) -> Generation:
    """VanillaES of this package."""
    return strategy_generation(VanillaES, n, n_points)


def guided(n: int, n_points: int) -> Generation:
    """GuidedES of this package, with one surrogate gradient each generation."""
    return strategy_generation(GuidedES, n, n_points)


def evosax_open_es(n: int, n_points: int) -> Generation:
    """Open_ES of evosax."""
    return _evosax("Open_ES", n, n_points)


def evosax_pgpe(n: int, n_points: int) -> Generation:
    """PGPE of evosax."""
    return _evosax("PGPE", n, n_points)


def evosax_guided(n: int, n_points: int) -> Generation:
    """GuidedES of evosax, with one surrogate gradient each generation."""
    return _evosax("GuidedES", n, n_points)


def _evosax(name: str, n: int, n_points: int) -> Generation:
    import jax
    import jax.numpy as jnp
    from evosax.algorithms import distribution_based

    es = getattr(distribution_based, name)(population_size=n_points, solution=jnp.zeros(n))
    params = es.default_params
    key, *others = jax.random.split(jax.random.key(0), 4)
    state = es.init(others[0], jnp.zeros(n), params)
    values = jax.random.normal(others[1], (n_points,))
    surrogate = jax.random.normal(others[2], (n,))

    def generation() -> None:
        nonlocal key, state
        key, key_ask, key_tell = jax.random.split(key, 3)
        if name == "GuidedES":
            state = state.replace(grad=surrogate)  # each ask forgets it
        population, state = es.ask(key_ask, state, params)
        jax.block_until_ready(population)  # an objective would wait for it
        state, _ = es.tell(key_tell, population, values, state, params)
        jax.block_until_ready(state)

    return generation


def evotorch_pgpe(n: int, n_points: int) -> Generation:
    """PGPE of evotorch; a step evaluates an objective, which costs nothing here."""
    import torch
    from evotorch import Problem
    from evotorch.algorithms import PGPE
    from evotorch.decorators import vectorized

    logging.disable(logging.INFO)  # it speaks of each problem made
    torch.set_num_threads(cores())
    values = torch.randn(n_points, generator=torch.Generator().manual_seed(0))
    problem = Problem(
        "min",
        vectorized(lambda _: values),
        solution_length=n,
        initial_bounds=(-1.0, 1.0),
        dtype=torch.float32,
        seed=0,
    )
    searcher = PGPE(
        problem,
        popsize=n_points,
        center_learning_rate=0.01,
        stdev_learning_rate=0.1,
        stdev_init=1.0,
    )
    return searcher.step


def cma_sep(n: int, n_points: int) -> Generation:
    """CMA-ES of cma with a diagonal covariance matrix."""
    import cma

    options = {"popsize": n_points, "CMA_diagonal": True, "verbose": -9, "seed": 1}
    es = cma.CMAEvolutionStrategy(np.zeros(n), 0.1, options)
    values = np.random.default_rng(0).standard_normal(n_points)
    return lambda: es.tell(es.ask(), values)


def cmaes_sep(n: int, n_points: int) -> Generation:
    """SepCMA of cmaes, which is asked for one point at a time."""
    from cmaes import SepCMA

    es = SepCMA(mean=np.zeros(n), sigma=0.1, population_size=n_points, seed=0)
    values = np.random.default_rng(0).standard_normal(n_points).tolist()
    return lambda: es.tell([(es.ask(), value) for value in values])


def nevergrad_one_plus_one(n: int, n_points: int) -> Generation:
    """OnePlusOne of nevergrad, asked for a whole population before it is told."""
    import nevergrad as ng

    array = ng.p.Array(init=np.zeros(n))
    es = ng.optimizers.OnePlusOne(array, budget=10**9, num_workers=n_points)
    es.parametrization.random_state.seed(0)
    values = np.random.default_rng(0).standard_normal(n_points).tolist()

    def generation() -> None:
        points = [es.ask() for _ in values]
        for point, value in zip(points, values, strict=True):
            es.tell(point, value)

    return generation


class Contestant(NamedTuple):
    """Who is timed: a name, the package to install, a maker of generations."""

    name: str
    package: str
    make: Callable[[int, int], Generation]
    largest: float = np.inf  # numbers in a population; beyond it memory runs out


CONTESTANTS = (
    Contestant("blackbox_es VanillaES", "blackbox_es", vanilla),
    Contestant("blackbox_es GuidedES", "blackbox_es", guided),
    Contestant("evosax Open_ES", "evosax", evosax_open_es),
    Contestant("evosax PGPE", "evosax", evosax_pgpe),
    Contestant("evosax GuidedES", "evosax", evosax_guided),
    Contestant("evotorch PGPE", "evotorch", evotorch_pgpe),
    Contestant("cma, diagonal", "cma", cma_sep, 5e7),
    Contestant("cmaes SepCMA", "cmaes", cmaes_sep),
    Contestant("nevergrad OnePlusOne", "nevergrad", nevergrad_one_plus_one, 5e7),  # keeps points
)


def compare(contestant: Contestant, n: int, n_points: int, timed: float) -> tuple[float, float]:
    """Median times of NumPy's generation and the contestant's, in turns; seconds."""
    functions = numpy_generation(n, n_points), contestant.make(n, n_points)
    for _ in range(2):  # to compile, and to grow
        once = [seconds(function) for function in functions]
    base, other = in_turns(functions, int(np.clip(timed / sum(once), 3, 1000)))
    del functions
    gc.collect()  # the next one needs the memory
    return base, other


def print_generations(largest: int, timed: float) -> None:
    """Print the first table: a row for each library, a column for each size."""
    sizes = [size for size in SIZES if size[0] <= largest]
    present = [c for c in CONTESTANTS if find_spec(c.package)]
    bases: list[list[float]] = [[] for _ in sizes]
    print(f"{'n / points':24}" + "".join(f"{f'{n:,}/{p}':>14}" for n, p in sizes))
    for contestant in present:
        print(f"{contestant.name:24}", end="", flush=True)
        expected = 0.0  # seconds of a generation, from that of the size before
        before = sizes[0]
        for size, base_times in zip(sizes, bases, strict=True):
            expected *= np.prod(size) / np.prod(before)
            before = size
            if expected > TOO_SLOW or np.prod(size) > contestant.largest:
                print(f"{'-':>14}", end="", flush=True)
                continue
            base, expected = compare(contestant, *size, timed)
            base_times.append(base)
            print(f"{expected / base:14.2f}", end="", flush=True)
        print()
    for name, pick in (("plain NumPy, ms", np.median), ("  at least", min), ("  at most", max)):
        print(f"{name:24}" + "".join(f"{1e3 * pick(times):14.3f}" for times in bases))
    absent = sorted({c.package for c in CONTESTANTS} - {c.package for c in present})
    if absent:
        print(f"\nleft out, not installed: pip install {' '.join(absent)}")


def print_mnist(generations: int, epochs: int) -> None:
    """Print the second table: time of training, that of PCA included, and accuracy in the test."""
    from sklearn.decomposition import PCA
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline

    from blackbox_es.datasets import fetch_mnist

    (X, y), (X_test, y_test) = (fetch_mnist(return_X_y=True, subset=s) for s in ("train", "test"))
    X, X_test = (pixels.astype(np.float32) / np.float32(255) for pixels in (X, X_test))
    backprop = MLPClassifier((128,), batch_size=200, max_iter=epochs, random_state=0)
    es = ESMLPClassifier(
        (64,), perturb="weights", guide=None, n_pairs=1024, max_iter=generations,
        n_iter_no_change=2**31, n_jobs=-1, random_state=0,
    )  # fmt: skip
    models = {
        f"MLPClassifier(128), {epochs} epochs": backprop,
        f"PCA(48), MLPClassifier(128), {epochs} epochs": backprop,
        f"PCA(48), ESMLPClassifier(64), {generations:,} generations": es,
    }
    ESMLPClassifier((64,), perturb="weights", guide=None, max_iter=2).fit(
        X[:1000, :48], y[:1000]
    )  # compiles
    print(f"\n{'MNIST, float32':56}{'seconds':>9}{'test accuracy':>15}")
    for name, model in models.items():
        if name.startswith("PCA"):
            model = make_pipeline(PCA(48, random_state=0), model)
        elapsed = seconds(lambda model=model: model.fit(X, y))
        print(f"{name:56}{elapsed:9.1f}{model.score(X_test, y_test):15.4f}", flush=True)


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1][0], metavar="N")
    parser.add_argument(
        "--seconds", type=float, default=TIMED, help=f"of each library at each size ({TIMED:g})"
    )
    parser.add_argument("--mnist", action="store_true", help="train on MNIST instead")
    parser.add_argument("--generations", type=int, default=10_000, help="of --mnist")
    parser.add_argument("--epochs", type=int, default=10, help="of --mnist's backpropagation")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    peers = dict.fromkeys(c.package for c in CONTESTANTS[2:] if find_spec(c.package))
    backends = {"evosax": "jax", "evotorch": "torch"}
    versions = [name for peer in peers for name in (peer, backends.get(peer)) if name]
    print(header(*versions, "scikit-learn"))
    if arguments.mnist:
        print_mnist(arguments.generations, arguments.epochs)
    else:
        print_generations(arguments.largest, arguments.seconds)


if __name__ == "__main__":
    main()
