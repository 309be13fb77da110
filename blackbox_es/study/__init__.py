"""Studies: comparisons that can be run again, each with its data and its figure.

``python -m blackbox_es study NAME`` runs one; see `Study` for what one is made of.
"""

from blackbox_es.study.alpha import Alpha
from blackbox_es.study.base import Cell, Row, Study
from blackbox_es.study.population import Population
from blackbox_es.study.quadratic import Quadratic
from blackbox_es.study.quadratic_tuning import QuadraticTuning
from blackbox_es.study.rastrigin import Rastrigin
from blackbox_es.study.runner import run_cells
from blackbox_es.study.smoothing import Smoothing

STUDIES: dict[str, type[Study]] = {
    study.name: study
    for study in (Quadratic, QuadraticTuning, Alpha, Rastrigin, Smoothing, Population)
}

__all__ = ["STUDIES", "Cell", "Row", "Study", "run_cells"]
