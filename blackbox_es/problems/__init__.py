"""Benchmark problems as values."""

from blackbox_es.problems.quadratic import PerturbedQuadratic

__all__ = ["PerturbedQuadratic"]
