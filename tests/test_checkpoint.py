"""What a checkpoint keeps, what cannot be stored, and files that are damaged or forged."""

import copy
import io
import itertools
import json
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blackbox_es import checkpoint
from blackbox_es.checkpoint import CheckpointError

META = {"run": 1, "sigma": 0.1}
ARRAYS = {"x": np.arange(3.0), "flag": np.array([True, False]), "seed": np.array(7)}
DTYPES = [
    "?",
    "b",
    "B",
    "<i2",
    ">u2",
    "<i4",
    "<u4",
    "<i8",
    ">i8",
    "<u8",
    "<f4",
    ">f4",
    "<f8",
    ">f8",
]

names = st.from_regex(r"[A-Za-z0-9_]{1,8}([./-]\w{1,8}){0,3}", fullmatch=True).filter(
    lambda name: name.isascii() and name != "meta"
)
strings = st.text(st.characters())  # with surrogates, as in file names that are not UTF-8
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | strings
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
arrays = hnp.arrays(
    st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
)
quick = settings(deadline=None, max_examples=40)


def content(meta, arrays):
    """Everything that must survive, in a form that tells -0.0 from 0.0 and NaNs apart."""
    bits = {
        name: (array.dtype.newbyteorder("=").str, array.shape, array.tolist().__repr__(),
               array.astype(array.dtype.newbyteorder("<")).tobytes())
        for name, array in arrays.items()
    }  # fmt: skip
    return repr(meta), bits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.write(path, META, ARRAYS)
    return path


def survives(path, blob):
    """Whether `read` accepts the bytes; if so they must mean what was written."""
    path.unlink(missing_ok=True)  # much faster than overwriting, which waits for the disk
    path.write_bytes(blob)
    try:
        found = checkpoint.read(path)
    except CheckpointError:
        return False
    assert content(*found) == content(META, ARRAYS)
    return True


# --- what goes in comes out --------------------------------------------------------------------


@given(meta=st.dictionaries(strings, json_values, max_size=4),
       stored=st.dictionaries(names, arrays, max_size=4))  # fmt: skip
@quick
def test_read_returns_what_write_was_given(folder, meta, stored):
    checkpoint.write(folder / "round.npz", meta, stored)
    found = checkpoint.read(folder / "round.npz")
    assert content(*found) == content(meta, stored)
    assert list(found[1]) == list(stored)


@given(array=arrays, steps=st.lists(st.sampled_from([1, -1, 2]), min_size=4, max_size=4))
@example(array=np.arange(6.0).reshape(2, 3), steps=[1] * 4)
@quick
def test_layout_in_memory_does_not_matter(folder, array, steps):
    view = array.T[(*(slice(None, None, step) for step in steps[: array.ndim]), ...)]
    checkpoint.write(folder / "view.npz", {}, {"x": view})
    assert content({}, {"x": view}) == content(*checkpoint.read(folder / "view.npz"))


@pytest.mark.parametrize("kind", ["4", "8"])
@given(data=st.data())
@quick
def test_every_bit_of_nan_and_infinity_survives(folder, kind, data):
    bits = data.draw(hnp.arrays(f"u{kind}", 5))
    checkpoint.write(folder / "bits.npz", {}, {"x": bits.view(f"f{kind}")})
    found = checkpoint.read(folder / "bits.npz")[1]["x"]
    np.testing.assert_array_equal(found.view(f"u{kind}"), bits)


def test_numpy_scalars_come_back_as_arrays(folder):
    checkpoint.write(folder / "scalar.npz", {}, {"x": np.float64(0.1)})
    found = checkpoint.read(folder / "scalar.npz")
    assert content(*found) == content({}, {"x": np.array(0.1)})


def test_arrays_read_are_writable_and_native(path):
    for array in checkpoint.read(path)[1].values():
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.dtype.isnative


def test_numpy_opens_the_file_without_pickle(path):
    with np.load(path, allow_pickle=False) as loaded:
        assert list(loaded) == ["meta", *ARRAYS]
        assert content({}, {name: loaded[name] for name in ARRAYS}) == content({}, ARRAYS)


def test_file_says_what_it_is(path):
    envelope, _ = taken_apart(path)
    assert envelope["format"] == "blackbox_es checkpoint"
    assert envelope["version"] == checkpoint.VERSION


def test_equal_state_gives_equal_bytes_at_any_time(path, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile.time, "localtime", lambda *_: (1970, 1, 1, 0, 0, 0))
    checkpoint.write(tmp_path / "again.npz", META, copy.deepcopy(ARRAYS))
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_largest_meta_and_most_arrays_come_back(tmp_path):
    many = {f"x{i}": np.zeros(1) for i in range(checkpoint._MAX_MEMBERS - 1)}
    checkpoint.write(tmp_path / "many.npz", {"text": "a" * (checkpoint._MAX_META - 50_000)}, many)
    assert len(checkpoint.read(tmp_path / "many.npz")[1]) == len(many)


# --- what cannot be stored is refused by name, and nothing written ------------------------------


@pytest.mark.parametrize("bad", [
    np.array([None]), np.array(["a"]), np.array([b"a"]), np.zeros(2, complex), np.zeros(2, "f2"),
    np.zeros(2, "M8[s]"), np.zeros(2, [("a", float)]), np.ma.masked_array([1.0]),
    np.float16(1), [1.0], 1.0, None,
], ids=repr)  # fmt: skip
def test_arrays_of_other_types_are_refused(tmp_path, bad):
    with pytest.raises(TypeError, match=r"arrays\['guides'\]"):
        checkpoint.write(tmp_path / "run.npz", {}, {"guides": bad})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "bad", ["", "meta", "../x", "/x", "a//b", "a b", "x\n", "x\0", "é", "a" * 101]
)
def test_names_unfit_for_an_archive_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="arrays: "):
        checkpoint.write(tmp_path / "run.npz", {}, {bad: np.zeros(1)})
    assert os.listdir(tmp_path) == []


NESTED = []
for _ in range(10**5):
    NESTED = [NESTED]
CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("bad", [
    float("nan"), float("-inf"), [1, float("inf")], (1,), {1: 2}, {1}, np.zeros(1), np.int64(1),
    b"a", 10**5000, NESTED, CIRCLE,
], ids=lambda bad: type(bad).__name__)  # fmt: skip
def test_meta_that_json_would_change_is_refused(tmp_path, bad):
    with pytest.raises((TypeError, ValueError), match="meta"):
        checkpoint.write(tmp_path / "run.npz", {"sigma": bad}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("meta", "arrays"), [
    ({3: 4}, {}),
    ({"text": "a" * (1 << 22)}, {}),
    ({}, {f"x{i}": np.zeros(1) for i in range(1024)}),
], ids=["key", "meta too long", "too many arrays"])  # fmt: skip
def test_what_read_would_refuse_is_not_written(tmp_path, meta, arrays):
    with pytest.raises((TypeError, ValueError), match="meta"):
        checkpoint.write(tmp_path / "run.npz", meta, arrays)
    assert os.listdir(tmp_path) == []


# --- damage -------------------------------------------------------------------------------------


def test_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        checkpoint.read(tmp_path / "run.npz")


def test_error_names_the_file_the_cause_and_prev_only_if_there_is_one(path):
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"run\.npz': it is damaged.*no '\.prev'"):
        checkpoint.read(path)
    Path(f"{path}.prev").touch()
    with pytest.raises(CheckpointError, match=r"run\.npz': it is damaged.*run\.npz\.prev"):
        checkpoint.read(path)


def test_truncated_anywhere_is_refused(path):
    blob = path.read_bytes()
    assert not any(survives(path, blob[:n]) for n in range(len(blob)))


def test_a_flipped_bit_is_refused_or_harmless(path):
    blob = path.read_bytes()
    for n, mask in itertools.product(range(len(blob)), (1, 8)):
        flipped = bytearray(blob)
        flipped[n] ^= mask
        survives(path, flipped)


def test_a_flipped_bit_of_the_data_is_refused(path):
    blob = path.read_bytes()
    _, members = taken_apart(path)
    for data in members.values():
        start = blob.index(data)
        for n in range(start, start + len(data)):
            assert not survives(path, blob[:n] + bytes([blob[n] ^ 16]) + blob[n + 1 :])


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_cut_pasted_and_overwritten_bytes_are_refused_or_harmless(folder, data):
    path = folder / "spliced.npz"
    checkpoint.write(path, META, ARRAYS)
    blob = path.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        a, b, c = (data.draw(st.integers(0, len(blob))) for _ in range(3))
        blob = blob[:a] + data.draw(st.binary(max_size=8) | st.just(blob[b:c])) + blob[b:]
    survives(path, blob)


@given(blob=st.binary(max_size=300), head=st.booleans(), tail=st.booleans())
@settings(deadline=None, max_examples=150)
def test_random_bytes_are_refused(folder, blob, head, tail):
    end = b"PK\5\6" + bytes(18)
    blob = (b"PK\3\4" if head else b"") + blob + (end if tail else b"")
    assert not survives(folder / "random.npz", blob)


# --- malice: files made to deceive, with sound checksums ----------------------------------------


def taken_apart(path):
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    return json.loads(members["meta.npy"][128:]), members


def npy(descr, shape, payload=b"", fortran_order=False):
    """Any .npy header, true or not, as NumPy writes it."""
    out = io.BytesIO()
    header = {"descr": descr, "fortran_order": fortran_order, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + payload


def put_together(path, envelope, members, compression=zipfile.ZIP_STORED):
    text = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    members = {**members, "meta.npy": npy("|u1", (len(text),), text)}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def header(descr, shape, payload=bytes(24), **options):
    return member("x.npy", npy(descr, shape, payload, **options))


def spelled(text, length=None, version=b"\1\0"):
    length = len(text) if length is None else length
    return member("x.npy", b"\x93NUMPY" + version + length.to_bytes(2, "little") + text)


def member(name, data):
    def edit(envelope, members):
        members[name] = data

    return edit


def stamp(**changes):
    return lambda envelope, members: envelope.update(changes)


def too_many(envelope, members):
    names = [f"y{i}" for i in range(1024)]
    envelope["arrays"] += names
    members.update({f"{name}.npy": npy("|u1", (0,)) for name in names})


def upwards(envelope, members):
    envelope["arrays"].append("../y")
    members["../y.npy"] = npy("|u1", (0,))


def text(change):
    return lambda envelope, members: change(json.dumps(envelope).encode())


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


FLOATS = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }"
MALICE = {
    "same bytes": (lambda envelope, members: None, None),
    "same header": (spelled(FLOATS + b"\n" + np.arange(3.0).tobytes(), len(FLOATS) + 1), None),
    "pickle": (header("|O", (3,), pickle.dumps(Evil())), "dtype"),
    "pickle as long as it should be": (header("|O", (3,)), "dtype"),
    "void": (header("|V8", (3,)), "dtype"),
    "structured": (header([("a", "<f8")], (3,)), "dtype"),
    "structured with objects": (header([("a", "|O")], (3,)), "dtype"),
    "part of an array": (header(("<f8", (3,)), (1,)), "dtype"),
    "text": (header("<U2", (3,)), "dtype"),
    "dates": (header("<M8[s]", (3,)), "dtype"),
    "half": (header("<f2", (12,)), "dtype"),
    "complex": (header("<c8", (3,)), "dtype"),
    "byte order": (header(">f8", (3,)), "dtype"),
    "empty items": (header("|V0", (2**62,), b""), "dtype"),
    "unknown dtype": (header("<f3", (3,)), "damaged"),
    "Fortran order": (header("<f8", (3, 1), fortran_order=True), "shape"),
    "shape 1e12": (header("<f8", (10**12,)), "not as long"),
    "shape beyond memory": (header("<f8", (2**62, 2**62)), "not as long"),
    "size wraps to 24": (header("<f8", (2**64 + 3,)), "not as long"),
    "size wraps in product": (header("<f8", (2**32, 2**32, 3)), "not as long"),
    "negative": (header("<f8", (-1,)), "shape"),
    "negative twice": (header("<f8", (-1, -3)), "shape"),
    "shape of floats": (header("<f8", (3.0,)), "damaged"),
    "65 dimensions": (header("<f8", (3, *[1] * 64)), "damaged"),
    "huge and empty": (header("<f8", (0, 2**62, 2**62), b""), "damaged"),
    "huge digits": (header("<f8", (10**1000,)), "not as long"),
    "too few data": (header("<f8", (3,), bytes(23)), "not as long"),
    "too many data": (header("<f8", (3,), bytes(25)), "not as long"),
    "header cut": (spelled(FLOATS[:9], 99), "damaged"),
    "long header": (spelled(FLOATS + b" " * 9999), "damaged"),
    "header with code": (spelled(b"__import__('os').mkdir('executed')"), "damaged"),
    "header nested": (spelled(b"(" * 2000), "damaged"),
    "header of another version": (spelled(FLOATS, version=b"\2\0"), "unknown header"),
    "no header": (member("x.npy", b""), "damaged"),
    "boolean of 2": (member("flag.npy", npy("|b1", (2,), b"\2\0")), "booleans"),
    "member missing": (lambda e, m: m.__delitem__("x.npy"), "members"),
    "member not listed": (member("y.npy", npy("<f8", (), bytes(8))), "members"),
    "listed only": (lambda e, m: e["arrays"].append("y"), "members"),
    "other order": (lambda e, m: m.update({"x.npy": m.pop("x.npy")}), "members"),
    "no arrays listed": (stamp(arrays=[]), "members"),
    "arrays no list": (stamp(arrays={"x": 0, "flag": 0, "seed": 0}), "members"),
    "too many members": (too_many, "members"),
    "path upwards": (upwards, "members"),
    "another format": (stamp(format="safetensors"), "no blackbox_es checkpoint"),
    "no format": (lambda e, m: e.pop("format"), "no blackbox_es checkpoint"),
    "version from the future": (stamp(version=2, arrays=0), "version 2, .* newer blackbox-es"),
    "version zero": (stamp(version=0), "meta"),
    "version a word": (stamp(version="new"), "damaged"),
    "key missing": (lambda e, m: e.pop("arrays"), "damaged"),
    "meta no dict": (stamp(meta=[["run", 1]]), "meta"),
    "meta NaN": (stamp(meta={"run": float("nan")}), "damaged"),
    "meta infinite": (text(lambda t: t.replace(b"0.1", b"-Infinity")), "damaged"),
    "nested JSON": (text(lambda t: b"[" * 10**6), "damaged"),
    "nested meta": (text(lambda t: t.replace(b"0.1", b"[" * 10**5 + b"]" * 10**5)), "damaged"),
    "number of a million digits": (text(lambda t: t.replace(b"0.1", b"1" * 10**6)), "damaged"),
    "JSON cut": (text(lambda t: t[:-1]), "damaged"),
    "JSON of one number": (text(lambda t: b"1"), "no blackbox_es checkpoint"),
    "JSON empty": (text(lambda t: b""), "damaged"),
    "not UTF-8": (text(lambda t: t.replace(b"run", b"\xff")), "damaged"),
    "meta too long": (text(lambda t: t + b" " * 2**23), "no blackbox_es checkpoint"),
}  # fmt: skip


def forge(path, case):
    edit, cause = MALICE[case]
    envelope, members = taken_apart(path)
    raw = edit(envelope, members)
    put_together(path, raw if isinstance(raw, bytes) else envelope, members)
    return cause


@pytest.mark.parametrize("case", MALICE)
def test_a_forged_file_is_refused_with_its_cause(path, case, monkeypatch):
    monkeypatch.chdir(path.parent)
    cause = forge(path, case)
    if cause is None:  # the forger's own tools do no damage
        assert content(*checkpoint.read(path)) == content(META, ARRAYS)
    else:
        with pytest.raises(CheckpointError, match=f"run.npz': .*{cause}"):
            checkpoint.read(path)
    assert os.listdir(path.parent) == ["run.npz"]  # no code ran


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(path, method):
    put_together(path, *taken_apart(path), method)
    with pytest.raises(CheckpointError, match="compressed"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("n", "cause"), [(1, "members"), (99, "overlap"), (2000, "members|overlap")]
)
def test_a_member_given_more_than_once_is_refused(path, n, cause):
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist.extend([archive.getinfo("x.npy")] * n)
        archive.comment = b""  # has the directory written again
    with pytest.raises(CheckpointError, match=cause):
        checkpoint.read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_second_member_of_the_same_name_is_refused(path):
    envelope, members = taken_apart(path)
    envelope["arrays"].append("x")
    put_together(path, envelope, members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", members["x.npy"])
    with pytest.raises(CheckpointError, match="members"):
        checkpoint.read(path)


def test_an_archive_of_someone_else_is_refused(tmp_path):
    np.savez(tmp_path / "run.npz", **ARRAYS)
    with pytest.raises(CheckpointError, match="no blackbox_es checkpoint"):
        checkpoint.read(tmp_path / "run.npz")


@pytest.mark.parametrize("case", [name for name in MALICE if "meta" not in name])
def test_a_forged_file_takes_no_more_memory_than_its_size_warrants(path, case):
    forge(path, case)
    tracemalloc.start()
    try:
        checkpoint.read(path)
    except CheckpointError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1e6 + 25 * path.stat().st_size


def test_members_longer_than_the_file_are_refused_before_anything_is_allocated(path):
    with zipfile.ZipFile(path, "a") as archive:
        last = archive.filelist[-1]
        archive.writestr("y.npy", npy("|u1", (2**40,)))
        last = archive.getinfo("y.npy")
        last.file_size = last.compress_size = 2**40 + 128
    with pytest.raises(CheckpointError, match="end beyond"):
        checkpoint.read(path)


descrs = st.sampled_from(sorted(checkpoint._DTYPES)) | st.from_regex(
    r"[<>|=]?[a-zA-Z?][0-9]?", fullmatch=True
)
shapes = st.lists(st.integers(-1, 5) | st.sampled_from([3, 8, 24, 2**61 + 3]), max_size=3)


@given(descr=descrs, shape=shapes.map(tuple), order=st.booleans(), n=st.integers(0, 64))
@settings(deadline=None, max_examples=150)
def test_what_a_forged_header_says_is_refused_or_what_numpy_reads(folder, descr, shape, order, n):
    path = folder / "header.npz"
    checkpoint.write(path, META, ARRAYS)
    envelope, members = taken_apart(path)
    members["x.npy"] = npy(descr, shape, bytes(n), order)
    path.unlink()
    put_together(path, envelope, members)
    try:
        found = checkpoint.read(path)[1]
    except CheckpointError:
        return
    with np.load(path, allow_pickle=False) as loaded:
        assert content({}, found) == content({}, {name: loaded[name] for name in ARRAYS})
