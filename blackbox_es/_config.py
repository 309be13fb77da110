"""Configuration objects: scikit-learn's parameter protocol without scikit-learn's import time."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Configurable:
    """Parameters are the arguments of ``__init__``, which only assigns them.

    Gives ``get_params``, ``set_params`` (with ``part__name`` for nested parts) and a ``repr`` of
    what differs from the defaults; `sklearn.base.clone` accepts such an object.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with ``deep`` also those of parts, as ``part__name``."""
        params = {name: getattr(self, name) for name in _defaults(type(self))}
        if deep:
            for name, value in list(params.items()):
                if isinstance(value, Configurable):
                    nested = value.get_params()
                    params |= {f"{name}__{inner}": v for inner, v in nested.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and return self.

        Raises
        ------
        ValueError
            If there is no parameter of that name; nothing is set then.
        """
        own = self.get_params(deep=False)
        for name in params:
            part, _, inner = name.partition("__")
            owner = params.get(part, own.get(part))  # a part may come along with its parameters
            known = isinstance(owner, Configurable) and inner in owner.get_params()
            if part not in own or (inner and not known):
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; "
                    f"it has {', '.join(self.get_params(deep=False))}"
                )
        for name, value in sorted(params.items(), key=lambda item: "__" in item[0]):
            part, _, inner = name.partition("__")
            if inner:
                getattr(self, part).set_params(**{inner: value})
            else:
                setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(_defaults(type(self))[name])
        )
        return f"{type(self).__name__}({', '.join(changed)})"


def _defaults(cls: type) -> dict[str, Any]:
    parameters = inspect.signature(cls).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}
