"""Models of an objective, whose gradients are surrogates."""

from blackbox_es.models.archive import Archive
from blackbox_es.models.quadratic import Quadratic, fitted
from blackbox_es.models.surrogate import SurrogateModel

__all__ = ["Archive", "Quadratic", "SurrogateModel", "fitted"]
