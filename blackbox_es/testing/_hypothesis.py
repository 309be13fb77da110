"""Hypothesis, or an error that says how to get it."""

try:
    from hypothesis import HealthCheck, Phase, settings, stateful
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError(
        "this module of blackbox_es.testing needs Hypothesis: "
        "python -m pip install 'blackbox-es[testing]'"
    ) from error

__all__ = ["HealthCheck", "Phase", "hnp", "settings", "st", "stateful"]
