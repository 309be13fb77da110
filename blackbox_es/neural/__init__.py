"""Networks: a population of them evaluated at once, and scikit-learn estimators trained by ES."""

from blackbox_es.neural.estimators import ESMLPClassifier, ESMLPRegressor

__all__ = ["ESMLPClassifier", "ESMLPRegressor"]
