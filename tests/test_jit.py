"""The compiler decorator: a disk cache in trouble costs one warning and a compilation."""

import contextlib
import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings

import pytest

from blackbox_es import _jit, noise

pytestmark = pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")

SOURCE = "from blackbox_es._jit import jit\n\n\n@jit()\ndef kernel(x):\n    return x + 41\n"


def fresh(path):
    """The kernel as a new process finds it: decorated, not compiled yet."""
    _jit._warned = False
    spec = importlib.util.spec_from_file_location("kernels", path)
    module = importlib.util.module_from_spec(spec)
    exec(compile(path.read_text(), path, "exec"), module.__dict__)  # past Python's own cache
    return module.kernel


def called(kernel, x=1):
    """The result of a call, and the warnings that it gave."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = kernel(x)
    return result, [(warning.category, str(warning.message)) for warning in seen]


def hits(kernel):
    """How often the compiled kernel was found on disk."""
    return sum(kernel.stats.cache_hits.values())


def warned_once(seen, folder):
    """One warning, which names the folder and the cure."""
    [(category, message)] = seen
    return category is RuntimeWarning and str(folder) in message and "NUMBA_CACHE_DIR" in message


@pytest.fixture(scope="module")
def caching():
    """Numba's module of that name, told to keep caches beside the source."""
    numba = pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "CACHE_DIR", "")
        patch.setattr(_jit, "_warned", False)
        yield numba.core.caching


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, caching):
    """A kernel with its cache, to be copied."""
    path = tmp_path_factory.mktemp("compiled") / "kernels.py"
    path.write_text(SOURCE)
    assert called(fresh(path)) == (42, [])
    return path.parent


@pytest.fixture
def path(tmp_path, compiled):
    """A kernel with its cache, to be damaged."""
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    return tmp_path / "kernels.py"


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_sound_cache_is_used(path):
    """Compiled once, found by every later process, without a warning."""
    for _ in range(2):
        kernel = fresh(path)
        assert called(kernel) == (42, [])
        assert hits(kernel) == 1


def cut(file):
    file.write_bytes(file.read_bytes()[:-30])


def overwrite(file):
    file.write_bytes(b"\x80garbage" * 20)


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, overwrite, empty])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_file_is_compiled_anew(path, kind, damage):
    """It costs one process a warning; the next finds the cache in order."""
    [file] = path.parent.glob(f"__pycache__/*.{kind}")
    damage(file)
    result, seen = called(fresh(path))
    assert result == 42
    assert warned_once(seen, file.parent)
    kernel = fresh(path)
    assert called(kernel) == (42, [])
    assert hits(kernel) == 1


def test_every_damaged_byte_of_compiled_code_is_noticed(path):
    """LLVM may end the process if it is given damaged code: it is not."""
    [file] = path.parent.glob("__pycache__/*.nbc")
    load, whole = fresh(path)._cache._cache_file._load_data, file.read_bytes()
    for n in range(0, len(whole), 97):
        file.write_bytes(whole[:n] + bytes([whole[n] ^ 16]) + whole[n + 1 :])
        with pytest.raises(ValueError, match="is damaged"):
            load(file.name)


@contextlib.contextmanager
def vanished(folder):
    """The folder is gone, and in its place is what cannot be one."""
    shutil.rmtree(folder)
    folder.touch()
    yield


@contextlib.contextmanager
def blocked(folder):
    """The index can be neither read nor replaced."""
    [index] = folder.glob("*.nbi")
    index.unlink()
    index.mkdir()
    yield


@contextlib.contextmanager
def forbidden(folder):
    """The folder is another user's."""
    user = os.geteuid()
    folder.chmod(0)
    try:
        if user == 0:  # whom permissions do not stop
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
@pytest.mark.parametrize("trouble", [vanished, blocked, forbidden])
def test_a_folder_in_trouble_is_done_without(path, trouble):
    """Trouble that comes between decoration and call, and stays: each process compiles."""
    folder = path.parent / "__pycache__"
    kernels = [fresh(path), fresh(path)]
    with trouble(folder):
        for kernel in kernels:
            _jit._warned = False
            result, seen = called(kernel)
            assert result == 42
            assert warned_once(seen, folder)


def test_a_folder_that_was_deleted_is_made_again(path):
    """Which is the cure that the warning names."""
    kernel = fresh(path)
    shutil.rmtree(path.parent / "__pycache__")
    assert called(kernel) == (42, [])
    assert called(fresh(path)) == (42, [])


@pytest.mark.parametrize("step", ["_save_index", "_save_data"])
def test_a_full_disk_costs_one_warning_for_all_kernels(path, monkeypatch, caching, step):
    """Whatever is compiled after the first warning is compiled in silence."""
    shutil.rmtree(path.parent / "__pycache__")
    with monkeypatch.context() as patch:
        patch.setattr(caching.IndexDataCacheFile, step, full)
        kernel = fresh(path)
        result, seen = called(kernel)
        assert result == 42
        assert warned_once(seen, path.parent)
        assert called(kernel, 1.5) == (42.5, [])
    assert called(fresh(path)) == (42, [])


def test_a_full_disk_does_not_bring_older_code_back(path, monkeypatch, caching):
    """Numba writes the index of edited code first: what it lists then is the code before."""
    path.write_text(SOURCE.replace("41", "99"))
    with monkeypatch.context() as patch:
        patch.setattr(caching.IndexDataCacheFile, "_save_data", full)
        assert called(fresh(path))[0] == 100
    assert called(fresh(path)) == (100, [])


def test_where_nothing_can_be_written_kernels_are_compiled():
    """Without a place for a cache the decorator says so, and works."""
    pytest.importorskip("numba")
    _jit._warned = False
    space = {}
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        exec(compile(SOURCE, "<nowhere>", "exec"), space)
    assert called(space["kernel"]) == (42, [])


def test_the_switch_leaves_numba_out():
    """With BLACKBOX_ES_DISABLE_NUMBA=1 kernels are plain Python, with the same bits of noise."""
    script = (
        "import sys, numpy as np, blackbox_es; from blackbox_es import VanillaES, noise;"
        "es = VanillaES(max_iter=2, random_state=0).fit(lambda x: x @ x, np.ones(3));"
        "print('numba' in sys.modules, noise.normals((3, 1), (0, 2), (0, 70)).tobytes().hex())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "BLACKBOX_ES_DISABLE_NUMBA": "1"}
    out = subprocess.check_output([sys.executable, "-c", script], env=env, text=True)
    assert out.split() == ["False", noise.normals((3, 1), (0, 2), (0, 70)).tobytes().hex()]


def test_another_numba_has_a_cache_as_good_as_its_own(monkeypatch):
    """The guard needs private names; without them there is none."""
    numba = pytest.importorskip("numba")
    for cache in (None, object(), numba.core.caching.NullCache()):

        def dispatcher(x, cache=cache):
            return x + 41

        if cache is not None:
            dispatcher._cache = cache
        monkeypatch.setattr(numba, "njit", lambda **_: lambda function, made=dispatcher: made)
        assert called(_jit.jit()(dispatcher)) == (42, [])


def test_mistakes_of_the_code_are_not_faults_of_the_cache():
    """What fails without the cache as well is raised."""
    pytest.importorskip("numba")
    with pytest.raises(TypeError, match="not a function"):
        _jit.jit()(3)
