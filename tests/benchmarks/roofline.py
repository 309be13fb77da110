"""How near the population kernel comes to what the processor could do, and what keeps it away.

Run it with nothing else running, on one core; on two for the speedup of a second thread::

    taskset -c 0 python tests/benchmarks/roofline.py
    python tests/benchmarks/roofline.py

The kernel evaluates 1,024 pairs of networks with one hidden layer on 64 examples each, every 16
pairs on the same ones. Its useful operations (see `population`) are compared with those of sgemm,
in turns on the same core. Below, for each kind of work, is the share of the kernel's time that it
would take if nothing else limited it: multiply-adds at the speed of sgemm, exponentials at that of
``numpy.exp`` on numbers in the first-level cache, words of 32 signs at that of reading a long array
once. What is left is mostly loads, stores and comparisons: a rank-one move makes one multiply-add
of a unit, but also an addition, a maximum, a load and a store; a product with 10 outputs reads each
unit for 10 multiply-adds; and a word becomes 32 numbers.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from itertools import count

import numpy as np
from population import (
    BATCH,
    OUTPUTS,
    exponentials,
    multiply_adds,
    population,
    sign_bytes,
)
from threadpoolctl import threadpool_limits
from timing import cores, header, in_turns, sgemm, sgemm_gflops

from blackbox_es._threads import Threads
from blackbox_es.generation import Generation, Told
from blackbox_es.neural.data import Data
from blackbox_es.neural.network import Network
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.tasks import population_losses
from blackbox_es.samplers import LowRank

INPUTS, UNITS = (48, 784), (64, 256)
PAIRS = 1024
N_EXP = 4096  # numbers in the first-level cache
N_READ = 1 << 26  # float32, many times the last-level cache


def exponential() -> Callable[[], object]:
    """`numpy.exp` of `N_EXP` float32 numbers, many times."""
    x = -np.random.default_rng(0).random(N_EXP, np.float32)
    out = np.empty_like(x)
    return lambda: [np.exp(x, out=out) for _ in range(100)]


def read() -> Callable[[], object]:
    """Reads `N_READ` float32 numbers."""
    x = np.ones(N_READ, np.float32)

    def dot() -> None:
        with threadpool_limits(1, user_api="blas"):
            np.dot(x, x)

    return dot


def limits(turns: int) -> tuple[float, float]:
    """Exponentials a second, and bytes read a second."""
    of_exponential, of_read = in_turns([exponential(), read()], turns)
    return 100 * N_EXP / of_exponential, 4 * N_READ / of_read


def print_network(network: Network, n_pairs: int, turns: int, rates: tuple[float, float]) -> None:
    """Print the speed of the kernel, and the shares of its time by kind of work."""
    arguments = population(network, n_pairs)

    def kernel() -> None:
        population_losses(**arguments)

    kernel()  # compiles
    of_product, of_kernel = in_turns([sgemm(), kernel], turns)
    work = multiply_adds(network, n_pairs)
    n_exp, n_bytes = exponentials(network, n_pairs), sign_bytes(network, n_pairs)
    blas, useful = sgemm_gflops(of_product), 2e-9 * sum(work.values()) / of_kernel
    print(
        f"\n{'-'.join(map(str, network.layer_sizes))}: {1e3 * of_kernel:.2f} ms, "
        f"{n_pairs * BATCH / of_kernel / 1e6:.1f} million pair-examples/s, "
        f"useful {useful:.1f} GFLOP/s, sgemm {blas:.1f}, ratio {useful / blas:.2f}"
    )
    print(f"    {'':16}{'millions':>10}{'a pair-example':>16}{'share of time':>15}")
    rows = [(kind, n, 2e-9 * n / blas) for kind, n in work.items() if n]
    rows += [
        ("exponentials", n_exp, n_exp / rates[0]),
        ("words of signs", n_bytes, n_bytes / rates[1]),
    ]
    for kind, n, time in rows:
        each = n / (n_pairs * BATCH)
        print(f"    {kind:16}{n / 1e6:10.1f}{each:16.1f}{time / of_kernel:15.1%}")
    print(f"    {'what is left':16}{1 - sum(row[2] for row in rows) / of_kernel:41.1%}")
    intensity = 2 * sum(work.values()) / n_bytes
    balance = 1e9 * blas / rates[1]
    print(
        f"    {intensity:.0f} operations a byte of words, where {balance:.1f} keep sgemm's speed: "
        f"{'arithmetic' if intensity > balance else 'memory'} is the roof"
    )


def generation_of(network: Network, n_pairs: int, threads: Threads) -> Callable[[], object]:
    """What the estimators do for a generation: draw examples, signs, losses, gradient."""
    rng = np.random.default_rng(0)
    n_samples = 60_000
    X = rng.standard_normal((n_samples, network.layer_sizes[0]), dtype=np.float32)
    y = rng.integers(0, OUTPUTS, n_samples)
    common = {"batch_size": BATCH, "n_pairs": n_pairs, "threads": threads}
    objective = NetworkObjective(network, "log_loss", Data(X, y), **common)
    theta = network.initial(rng).astype(np.float32)
    sampler, index = LowRank(network.shapes, threads=threads), count()

    def generation() -> None:
        of_now = Generation(theta, sampler, seed=0, index=next(index), n_pairs=n_pairs)
        Told(of_now, objective.evaluate_generation(of_now), n_pairs).gradient(beta=1.0)

    return generation


def blas_sum(sampler: LowRank, weights: np.ndarray, dtype: str) -> np.ndarray:
    """What `LowRank.combine` sums, by products of BLAS on the factors of 512 pairs at a time."""
    (n_inputs, n_units), _ = sampler.shapes
    total = np.zeros(sampler.n)
    for start in range(0, weights.size, 512):
        w = weights[start : start + 512].astype(dtype)
        signs = sampler.factors((0, 0), (start, start + w.size), dtype)
        a, b = signs[:, :n_inputs], signs[:, n_inputs : n_inputs + n_units]
        hidden = (a * w[:, None]).T @ b
        total += np.concatenate([hidden.ravel(), w @ signs[:, n_inputs + n_units :]])
    return total * sampler.sigma


def print_combine(network: Network, n_pairs: int, turns: int) -> None:
    """Print how long the sum over the directions takes, by the kernel and by BLAS."""
    sampler, weights = LowRank(network.shapes), np.random.default_rng(0).normal(size=n_pairs)
    kernel = sampler.combine(weights, (0, 0), np.float64)
    assert np.allclose(kernel, blas_sum(sampler, weights, "f8"))
    functions = [
        lambda: sampler.combine(weights, (0, 0), np.float32),
        lambda: blas_sum(sampler, weights, "f8"),
        lambda: blas_sum(sampler, weights, "f4"),
    ]
    with threadpool_limits(1, user_api="blas"):
        in_turns(functions, 2)
        ours, double, single = (1e3 * t for t in in_turns(functions, turns))
    name = "-".join(map(str, network.layer_sizes))
    print(f"{name:12}{ours:8.2f} ms, BLAS in float64 {double:7.2f} ms, in float32 {single:7.2f} ms")


def print_speedup(network: Network, n_pairs: int, turns: int) -> None:
    """Print what a second thread gives to a whole generation."""
    with Threads(1) as one, Threads(2) as two:
        functions = [generation_of(network, n_pairs, threads) for threads in (one, two)]
        in_turns(functions, 2)  # compiles
        single, double = in_turns(functions, turns)
    name = "-".join(map(str, network.layer_sizes))
    times = f"{1e3 * single:8.2f} ms, two threads {1e3 * double:7.2f} ms"
    print(f"{name:12}{times}: {single / double:.2f} times as fast")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--turns", type=int, default=31)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    networks = [Network((d, h, OUTPUTS), "relu") for d in INPUTS for h in UNITS]
    print(header())
    rates = limits(min(arguments.turns, 9))
    print(f"limits: {rates[0] / 1e6:,.0f} million exponentials/s, {rates[1] / 1e9:.1f} GB/s read")
    for network in networks:
        print_network(network, arguments.pairs, arguments.turns, rates)
    print(f"\nthe sum over {arguments.pairs:,} directions")
    for network in networks:
        print_combine(network, arguments.pairs, min(arguments.turns, 9))
    if cores() > 1:
        print("\na whole generation: examples drawn, signs, losses, gradient")
        for network in networks:
            print_speedup(network, arguments.pairs, arguments.turns)


if __name__ == "__main__":
    main()
