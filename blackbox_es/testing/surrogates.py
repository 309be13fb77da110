"""Checks of surrogate gradients: is it one, and does it help?"""

from __future__ import annotations

from blackbox_es.testing.checks import Check

SURROGATE_CHECKS: list[Check] = []
