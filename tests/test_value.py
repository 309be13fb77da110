"""Values: frozen, compared bit for bit, saved by registration, held against what they declare."""

import math
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from problems import X0, bits, bowl, make

from blackbox_es import CheckpointError, VanillaES, _value, checkpoint, value
from blackbox_es._value import Count, Fraction, Matrix, Positive, Rows, Vector, check, same


@value
class Warmup:
    """A schedule of a user's."""

    rate: float
    steps: int = 4

    def __call__(self, t):
        return self.rate * min((t + 1) / self.steps, 1.0)


@value
class Held:
    """One of each kind of field."""

    x: Vector
    rows: Rows
    matrix: Matrix
    count: Count = 0
    share: Fraction = 0.5
    scale: Positive = 1.0
    pair: tuple[int, float] | None = None
    many: tuple[Vector | None, ...] = ()


def held(**changes):
    parts = {"x": np.zeros(3), "rows": np.zeros((2, 3)), "matrix": np.zeros((3, 3))}
    return Held(**{**parts, **changes})


def test_values_compare_bit_for_bit():
    """Arrays, NaN and all; other types, shapes and signs of zero differ or not as NumPy has it."""
    assert held() == held()
    assert held(x=np.array([1.0, math.nan, 0.0])) == held(x=np.array([1.0, math.nan, 0.0]))
    for other in (held(x=np.ones(3)), held(x=np.zeros(3, "f4")), held(pair=(1, 2.0)), 3):
        assert held() != other
    assert hash(held()) == hash(held())
    assert same([np.nan, (1, {"a": 2})], [np.nan, (1, {"a": 2})])


def test_values_are_frozen_and_pickle():
    with pytest.raises(FrozenInstanceError):
        held().count = 1
    assert pickle.loads(pickle.dumps(held())) == held()
    assert not _value.freeze(held()).x.flags.writeable


@pytest.mark.parametrize(
    "changes",
    [{"x": np.zeros(4)}, {"x": np.zeros(3, "f4")}, {"x": [0.0] * 3}, {"rows": np.zeros((2, 2))},
     {"rows": np.zeros(3)}, {"matrix": np.zeros((3, 2))}, {"matrix": np.zeros((3, 3)).T[:, ::-1]},
     {"count": -1}, {"count": 1.0}, {"count": True}, {"count": None}, {"share": 1.5}, {"share": 1},
     {"scale": 0.0}, {"scale": math.nan}, {"scale": math.inf}, {"pair": (1, 2)}, {"pair": (1,)},
     {"pair": [1, 2.0]}, {"many": (np.zeros(2),)}, {"many": [None]}],
    ids=str,
)  # fmt: skip
def test_what_is_not_declared_is_found(changes):
    """Wrong shapes, dtypes, types and ranges, named with class and field."""
    check(held(pair=(1, 2.0), many=(None, np.zeros(3))), 3, float)
    with pytest.raises((ValueError, AttributeError), match=r"Held|shape"):
        check(held(**changes), 3, float)


def test_replace():
    """As `dataclasses.replace` has it: new fields where given, the others as they were."""
    before = held(pair=(1, 2.0))
    assert _value.replace(before, count=3, x=before.rows[0]) == replace(
        before, count=3, x=before.rows[0]
    )
    assert _value.replace(before, count=3).matrix is before.matrix
    with pytest.raises(TypeError, match="Held has no field speed"):
        _value.replace(before, speed=1.0)


def test_values_of_a_user_are_saved(tmp_path):
    """One decorator is enough; what is not known is asked for by its module."""
    es = make("vanilla-es", learning_rate=Warmup(0.3)).start(X0)
    es.tell(es.ask(), [bowl(x) for x in es.ask()])
    es.save(tmp_path / "run.npz")
    loaded = VanillaES.load(tmp_path / "run.npz")
    assert loaded.learning_rate == Warmup(0.3)
    assert bits(loaded.x_) == bits(es.x_)
    known = _value.REGISTRY.pop(_value.name_of(Warmup))
    with pytest.raises(CheckpointError, match="import the module that defines it"):
        VanillaES.load(tmp_path / "run.npz")
    _value.REGISTRY[_value.name_of(known)] = known


def test_fields_added_since_take_their_defaults(tmp_path):
    """A file written before a field existed still loads."""
    es = make("vanilla-es", learning_rate=Warmup(0.3)).start(X0)
    es.save(tmp_path / "run.npz")
    meta, arrays = checkpoint.read(tmp_path / "run.npz")
    del meta["params"]["learning_rate"]["fields"]["steps"]
    checkpoint.write(tmp_path / "run.npz", meta, arrays)
    assert VanillaES.load(tmp_path / "run.npz").learning_rate == replace(Warmup(0.3), steps=4)
