"""Configuration objects keep scikit-learn's protocol of parameters."""

import copy
import inspect
import pickle
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import sklearn.base
from problems import bits

import blackbox_es
from blackbox_es import SGD, Adam, ClipUp, GuidedES, Isotropic, Linear, LowRank
from blackbox_es._config import Configurable, config
from blackbox_es.optimizers import OPTIMIZERS, Optimizer
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import EvolutionStrategy


@config
class Base(Configurable):
    """What has a rate and a size.

    The rate is positional.

    Parameters
    ----------
    rate : float
        How fast.
    size, width : int
        How large.

        In metres.
    name : str

    Attributes
    ----------
    x_ : float
        Found by ``run``.
    """

    rate: float = field(default=0.5, kw_only=False)
    size: int = 1
    width: int = 2
    name: str = "base"
    x_: float = field(init=False)
    kind: ClassVar[str] = "a kind"


@config
class Middle(Base):
    """Between.

    Notes
    -----
    None.
    """

    parts: list = field(default_factory=list)


@config
class Child(Middle):
    """A width of its own, and a part.

    Parameters
    ----------
    part : Base
        What is inside.
    width : float
        Of the child.

    Attributes
    ----------
    y_ : int

    Examples
    --------
    >>> 1
    1
    """

    part: Base | None = None
    width: float = 3.0


class Plain(Child):
    """Nothing of its own."""


@config
class Silent(Child):
    depth: int = 0


every = pytest.mark.parametrize("cls", [*STRATEGIES.values(), *OPTIMIZERS.values()])


@every
def test_init_only_assigns(cls):
    """Each argument becomes the attribute of that name, the same object, and nothing else."""
    names = list(inspect.signature(cls).parameters)
    given = {name: object() for name in names}
    assert vars(cls(**given)) == given
    assert cls(**given).get_params(deep=False) == given
    defaults = {name: p.default for name, p in inspect.signature(cls).parameters.items()}
    assert cls().get_params() == defaults


@every
def test_set_params_sets_and_returns_self(cls):
    """set_params changes what it names; get_params gives the same objects back."""
    one, (name, *_) = cls(), cls().get_params()
    value = [1.0]
    assert one.set_params(**{name: value}) is one
    assert one.get_params()[name] is value
    assert one.set_params() is one


@every
def test_unknown_parameters_set_nothing(cls):
    """An unknown name raises, lists those known, and nothing is set."""
    one, (name, *_) = cls(), cls().get_params()
    for wrong in ("momentums", "get_params", "_defaults", f"{name}__x", f"no__{name}"):
        with pytest.raises(ValueError, match=f"no parameter '{wrong}'; it has .*{name}"):
            one.set_params(**{name: 0.5, wrong: 1})
    assert one.get_params() == cls().get_params()
    with pytest.raises(TypeError):
        cls(momentums=1)


def test_nested_parameters():
    """Parts are seen and set as part__name; `deep=False` sees the part only."""
    es = GuidedES(optimizer=SGD(momentum=0.5))
    assert es.get_params()["optimizer__momentum"] == 0.5
    assert "optimizer__momentum" not in es.get_params(deep=False)
    es.set_params(optimizer__momentum=0.9, sigma=0.2)
    assert (es.optimizer.momentum, es.sigma) == (0.9, 0.2)
    with pytest.raises(ValueError, match="optimizer__beta_1"):
        es.set_params(sigma=0.3, optimizer__beta_1=0.9)
    assert es.sigma == 0.2
    with pytest.raises(ValueError, match="sampler__sigma"):
        GuidedES().set_params(sampler__sigma=1.0)


def test_a_part_and_its_parameter_set_together():
    """A new part gets the nested parameters given with it, in any order, as in scikit-learn."""
    for order in (1, -1):
        params = [("optimizer", Adam()), ("optimizer__beta_1", 0.5)][::order]
        es = GuidedES(optimizer=SGD()).set_params(**dict(params))
        assert es.optimizer.get_params() == Adam(beta_1=0.5).get_params()


@pytest.mark.parametrize(
    "configuration",
    [
        GuidedES(),
        GuidedES(sigma=0.5, alpha=0.25, shaping="nes", catch=(), max_evals=7),
        GuidedES(
            optimizer=Adam(0.5, beta_1=0.8), sampler=LowRank(((2, 1),)), sigma=Linear(1, 0, 9)
        ),
        SGD(momentum=0.5),
        ClipUp(0.1, max_speed=None),
        GuidedES(sampler=Isotropic(3)),
    ],
    ids=repr,
)
def test_repr_makes_it_again(configuration):
    """repr shows what differs from the defaults, and evaluates to an equal configuration."""
    again = eval(repr(configuration), vars(blackbox_es) | {
        name: getattr(blackbox_es, name)
        for name in ("GuidedES", "SGD", "Adam", "ClipUp", "Isotropic", "LowRank", "Linear")
    })  # fmt: skip
    assert repr(again) == repr(configuration)
    simple = {k: v for k, v in again.get_params().items() if not isinstance(v, Configurable)}
    assert simple.items() <= configuration.get_params().items()


def test_repr_is_short():
    """Defaults are not shown, arrays and generators do no harm."""
    assert repr(GuidedES()) == "GuidedES()"
    assert repr(GuidedES(sigma=0.1, alpha=0.2)) == "GuidedES(alpha=0.2)"
    rng = np.random.default_rng(0)
    assert repr(GuidedES(random_state=rng)) == f"GuidedES(random_state={rng!r})"


def test_clone_copies_the_parts():
    """sklearn.base.clone gives equal parameters and parts of its own."""
    es = GuidedES(optimizer=SGD(momentum=0.5), sampler=Isotropic(3), sigma=Linear(1, 0, 9))
    twin = sklearn.base.clone(es)
    assert repr(twin) == repr(es)
    assert twin.optimizer is not es.optimizer
    twin.set_params(optimizer__momentum=0.1)
    assert es.optimizer.momentum == 0.5


def test_a_fit_does_not_change_parameters():
    """Parameters, also those of parts, are the same objects after a fit."""
    es = GuidedES(optimizer=SGD(momentum=0.5), sampler=Isotropic(2), max_iter=3, random_state=1)
    before = es.get_params()
    es.fit(lambda x: x @ x, [1.0, 2.0], lambda x: x)
    after = es.get_params()
    assert all(after[name] is value for name, value in before.items())
    assert bits(list(before)) == bits(list(after))


@pytest.mark.parametrize("cls", [EvolutionStrategy, Optimizer])
def test_base_classes_are_not_made(cls):
    """Base classes cannot be instantiated."""
    with pytest.raises(TypeError, match="abstract"):
        cls()


# -- declaring parameters ------------------------------------------------------------------------


def test_parameters_are_positional_own_then_inherited():
    """Everywhere in the same order, whichever class a default comes from."""
    order = {"rate": 0.5, "part": None, "width": 3.0, "parts": [], "size": 1, "name": "base"}
    assert str(inspect.signature(Child)).startswith("(rate: float = 0.5, *, part: test_config.Base")
    assert inspect.signature(Child.__init__).parameters.keys() == {"self", *order}
    for cls in (Child, Plain):
        assert {p.name: p.default for p in inspect.signature(cls).parameters.values()} == order
        assert list(cls().get_params().items()) == list(order.items())
    expected = "Child(rate=1, part=Plain(), size=2, name='')"
    assert repr(Child(name="", size=2, part=Plain(), rate=1)) == expected
    assert Child(1.0).rate == 1.0
    with pytest.raises(TypeError, match="positional"):
        Child(1.0, None)


def test_state_is_no_parameter():
    """Neither fields that the constructor does not take nor class variables."""
    one = Child()
    assert vars(one) == one.get_params()
    for name in ("x_", "kind"):
        with pytest.raises(TypeError):
            Child(**{name: 1.0})
        with pytest.raises(ValueError, match=f"no parameter '{name}'"):
            one.set_params(**{name: 1.0})


def test_defaults_that_can_change_are_made_anew():
    """A default factory is called for each object, and its value is not shown."""
    assert Child().parts is not Child().parts
    assert repr(Child()) == "Child()"


def test_what_has_no_default_must_be_given():
    """And is always shown."""

    @config
    class Needy(Base):
        wish: int

    assert repr(Needy(wish=1)) == "Needy(wish=1)"
    assert sklearn.base.clone(Needy(wish=1)).wish == 1
    with pytest.raises(TypeError, match="wish"):
        Needy()


def test_a_constructor_by_hand_declares_its_parameters():
    """As scikit-learn's do: a class of the user's needs no decorator."""

    class Mine(Base):
        def __init__(self, rate=0.25, depth=3):
            self.rate, self.depth = rate, depth

    assert Mine(depth=4).get_params() == {"rate": 0.25, "depth": 4}
    assert repr(sklearn.base.clone(Mine(depth=4))) == "Mine(depth=4)"


def test_configurations_are_abstract_until_complete():
    """The decorator keeps abstract methods abstract, and objects equal to themselves only."""

    @config
    class Abstract(Base, ABC):
        @abstractmethod
        def run(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Abstract()
    assert Base() != Base()
    assert len({Base(), Base()}) == 2


@pytest.mark.parametrize(
    "twin_of", [sklearn.base.clone, copy.copy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_keep_parameters(twin_of):
    """clone, copy and pickle."""
    for one in (Child(0.1, part=Base(size=3), width=np.float64(2)), Adam(0.1, beta_1=0.5)):
        twin = twin_of(one)
        assert type(twin) is type(one)
        assert repr(twin) == repr(one)
        assert list(twin.get_params()) == list(one.get_params())


# -- setting parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 5, "part__speed": 1}, r"Child has no parameter 'speed' \(given as part__speed\)"),
        ({"part__size": 5, "name__x": 1}, "'name__x'; it has rate, part"),
        ({"part__part__size": 5, "part__part__x": 1}, r"Base has no .* as part__part__x\)"),
        ({"part__size": 5, "part__part": None, "part__part__size": 1}, "'part__size'.*part__part"),
        ({"part": Base(), "part__part__size": 1}, "Base has no parameter 'part__size'"),
        ({"part": None, "part__size": 1}, "'part__size'"),
        ({"part__": 1, "size": 5}, "part__"),
        ({"size__": 1, "part__size": 5}, "'size__'"),
        ({"__size": 1, "size": 5}, "'__size'"),
    ],
)
def test_all_parameters_are_set_or_none(params, message):
    """An unknown name at any depth is refused before anything is set."""
    one = Child(part=Child(part=Base()))
    before = repr(one)
    with pytest.raises(ValueError, match=message):
        one.set_params(**params)
    assert repr(one) == before


def test_parts_come_along_at_any_depth():
    """With their parameters, in any order."""
    one = Child(part=Child())
    one.set_params(part__part__size=5, part__part__part__rate=2, part__part=Child(part=Base()))
    assert repr(one) == "Child(part=Child(part=Child(part=Base(rate=2), size=5)))"


def test_a_part_may_refuse_values():
    """A part whose set_params raises leaves the rest as it was."""

    class Strict(Base):
        def set_params(self, **params):
            raise ValueError("no")

    one = Child(part=Strict())
    with pytest.raises(ValueError, match="no"):
        one.set_params(size=5, part__size=1)
    assert one.size == 1


# -- docs ----------------------------------------------------------------------------------------

COMPOSED = """A width of its own, and a part.

Parameters
----------
rate : float
    How fast.
part : Base
    What is inside.
width : float
    Of the child.
size : int
    How large.

    In metres.
name : str

Attributes
----------
y_ : int
x_ : float
    Found by ``run``.

Examples
--------
>>> 1
1"""


def test_docs_are_composed():
    """Own entries, then those of the parents that are not described anew; own sections only."""
    assert inspect.getdoc(Child) == COMPOSED
    parents, own = inspect.getdoc(Base), inspect.getdoc(Middle)
    assert own == parents.replace("What has a rate and a size.\n\nThe rate is positional.",
                                  "Between.") + "\n\nNotes\n-----\nNone."  # fmt: skip
    assert inspect.getdoc(Plain) == "Nothing of its own."


def test_without_a_docstring_the_parents_are_shown():
    """No text is made up."""
    assert Silent.__doc__ is None
    assert inspect.getdoc(Silent) == COMPOSED


def test_docstrings_may_be_stripped():
    """Under ``python -OO``."""
    code = "from blackbox_es import SGD; print(SGD.__doc__, SGD(0.1, momentum=0.5))"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(blackbox_es.__file__).parents[1],
    )  # fmt: skip
    assert done.stdout == "None SGD(learning_rate=0.1, momentum=0.5)\n"


@pytest.mark.parametrize("cls", [*STRATEGIES.values(), *OPTIMIZERS.values(), Child])
def test_every_parameter_is_documented(cls):
    """Parameters in the order of the signature, and nothing that is no parameter."""
    section = inspect.getdoc(cls).split("Parameters\n----------\n")[1].split("\n\n\n")[0]
    heads = [line.split(" : ")[0] for line in section.split("\n---")[0].splitlines()
             if line[:1].strip() and " : " in line]  # fmt: skip
    names = [name for head in heads for name in head.split(", ")]
    assert names == [
        n for n in inspect.signature(cls).parameters if cls is not Child or n != "parts"
    ]
