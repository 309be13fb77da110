"""The kernels by themselves: how many numbers a second, and what share of BLAS's speed.

Nothing is asserted about a time. With ``pip install '.[bench]'``, on one core::

    taskset -c 0 python -m pytest tests/benchmarks -o addopts= --benchmark-only

(``addopts`` of pyproject.toml leaves this directory out.) The rates are no column of the table:
``-s`` prints them, and ``--benchmark-json=FILE`` keeps them as ``extra_info``.
"""

import numpy as np
import pytest
from population import multiply_adds, population
from timing import in_turns, sgemm, sgemm_gflops

from blackbox_es import noise
from blackbox_es.neural.network import Network
from blackbox_es.neural.tasks import population_losses

KEY = (0, 0)
SOME_PAIRS = 64
N_LARGE, LARGE_PAIRS = 1_000_000, 10
POPULATION_PAIRS = 128  # of one task of a thread


def tell(benchmark, **information):
    """Keep what was found with the times, and print it."""
    benchmark.extra_info.update(information)
    print(f"\n{benchmark.name}: {information}")


def median(benchmark):
    """Seconds of the median run, or None when nothing is timed."""
    return benchmark.stats["median"] if benchmark.stats else None


def tell_rate(benchmark, n_numbers):
    """Millions of numbers a second."""
    if median(benchmark):
        tell(benchmark, millions_per_second=round(n_numbers / median(benchmark) / 1e6))


def test_normals(benchmark):
    """Standard normals, written to memory that stays in the second-level cache."""
    size = 4096
    noise.normals(KEY, (0, 1), (0, size))
    benchmark(noise.normals, KEY, (0, SOME_PAIRS), (0, size))
    tell_rate(benchmark, SOME_PAIRS * size)


def test_signs(benchmark):
    """Signs as float32."""
    size = 4096
    noise.signs(KEY, (0, 1), size, np.float32)
    benchmark(noise.signs, KEY, (0, SOME_PAIRS), size, np.float32)
    tell_rate(benchmark, SOME_PAIRS * size)


@pytest.mark.parametrize("n_guides", [0, 1, 10])
def test_perturb_and_combine(benchmark, n_guides):
    """The points of 10 pairs in a million dimensions and the sum over their directions."""
    ones = np.empty(0, np.float32)  # no scales of the coordinates
    rng = np.random.default_rng(0)
    center = np.zeros(N_LARGE, np.float32)
    subspace = rng.standard_normal((n_guides, N_LARGE), dtype=np.float32)
    coefs = rng.standard_normal((LARGE_PAIRS, n_guides), dtype=np.float32)
    weights = rng.standard_normal(LARGE_PAIRS)
    summed = weights @ coefs.astype(np.float64)

    def both():
        noise.perturb(center, 0.1, ones, coefs, subspace, KEY, (0, LARGE_PAIRS))
        noise.combine(weights, 0.1, ones, summed, subspace, KEY)

    both()
    benchmark(both)
    tell_rate(benchmark, 2 * LARGE_PAIRS * N_LARGE)


def test_squares(benchmark):
    """The sums of squares of 10 pairs in a million dimensions."""
    weights = np.random.default_rng(0).standard_normal(LARGE_PAIRS)
    noise.squares(weights, 1, KEY)
    benchmark(noise.squares, weights, N_LARGE, KEY)
    tell_rate(benchmark, LARGE_PAIRS * N_LARGE)


@pytest.mark.parametrize("n_inputs", [48, 784])
@pytest.mark.parametrize("n_units", [64, 256])
def test_population_losses(benchmark, n_inputs, n_units):
    """Useful operations of the population kernel beside those of sgemm, one thread, float32."""
    network = Network((n_inputs, n_units, 10), "relu")
    arguments = population(network, POPULATION_PAIRS)
    population_losses(**arguments)
    benchmark(population_losses, **arguments)
    if not median(benchmark):
        return
    operations = 2 * sum(multiply_adds(network, POPULATION_PAIRS).values())

    def kernel():
        population_losses(**arguments)

    of_product, of_kernel = in_turns([sgemm(), kernel], 11)  # the share is of times side by side
    gflops, blas = operations / of_kernel / 1e9, sgemm_gflops(of_product)
    tell(
        benchmark,
        useful_gflops=round(operations / median(benchmark) / 1e9, 1),
        sgemm_gflops=round(blas, 1),
        share_of_sgemm=round(gflops / blas, 3),
    )
