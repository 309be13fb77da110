"""Search distributions as frozen values.

A sampler knows the law of its directions d. Its ``sigma`` is the standard deviation of a coordinate
(root mean squared over the coordinates, where they differ): ``E[d d^T] = n sigma^2 Sigma`` with
``trace(Sigma) = 1``. It holds no randomness: a direction is a function of the key (seed,
generation) and of the pair, and is made again wherever it is needed.

A sampler of one's own is a frozen value with ``n``, ``sigma`` and the two methods of `Sampler`:
``perturb`` gives points, ``combine`` the sum of all directions with given weights.
"""

from blackbox_es.samplers.base import Base, Sampler, directions
from blackbox_es.samplers.elongated import Elongated
from blackbox_es.samplers.guided import Guided, orthonormal_rows, unit_guide
from blackbox_es.samplers.low_rank import LowRank
from blackbox_es.samplers.normal import Affine, Diagonal, Isotropic
from blackbox_es.samplers.orthogonal import Orthogonal
from blackbox_es.samplers.probes import Axes, Chosen, Still
from blackbox_es.samplers.split import Split

__all__ = [
    "Affine",
    "Axes",
    "Base",
    "Chosen",
    "Diagonal",
    "Elongated",
    "Guided",
    "Isotropic",
    "LowRank",
    "Orthogonal",
    "Sampler",
    "Split",
    "Still",
    "directions",
    "orthonormal_rows",
    "unit_guide",
]
