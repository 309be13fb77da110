"""Meta-learning: gradients of long inner computations, a window at a time.

The parameters theta of an inner computation, such as a learning rate's schedule or a learned
optimizer, change every window of inner steps instead of every whole episode. See `UnrolledProblem`
for what is unrolled, and `UnrolledES` for what the four estimators have in common.
"""

from blackbox_es.unrolled.estimators import FullES, NoiseReuseES, PersistentES, TruncatedES
from blackbox_es.unrolled.problem import DifferentiableProblem, UnrolledProblem, unroll
from blackbox_es.unrolled.strategy import UnrolledES

__all__ = [
    "DifferentiableProblem",
    "FullES",
    "NoiseReuseES",
    "PersistentES",
    "TruncatedES",
    "UnrolledES",
    "UnrolledProblem",
    "unroll",
]
