"""Hyper-parameters of scikit-learn's estimators, searched by evolution strategies."""

from blackbox_es.model_selection.search_cv import ESSearchCV

__all__ = ["ESSearchCV"]
