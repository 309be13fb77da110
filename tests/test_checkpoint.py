import copy
import errno
import gc
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blackbox_es import checkpoint
from blackbox_es.checkpoint import CheckpointError

posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes, locks, modes and limits")
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


# --- old or new, never nothing ------------------------------------------------------------------

# In a child per step, dies at the k-th call that touches the disk; writes go out in torn pieces.
KILLED = """
import fcntl, io, itertools, os, sys
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
for name in ("chmod", "open", "fsync", "close", "link", "replace", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
fcntl.flock = counted(fcntl.flock)
folder, base = os.path.split(path)

for k in itertools.count():
    for name in (path, path + ".prev"):
        if os.path.exists(name):
            os.unlink(name)
    for run in range(0 if way == "first" else 2):
        write(run)
    if way == "same":  # which a kill between the two renamings leaves
        os.unlink(path + ".prev")
        os.link(path, path + ".prev")
    for name in (".0123456789abcdef.tmp", ".0123456789abcdef.tmp.prev"):
        open(path + name, "wb").close()  # left by an earlier one
    child = os.fork()
    if child == 0:
        budget = k
        write(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, run_at(path), run_at(path + ".prev"))
    write(3)
    assert {base} <= set(os.listdir(folder)) <= {base, base + ".prev"}
    if code == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("way", "prev", "old"), [("first", -1, -1), ("link", 0, 1), ("copy", 0, 1), ("same", 1, 1)]
)
def test_killed_anywhere_leaves_old_or_new_and_nothing_after_the_next_save(
    tmp_path, way, prev, old
):
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
    assert calls == ["fsync", "link", "replace", "replace", *folder_sync]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files not closed
def test_interrupted_at_any_line_leaves_old_or_new(path):
    """Ctrl-C raises between any two lines, in cleaning up too."""
    for k in itertools.count():
        checkpoint.write(path, {"run": 1}, {})
        lines = itertools.count()

        def interrupt(frame, event, _, lines=lines, k=k):
            if event == "line" and next(lines) == k:
                raise KeyboardInterrupt
            return interrupt if frame.f_code.co_filename == checkpoint.__file__ else None

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            checkpoint.write(path, {"run": 2}, {})
            break
        except (KeyboardInterrupt, ValueError):  # zipfile may answer with an error of its own
            assert checkpoint.read(path)[0]["run"] in (1, 2)
        finally:
            sys.settrace(before)
    gc.collect()
    assert k > 50
    assert sorted(os.listdir(path.parent)) == ["run.npz", "run.npz.prev"]


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


@posix
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


@posix
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


# --- what is replaced ---------------------------------------------------------------------------


@pytest.fixture
def link(tmp_path):
    """A relative link in one folder to a checkpoint in another."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    link = tmp_path / "here" / "link.npz"
    link.symlink_to(Path("..", "there", "run.npz"))
    return link


def test_a_link_stays_a_link_and_its_target_is_replaced(link):
    target = link.resolve()
    for run in (1, 2):  # the first time there is no target
        checkpoint.write(link, {"run": run}, {})
        assert link.is_symlink()
        assert not target.is_symlink()
        assert checkpoint.read(link)[0] == checkpoint.read(target)[0] == {"run": run}
    assert os.listdir(link.parent) == ["link.npz"]
    assert sorted(os.listdir(target.parent)) == ["run.npz", "run.npz.prev"]


def test_the_error_for_a_link_names_the_prev_of_its_target(link):
    for _ in range(2):
        checkpoint.write(link, {}, {})
    link.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"link\.npz': .*there.run\.npz\.prev'"):
        checkpoint.read(link)


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


def mode(path):
    return oct(os.stat(path).st_mode & 0o7777)


def no_link(*_):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@posix
@pytest.mark.parametrize("way", ["link", "copy"])
def test_permissions_stay_and_a_new_file_has_the_usual_ones(tmp_path, umask, monkeypatch, way):
    if way == "copy":
        monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "run.npz"
    checkpoint.write(path, META, ARRAYS)
    assert mode(path) == oct(0o640)
    for bits in (0o600, 0o444, 0o664):
        path.chmod(bits)
        checkpoint.write(path, META, ARRAYS)
        assert mode(path) == mode(f"{path}.prev") == oct(bits)


@posix
def test_a_private_checkpoint_is_private_while_it_is_written(path, monkeypatch):
    path.chmod(0o600)
    seen, write_array = set(), checkpoint.npy.write_array

    def spied(*args, **options):
        seen.update(map(mode, path.parent.glob("*.tmp")))
        write_array(*args, **options)

    monkeypatch.setattr(checkpoint.npy, "write_array", spied)
    checkpoint.write(path, META, ARRAYS)
    assert seen == {oct(0o600)}


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / "run.npz")
    (tmp_path / "link.npz").symlink_to("run.npz")
    for name in ("run.npz", "link.npz"):
        with pytest.raises(ValueError, match=r"path: '.*run\.npz' is a folder, pipe or device"):
            checkpoint.write(tmp_path / name, META, ARRAYS)
    assert sorted(os.listdir(tmp_path)) == ["link.npz", "run.npz"]
    assert not (tmp_path / "run.npz").is_file()


# --- several saves at a time --------------------------------------------------------------------

STALE = "run.npz.0123456789abcdef.tmp"


@posix
def test_leftovers_of_this_very_path_are_cleared(path):
    others = [
        "run.npz.tmp",
        "run.npz.mine.tmp",
        f"{STALE}.mine",
        "run.npz.x.0123456789abcdef.tmp",
        "run2.npz.0123456789abcdef.tmp",
    ]
    for name in (STALE, f"{STALE}.prev", *others):
        (path.parent / name).touch()
    checkpoint.write(path, META, ARRAYS)
    assert sorted(os.listdir(path.parent)) == sorted(["run.npz", "run.npz.prev", *others])


@posix
def test_leftovers_of_a_name_with_wildcards_are_cleared(tmp_path):
    (tmp_path / STALE.replace("run", "[ab]*")).touch()
    checkpoint.write(tmp_path / "[ab]*.npz", META, ARRAYS)
    assert os.listdir(tmp_path) == ["[ab]*.npz"]


def interfering(monkeypatch, owner, name, path, n_calls=1):
    """Have another save of ``path`` happen right before one of the calls of a function."""
    call, calls = getattr(owner, name), itertools.count(1)

    def wrapper(*args, **options):
        if next(calls) == n_calls:
            monkeypatch.setattr(owner, name, call)
            checkpoint.write(path, {"run": "other"}, {})
        return call(*args, **options)

    monkeypatch.setattr(owner, name, wrapper)


@pytest.mark.parametrize(
    ("moment", "n_calls"),
    [("chmod", 1), ("flock", 1), ("write_array", 1), ("write_array", 3), ("fsync", 1), ("link", 1),
     ("replace", 1), ("replace", 2), ("fsync", 2)],
)  # fmt: skip
def test_a_save_is_not_disturbed_by_another(path, monkeypatch, moment, n_calls):
    if moment == "flock":  # when the new file is not locked yet
        owner = pytest.importorskip("fcntl")
    else:
        owner = checkpoint.npy if moment == "write_array" else os
    interfering(monkeypatch, owner, moment, path, n_calls)
    checkpoint.write(path, META, ARRAYS)
    found = [checkpoint.read(name)[0] for name in (path, f"{path}.prev")]
    last = {"run": "other"} if (moment, n_calls) == ("fsync", 2) else META  # of the folder
    assert found[0] == last
    assert found[1] in (META, {"run": "other"})
    assert sorted(os.listdir(path.parent)) == ["run.npz", "run.npz.prev"]


def test_threads_may_save_and_read_at_once(path):
    def work(run):
        for _ in range(5):
            checkpoint.write(path, {"run": run}, {"x": np.full(1000, run)})
            meta, arrays = checkpoint.read(path)
            assert meta["run"] == 1 or (arrays["x"] == meta["run"]).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert sorted(os.listdir(path.parent)) == ["run.npz", "run.npz.prev"]


@posix
@pytest.mark.parametrize("lack", ["of the module", "of the file system"])
def test_without_locks_nothing_is_cleared(path, monkeypatch, lack):
    def no_lock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if lack == "of the module":
        monkeypatch.setattr(checkpoint, "fcntl", None)
    else:
        monkeypatch.setattr(checkpoint.fcntl, "flock", no_lock)
    (path.parent / STALE).touch()
    checkpoint.write(path, {"run": 2}, {})
    assert sorted(os.listdir(path.parent)) == ["run.npz", STALE, "run.npz.prev"]
    assert checkpoint.read(path)[0] == {"run": 2}


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
