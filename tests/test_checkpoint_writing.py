"""Checkpoints are replaced in one step: old or new, whatever happens, and nothing is left over."""

import errno
import gc
import io
import itertools
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from problems import bits

from blackbox_es import checkpoint
from blackbox_es.checkpoint import CheckpointError

posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes, locks, modes and limits")
META = {"run": 1, "sigma": 0.1}
ARRAYS = {"x": np.arange(3.0), "flag": np.array([True, False]), "seed": np.array(7)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.write(path, META, ARRAYS)
    return path


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
def test_interrupted_at_any_line_leaves_old_or_new(path, request):
    """Ctrl-C raises between any two lines, in cleaning up too."""
    gc.disable()  # Python 3.11 cannot parse a header while it warns of a file that is not closed
    request.addfinalizer(gc.enable)
    for k in itertools.count():
        checkpoint.write(path, {"run": 1}, {})
        lines = itertools.count()

        def interrupt(frame, event, _, lines=lines, k=k):
            if event == "line" and next(lines) == k:
                raise KeyboardInterrupt
            ours = frame.f_code.co_filename in (checkpoint.__file__, zipfile.__file__)
            return interrupt if ours else None

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            checkpoint.write(path, {"run": 2}, {})
            break
        except KeyboardInterrupt:
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
    assert bits(checkpoint.read(path)) == bits((META, ARRAYS))


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
    assert bits(checkpoint.read(path)) == bits((META, ARRAYS))


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
    assert bits(checkpoint.read(path)) == bits((META, ARRAYS))


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
    for permissions in (0o600, 0o444, 0o664):
        path.chmod(permissions)
        checkpoint.write(path, META, ARRAYS)
        assert mode(path) == mode(f"{path}.prev") == oct(permissions)


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
