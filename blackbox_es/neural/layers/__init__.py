"""Layers of networks, one file each: what each owns and how units pass through it.

A new one is a file with a `Weighted`, which has parameters, or a `Map`, which has none.
"""

from blackbox_es.neural.layers.activate import Activate
from blackbox_es.neural.layers.avg_pool import AvgPool2D
from blackbox_es.neural.layers.base import Layer, Linear, Map, Shape, Weighted
from blackbox_es.neural.layers.conv import Conv2D
from blackbox_es.neural.layers.dense import Dense
from blackbox_es.neural.layers.max_pool import MaxPool2D
from blackbox_es.neural.layers.vector_quantise import VectorQuantise

__all__ = [
    "Activate", "AvgPool2D", "Conv2D", "Dense", "Layer", "Linear", "Map", "MaxPool2D", "Shape",
    "VectorQuantise", "Weighted",
]  # fmt: skip
