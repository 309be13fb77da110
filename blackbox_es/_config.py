"""Configuration objects: scikit-learn's parameter protocol without scikit-learn's import time.

Parameters are declared once, as fields of a dataclass, and documented once, in the class that
declares them. The decorator `config` makes the constructor and puts the texts together.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

_C = TypeVar("_C", bound="Configurable")
_Entry = tuple[tuple[str, ...], str]  # the names that an entry of a docstring is for, and its text


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def config(cls: type[_C]) -> type[_C]:
    """Make a configuration of a class: its annotated attributes are its parameters.

    The constructor takes them by keyword and only assigns them. In the signature, in `get_params`,
    in the repr and in the docs the parameters of the class itself come first, then those of its
    parents. ``field(kw_only=False)`` makes a parameter positional and puts it before all others.

    The sections "Parameters" and "Attributes" of the docstring hold what the class itself adds;
    the entries of its parents are appended, except those it describes anew.

    State is no parameter: annotate it where it is assigned, or declare it as
    ``x_: Array = field(init=False)``; what belongs to the class is a ``ClassVar``.
    """
    doc = cls.__dict__.get("__doc__")  # a dataclass would make one up where there is none
    dataclass(kw_only=True, eq=False, repr=False)(cls)
    parameters = [inspect.Parameter(f.name, _kind(f), default=_default(f), annotation=f.type)
                  for f in _in_order(cls)]  # fmt: skip
    cls._defaults = {parameter.name: parameter.default for parameter in parameters}
    init: Any = cls.__init__
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    init.__signature__ = inspect.Signature([this, *parameters], return_annotation=None)
    cls.__doc__ = doc and _composed(cls, doc)
    return cls


class Configurable:
    """An object that is its parameters; `config` makes its constructor.

    Gives ``get_params``, ``set_params`` (with ``part__name`` for nested parts) and a ``repr`` of
    what differs from the defaults; `sklearn.base.clone` accepts such an object.
    """

    _defaults: ClassVar[dict[str, Any]] = {}  # by name, in the order of the signature

    def __init_subclass__(cls) -> None:
        # A constructor written by hand, as scikit-learn's are, declares its parameters too.
        if "__init__" in vars(cls):
            arguments = inspect.signature(cls).parameters.values()
            cls._defaults = {argument.name: argument.default for argument in arguments}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with ``deep`` also those of parts, as ``part__name``."""
        params = {name: getattr(self, name) for name in self._defaults}
        if deep:
            for name, value in list(params.items()):
                if isinstance(value, Configurable):
                    nested = value.get_params()
                    params |= {f"{name}__{inner}": v for inner, v in nested.items()}
        return params

    @classmethod
    def check_complete(cls, path: Any, stored: dict[str, Any], given: dict[str, Any]) -> None:
        """Raise ValueError if a parameter is neither in a file nor given to `load`."""
        missing = sorted(cls._defaults.keys() - stored.keys() - given.keys())
        if missing:
            raise ValueError(
                f"{path} could not hold {', '.join(missing)}: load(path, {missing[0]}=...)"
            )

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and return self.

        Raises
        ------
        ValueError
            If there is no parameter of that name, here or in a part; nothing is set then.
        """
        self._check_names(params)
        own, nested = _by_part(params)
        for part, inner in nested.items():  # first, since a part of the user's may refuse
            own.get(part, getattr(self, part)).set_params(**inner)
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def _check_names(self, params: dict[str, Any], path: str = "") -> None:
        own, nested = _by_part(params)
        unknown = [name for name in own if name not in self._defaults]
        for part, inner in nested.items():
            owner = own.get(part, getattr(self, part)) if part in self._defaults else None
            if isinstance(owner, Configurable):  # a part may come along with its parameters
                owner._check_names(inner, f"{path}{part}__")
            else:
                unknown += [f"{part}__{name}" for name in inner]
        if unknown:
            where = f" (given as {path}{unknown[0]})" if path else ""
            raise ValueError(
                f"{type(self).__name__} has no parameter {unknown[0]!r}{where}; "
                f"it has {', '.join(self._defaults)}"
            )

    def __repr__(self) -> str:
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(self._defaults[name])
        )
        return f"{type(self).__name__}({', '.join(changed)})"


def _by_part(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Parameters of the object itself, and those of each part."""
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        part, separator, inner = name.partition("__")
        if separator:
            nested.setdefault(part, {})[inner] = value
        else:
            own[name] = value
    return own, nested


# -- signature -----------------------------------------------------------------------------------


def _in_order(cls: type[Configurable]) -> list[Field[Any]]:
    """The parameters of a class: positional ones, its own, those of its parents."""
    known = {parameter.name: parameter for parameter in fields(cls)  # type: ignore[arg-type]
             if parameter.init}  # fmt: skip
    names = dict.fromkeys(name for c in cls.__mro__ for name in inspect.get_annotations(c))
    return sorted((known[name] for name in names if name in known), key=lambda f: bool(f.kw_only))


def _kind(parameter: Field[Any]) -> Any:
    kinds = inspect.Parameter
    return kinds.KEYWORD_ONLY if parameter.kw_only else kinds.POSITIONAL_OR_KEYWORD


def _default(parameter: Field[Any]) -> Any:
    if parameter.default is not MISSING:
        return parameter.default
    factory = parameter.default_factory
    return inspect.Parameter.empty if factory is MISSING else factory()


# -- docs ----------------------------------------------------------------------------------------


def _composed(cls: type[Configurable], doc: str) -> str:
    """The docstring of a class with the entries of its parents, whose docstrings are composed."""
    parents = [c.__doc__ or "" for c in cls.__mro__[1:] if issubclass(c, Configurable)]
    (_, text), *own = _sections(doc)
    inherited = [dict(_sections(parent)) for parent in parents]
    parts = [text]
    for title, order in (("Parameters", cls._defaults), ("Attributes", ())):
        bodies = [dict(own).get(title, ""), *(sections.get(title, "") for sections in inherited)]
        if body := _merged(bodies, order):
            parts.append(f"{title}\n{'-' * len(title)}\n{body}")
    parts += [
        f"{title}\n{'-' * len(title)}\n{body}"
        for title, body in own
        if title not in ("Parameters", "Attributes")
    ]
    return "\n\n".join(parts) + "\n"


def _sections(doc: str) -> list[tuple[str, str]]:
    """Titles and texts of a numpydoc docstring; the text before the first title has none."""
    texts = re.split(r"^(\S.*)\n-{3,}$", inspect.cleandoc(doc), flags=re.MULTILINE)
    return [
        (title, text.strip("\n"))
        for title, text in zip(["", *texts[1::2]], texts[::2], strict=True)
    ]


def _merged(bodies: Sequence[str], order: Iterable[str]) -> str:
    """Entries of a section in this order, then any others; the first body that has one counts."""
    found: dict[str, _Entry] = {}
    for body in bodies:
        found |= {name: entry for name, entry in _entries(body).items() if name not in found}
    names: dict[_Entry, list[str]] = {}
    for name in [*order, *found]:
        if name in found and name not in names.setdefault(found[name], []):
            names[found[name]].append(name)
    return "\n".join(", ".join(entry_names) + text for (_, text), entry_names in names.items())


def _entries(body: str) -> dict[str, _Entry]:
    """Entries by name, ``a, b : float`` under both: one starts at each line without indentation."""
    entries: dict[str, _Entry] = {}
    for entry in re.split(r"\n+(?=\S)", body) if body else ():
        head = re.split(r"\s*[:\n]", entry, maxsplit=1)[0]
        names = tuple(name.strip() for name in head.split(","))
        entries |= dict.fromkeys(names, (names, entry[len(head) :].rstrip()))
    return entries
