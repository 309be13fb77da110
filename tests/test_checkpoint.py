import copy
import errno
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
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
    assert envelope["numpy"] == np.__version__


def test_equal_state_gives_equal_bytes(path, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile.time, "localtime", lambda *_: (2001, 2, 3, 4, 5, 6))
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
    "bad", ["", "meta", "../x", "/x", "a//b", "a b", "x\n", "x\0", "é", "a" * 101, 3]
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
    with pytest.raises((TypeError, ValueError), match=r"meta\['sigma'\]"):
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


# --- old or new, never nothing ------------------------------------------------------------------

# In a child per step, dies at the k-th call that touches the disk; writes go out in torn pieces.
KILLED = """
import io, itertools, os, sys
import numpy as np
from blackbox_es import checkpoint

path, way = sys.argv[1:]
budget = 10**9

def counted(call):
    def wrapper(*args, **options):
        global budget
        budget -= 1
        if budget < 0:
            os._exit(9)
        return call(*args, **options)
    return wrapper

class Torn(io.FileIO):
    write = counted(lambda self, data: io.FileIO.write(self, data[: max(48, len(data) // 2)]))

def torn_open(path, mode):
    if mode == "rb":
        return open(path, mode)
    return io.BufferedWriter(counted(Torn)(path, mode.replace("b", "")), 64)

def no_link(*args):
    raise PermissionError("no hard links here")

def write(run):
    checkpoint.write(path, {"run": run}, {"x": np.full(50, float(run))})

def run_at(path):
    try:
        meta, arrays = checkpoint.read(path)
    except FileNotFoundError:
        return -1
    assert (arrays["x"] == meta["run"]).all()
    return meta["run"]

checkpoint.open = torn_open
if way == "copy":
    os.link = no_link
for name in ("open", "fsync", "close", "link", "replace", "unlink"):
    setattr(os, name, counted(getattr(os, name)))

for k in itertools.count():
    for name in (path, path + ".prev"):
        if os.path.exists(name):
            os.unlink(name)
    for run in range(0 if way == "first" else 2):
        write(run)
    child = os.fork()
    if child == 0:
        budget = k
        write(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, run_at(path), run_at(path + ".prev"))
    if code == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("way", "prev", "old"), [("first", -1, -1), ("link", 0, 1), ("copy", 0, 1)]
)
def test_killed_anywhere_leaves_old_or_new(tmp_path, way, prev, old):
    out = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run.npz"), way],
        check=True, capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    *killed, last = [tuple(map(int, line.split())) for line in out.splitlines()]
    seen = [state for _, *state in killed]
    assert last == (0, 2, old)
    assert {code for code, *_ in killed} == {9}
    assert len(killed) > 20
    # In this order, each seen: nothing happened, only .prev renewed, all done but the last calls.
    stages = [[old, prev], [old, old], [2, old]]
    assert [state for state, _ in itertools.groupby(seen)] == [
        state for state, _ in itertools.groupby(stages)
    ]


def test_data_reach_the_disk_before_the_name_and_the_name_before_return(path, monkeypatch):
    calls = []

    def spied(name, call):
        def wrapper(*args, **options):
            calls.append(name)
            return call(*args, **options)

        return wrapper

    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, spied(name, getattr(os, name)))
    checkpoint.write(path, META, ARRAYS)
    folder_sync = ["fsync"] if os.name == "posix" else []
    assert calls == ["link", "replace", "fsync", "replace", *folder_sync]


def test_previous_checkpoint_is_kept(path):
    for run in (2, 3):
        checkpoint.write(path, {"run": run}, {})
    assert checkpoint.read(path)[0] == {"run": 3}
    assert checkpoint.read(f"{path}.prev")[0] == {"run": 2}
    assert sorted(os.listdir(path.parent)) == ["run.npz", "run.npz.prev"]


def test_nothing_is_left_when_prev_already_is_the_same_file(path):
    os.link(path, f"{path}.prev")  # what a crash between the two renamings leaves
    checkpoint.write(path, {"run": 2}, {})
    assert sorted(os.listdir(path.parent)) == ["run.npz", "run.npz.prev"]
    assert checkpoint.read(f"{path}.prev")[0] == META


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_disk_full_after_any_number_of_bytes_leaves_the_old(path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full_size = path.stat().st_size
    new = {name: array + array for name, array in ARRAYS.items()}
    for n_bytes in range(0, full_size, 7):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
                checkpoint.write(path, META, new)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(path.parent) == ["run.npz"]
    assert content(*checkpoint.read(path)) == content(META, ARRAYS)


@pytest.mark.parametrize("full", ["write", "fsync", "link and copy", "replace"])
def test_any_failing_step_leaves_the_old_and_no_partial_file(path, monkeypatch, full):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(io.FileIO):
        write = fail

    with monkeypatch.context() as patch:
        if full == "write":
            patch.setattr(checkpoint, "open", lambda *_: io.BufferedWriter(Full(*_)), raising=False)
        elif full == "link and copy":
            patch.setattr(os, "link", fail)
            patch.setattr(checkpoint.shutil, "copyfileobj", fail)
        else:
            patch.setattr(os, full, fail)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            checkpoint.write(path, {"run": 2}, {})
    assert not list(path.parent.glob("*.tmp"))
    assert content(*checkpoint.read(path)) == content(META, ARRAYS)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_raises_os_error(path, monkeypatch):
    with open("/dev/full", "wb") as device:
        monkeypatch.setattr(checkpoint, "open", lambda *_: device, raising=False)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            checkpoint.write(path, META, {"x": np.zeros(10**5)})
    assert os.listdir(path.parent) == ["run.npz"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_folder_that_cannot_be_written_raises_os_error(path):
    user = os.geteuid()
    path.parent.chmod(0o500)
    try:
        if user == 0:  # whom permissions do not stop
            os.seteuid(65534)
        with pytest.raises(PermissionError):
            checkpoint.write(path, {"run": 2}, {})
    finally:
        os.seteuid(user)
        path.parent.chmod(0o700)
    assert os.listdir(path.parent) == ["run.npz"]
    assert content(*checkpoint.read(path)) == content(META, ARRAYS)


def test_folder_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint.write(tmp_path / "missing" / "run.npz", META, ARRAYS)


# --- damage -------------------------------------------------------------------------------------


def test_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        checkpoint.read(tmp_path / "run.npz")


def test_error_names_the_file_the_cause_and_prev_only_if_there_is_one(path):
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"run\.npz': it is empty.*no '\.prev'"):
        checkpoint.read(path)
    Path(f"{path}.prev").touch()
    with pytest.raises(CheckpointError, match=r"run\.npz': it is empty.*run\.npz\.prev"):
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


def npy(descr, shape, payload=b""):
    """Any .npy header, true or not, as NumPy writes it."""
    out = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + payload


def put_together(path, envelope, members, compression=zipfile.ZIP_STORED):
    text = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    members = {**members, "meta.npy": npy("|u1", (len(text),), text)}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def listing(dtype, shape, header_shape=None):
    """Change what the file says of ``x``, consistently in both places."""

    def edit(envelope, members):
        envelope["arrays"]["x"] = [dtype, shape]
        true_shape = tuple(shape) if header_shape is None else header_shape
        members["x.npy"] = npy(dtype, true_shape, members["x.npy"][128:])

    return edit


def member(name, data):
    def edit(envelope, members):
        members[name] = data

    return edit


def stamp(**changes):
    return lambda envelope, members: envelope.update(changes)


def upwards(envelope, members):
    envelope["arrays"]["../y"] = ["|u1", [0]]
    members["../y.npy"] = npy("|u1", (0,))


def text(change):
    return lambda envelope, members: change(json.dumps(envelope).encode())


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


MALICE = {
    "same bytes": (lambda envelope, members: None, None),
    "other dtype in header": (member("x.npy", npy("<i8", (3,), bytes(24))), "not the <f8 array"),
    "other dtype in list": (lambda e, m: e["arrays"].update(x=["<i8", [3]]), "not the <i8 array"),
    "object dtype": (listing("|O", [3]), "dtype"),
    "pickle": (member("x.npy", npy("|O", (3,), pickle.dumps(Evil()))), "not the <f8 array"),
    "void dtype": (listing("|V8", [3]), "dtype"),
    "dtype no string": (lambda e, m: e["arrays"].update(x=[["<f8"], [3]]), "damaged"),
    "byte order": (listing(">f8", [3]), "dtype"),
    "shape 1e12": (listing("<f8", [10**12]), "not the"),
    "shape beyond memory": (listing("<f8", [2**62, 2**62]), "not the"),
    "size wraps to 24": (listing("<f8", [2**61 * 8 + 3]), "shape"),
    "size wraps in product": (listing("<f8", [2**32, 2**32, 3]), "not the"),
    "negative twice": (listing("<f8", [-1, -3]), "shape"),
    "shape of floats": (listing("<f8", [3.0], (3.0,)), "shape"),
    "shape of booleans": (listing("<f8", [3, True]), "shape"),
    "shape no list": (lambda e, m: e["arrays"].update(x=["<f8", {}]), "shape"),
    "65 dimensions": (listing("<f8", [3] + [1] * 64), "shape"),
    "million dimensions": (lambda e, m: e["arrays"].update(x=["<f8", [2**62] * 10**5]), "shape"),
    "huge and empty": (listing("<f8", [0, 2**62, 2**62]), "not the"),
    "no pair": (lambda e, m: e["arrays"].update(x=["<f8"]), "damaged"),
    "too few data": (member("x.npy", npy("<f8", (3,), bytes(23))), "not the"),
    "too many data": (member("x.npy", npy("<f8", (3,), bytes(25))), "not the"),
    "header too long": (member("x.npy", b"\x93NUMPY\1\0\xff\xff" + bytes(142)), "not the"),
    "header 4 GiB": (member("x.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(140)), "not the"),
    "header with code": (member("x.npy", b"\x93NUMPY\1\0\x76\0" + b"exit()".ljust(142)), "not the"),
    "no header": (member("x.npy", b""), "not the"),
    "boolean of 2": (member("flag.npy", npy("|b1", (2,), b"\2\0")), "booleans"),
    "member missing": (lambda e, m: m.__delitem__("x.npy"), "members"),
    "member not listed": (member("y.npy", npy("<f8", (), bytes(8))), "members"),
    "listed only": (lambda e, m: e["arrays"].update(y=["<f8", []]), "members"),
    "other order": (lambda e, m: m.update({"x.npy": m.pop("x.npy")}), "members"),
    "no arrays listed": (stamp(arrays={}), "members"),
    "arrays no dict": (stamp(arrays=["x", "flag", "seed"]), "damaged"),
    "path upwards": (upwards, "members"),
    "another format": (stamp(format="safetensors"), "no blackbox_es checkpoint"),
    "no format": (lambda e, m: e.pop("format"), "no blackbox_es checkpoint"),
    "version from the future": (stamp(version=2, package="9.7", arrays=[]), "blackbox-es '9.7'"),
    "version zero": (stamp(version=0), "meta"),
    "version a word": (stamp(version="new"), "damaged"),
    "key too many": (stamp(comment=""), "meta"),
    "key missing": (lambda e, m: e.pop("numpy"), "meta"),
    "meta no dict": (stamp(meta=[["run", 1]]), "meta"),
    "meta NaN": (stamp(meta={"run": float("nan")}), "damaged"),
    "meta infinite": (text(lambda t: t.replace(b"0.1", b"1e999")), "damaged"),
    "key twice": (text(lambda t: t.replace(b'"run"', b'"run": 0, "run"')), "meta"),
    "nested JSON": (text(lambda t: b"[" * 10**6), "damaged"),
    "nested meta": (text(lambda t: t.replace(b"0.1", b"[" * 10**5 + b"]" * 10**5)), "damaged"),
    "number of a million digits": (text(lambda t: t.replace(b"0.1", b"1" * 10**6)), "damaged"),
    "JSON cut": (text(lambda t: t[:-1]), "damaged"),
    "JSON of one number": (text(lambda t: b"1"), "no blackbox_es checkpoint"),
    "JSON empty": (text(lambda t: b""), "damaged"),
    "not UTF-8": (text(lambda t: t.replace(b"run", b"\xff")), "damaged"),
    "meta too long": (text(lambda t: t + b" " * 2**22), "longer"),
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
    ("n", "cause"), [(1, "members"), (99, "overlap"), (2000, "no blackbox_es")]
)
def test_a_member_given_more_than_once_is_refused(path, n, cause):
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist.extend([archive.getinfo("x.npy")] * n)
        archive.comment = b""  # has the directory written again
    with pytest.raises(CheckpointError, match=cause):
        checkpoint.read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_second_member_of_the_same_name_is_refused(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", npy("<f8", (3,), bytes(24)))
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


plausible = st.one_of(
    json_values, st.sampled_from(sorted(checkpoint._DTYPES)), st.just([3]), st.just(["<f8", [3]])
)


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_change_of_the_listing_is_refused(folder, data):
    path = folder / "listing.npz"
    checkpoint.write(path, META, ARRAYS)
    envelope, members = taken_apart(path)
    before = json.dumps(envelope["arrays"])
    listed = envelope["arrays"]
    spots = [(envelope, "arrays"), (listed, "x"), (listed, "y"), (listed["x"], 0), (listed["x"], 1)]
    spot, key = data.draw(st.sampled_from(spots))
    spot[key] = data.draw(plausible)
    put_together(path, envelope, members)
    if json.dumps(envelope["arrays"]) == before:
        assert content(*checkpoint.read(path)) == content(META, ARRAYS)
    else:
        with pytest.raises(CheckpointError):
            checkpoint.read(path)
