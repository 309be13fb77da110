"""Configuration objects keep scikit-learn's protocol of parameters."""

import inspect

import numpy as np
import pytest
import sklearn.base
from problems import bits

import blackbox_es
from blackbox_es import SGD, Adam, ClipUp, GuidedES, Isotropic, Linear, LowRank
from blackbox_es._config import Configurable
from blackbox_es.optimizers import OPTIMIZERS, Optimizer
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import EvolutionStrategy

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
    one = cls()
    value = [1.0]
    assert one.set_params(learning_rate=value) is one
    assert one.get_params()["learning_rate"] is value
    assert one.set_params() is one


@every
def test_unknown_parameters_set_nothing(cls):
    """An unknown name raises, lists those known, and nothing is set."""
    one = cls()
    for wrong in ("momentums", "get_params", "_defaults", "learning_rate__x", "no__learning_rate"):
        with pytest.raises(ValueError, match=f"no parameter '{wrong}'; it has .*learning_rate"):
            one.set_params(learning_rate=0.5, **{wrong: 1})
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
