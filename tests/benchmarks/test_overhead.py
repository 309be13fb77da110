"""One generation, ask + tell, of the strategies; random values are told.

Nothing is asserted about a time; `test_kernels` says how to run it, `peers` and `overhead` print
the same in multiples of what plain NumPy takes.
"""

import pytest
from timing import numpy_generation, strategy_generation

from blackbox_es import GuidedES, VanillaES

SIZES = ((10, 20), (100, 100), (1_000, 100), (10_000, 100), (100_000, 100))
STRATEGIES = {
    "numpy": numpy_generation,
    "vanilla": lambda n, n_points: strategy_generation(VanillaES, n, n_points),
    "guided-1": lambda n, n_points: strategy_generation(GuidedES, n, n_points),
    "guided-10": lambda n, n_points: strategy_generation(GuidedES, n, n_points, n_guides=10),
}


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}/{0[1]}".format)
@pytest.mark.parametrize("name", STRATEGIES)
def test_generation(benchmark, name, size):
    """Grouped by size: plain NumPy, VanillaES, GuidedES with 1 and 10 guides."""
    benchmark.group = f"{size[0]:,} dimensions, {size[1]} points"
    generation = STRATEGIES[name](*size)
    for _ in range(12):  # to compile, and until there are ten guides
        generation()
    benchmark(generation)
