"""Named arrays and a JSON dictionary in one file: atomically written, suspiciously read.

No code runs on load: there is no pickle here, in either direction. After a crash at any point of
`write`, ``path`` is either the old or the new checkpoint; the one before it stays as ``path.prev``.
A file that is damaged, hostile or too new gives `CheckpointError`, and `read` never falls back by
itself. (A process killed while writing may leave a ``path.*.tmp`` behind: delete it.)

The file is an ordinary ``.npz``, which `numpy.load` opens too. Its first member, ``meta``, lists
dtype and shape of the others, which fixes their names, sizes and ``.npy`` headers to the byte: so
`read` compares headers instead of parsing them, and allocates nothing that the file does not hold.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import re
import secrets
import shutil
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CheckpointError", "read", "write"]

StrPath: TypeAlias = str | os.PathLike[str]

FORMAT = "blackbox_es checkpoint"
VERSION = 1  # of the layout: +1 when code of the version before could misread the file
_DTYPES = {"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"}
_KEYS = ["format", "version", "package", "numpy", "meta", "arrays"]
_NAME = re.compile(r"(?!meta$|.{101})\w+([./-]\w+)*", re.ASCII)  # harmless even when unzipped
_MAX_MEMBERS = 1024  # a state has tens of arrays
_MAX_META = 1 << 22  # bytes: parsed JSON takes some 20 times its length in memory
_MAX_NDIM = 64  # of NumPy


class CheckpointError(ValueError):
    """The file is no checkpoint that this version can read: which file, why and what to do."""


def write(path: StrPath, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replace the checkpoint at ``path`` in one step, keeping the old one as ``path.prev``.

    Parameters
    ----------
    path : path-like
        The folder must exist and have room for one more checkpoint.
    meta : mapping of str to JSON values
        Must come back from JSON as it went in: no NaN, tuples, arrays. At most 4 MiB.
    arrays : mapping of str to ndarray
        Boolean, integer, float32 or float64, all bits kept. NumPy scalars come back as 0-d arrays.

    Raises
    ------
    TypeError, ValueError
        A key or value that cannot be stored, by name, before anything is written.
    OSError
        Disk full, folder not writable: the old checkpoint is intact, the partial file removed.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from blackbox_es import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.npz")
    ...     checkpoint.write(path, {"generation": 3}, {"x": np.zeros(2)})
    ...     checkpoint.read(path)
    ({'generation': 3}, {'x': array([0., 0.])})
    """
    path = Path(path)
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    envelope = {
        "format": FORMAT,
        "version": VERSION,
        "package": _package_version(),
        "numpy": np.__version__,
        "meta": {key: _plain(key, value) for key, value in meta.items()},
        "arrays": {name: (array.dtype.str, array.shape) for name, array in stored.items()},
    }
    text = json.dumps(envelope).encode("utf-8")
    if len(stored) >= _MAX_MEMBERS or len(text) > _MAX_META:
        raise ValueError(
            f"{len(stored)} arrays (at most {_MAX_MEMBERS - 1}) and {len(text)} bytes of meta "
            f"(at most {_MAX_META}): stack small arrays, move long lists from meta to arrays"
        )
    with _replacing(path) as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in {"meta": np.frombuffer(text, np.uint8), **stored}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    member.write(_npy_header(array.dtype.str, array.shape))
                    member.write(array.reshape(-1).view(np.uint8).data)
        _keep_previous(path)


def read(path: StrPath) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the ``meta`` and ``arrays`` that `write` was given, or raise.

    Parameters
    ----------
    path : path-like
        It need not be trusted: time and memory stay in proportion to the size of the file.

    Returns
    -------
    meta : dict
    arrays : dict of str to ndarray
        Writable, in native byte order.

    Raises
    ------
    CheckpointError
        The file is damaged, something else, or too new. Names ``path.prev`` where there is one.
    OSError
        The file is missing (FileNotFoundError) or cannot be opened.

    See `write` for an example.
    """
    with open(path, "rb") as file:
        try:
            return _parse(file)
        # Hostile bytes get a dozen types out of zipfile, json and numpy, MemoryError among them.
        except Exception as error:
            known = isinstance(error, CheckpointError)
            cause = str(error) if known else f"it is damaged ({repr(error)[:200]})"
            prev = f"{os.fspath(path)}.prev"
            cure = f"go back to {prev!r}" if os.path.exists(prev) else "no '.prev' to go back to"
            raise CheckpointError(f"cannot read {os.fspath(path)!r}: {cause}; {cure}") from error


def _parse(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if not zipfile.is_zipfile(file):
        raise CheckpointError("it is empty, cut short or no checkpoint")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.orig_filename for member in members]
        if len(names) > _MAX_MEMBERS or names[:1] != ["meta.npy"]:
            raise CheckpointError(f"it is no {FORMAT}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError("a member is compressed, which `write` never does")
        if sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size:
            raise CheckpointError("its members overlap or end beyond the end of the file")
        envelope = _read_envelope(archive, members[0])
        listed = envelope["arrays"]
        if names[1:] != [f"{name}.npy" for name in listed if _NAME.fullmatch(name)]:
            raise CheckpointError("its members are not those it lists, each once and in order")
        arrays = {
            name: _read_array(archive, member, dtype, shape)
            for member, (name, (dtype, shape)) in zip(members[1:], listed.items(), strict=True)
        }
        return envelope["meta"], arrays


def _read_envelope(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any]:
    length = member.file_size - len(_npy_header("|u1", (0,)))
    if length > _MAX_META:
        raise CheckpointError(f"its meta is longer than {_MAX_META} bytes")
    text = _read_array(archive, member, "|u1", [length]).tobytes()
    envelope = json.loads(text.decode("utf-8"))
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
        raise CheckpointError(f"it is no {FORMAT}")
    if envelope["version"] > VERSION:  # before all else, which a later layout may change
        raise CheckpointError(
            f"its layout is newer than this blackbox-es ({_package_version()}) knows: install "
            f"blackbox-es {str(envelope['package'])[:20]!a} or later"
        )
    complete = list(envelope) == _KEYS and envelope["version"] == VERSION
    # NaN, 1e999 or a key given twice do not survive being spelled again.
    same = json.dumps(envelope, allow_nan=False).encode("utf-8") == text
    if not (complete and same and isinstance(envelope["meta"], dict)):
        raise CheckpointError("its meta is not as `write` writes it")
    return envelope


def _read_array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, dtype: str, shape: list[int]
) -> NDArray[Any]:
    name = repr(member.orig_filename)[:120]
    lengths = [n for n in shape if type(n) is int and 0 <= n <= sys.maxsize]
    if dtype not in _DTYPES or len(shape) > _MAX_NDIM or lengths != shape:
        raise CheckpointError(f"it lists {name} with an impossible dtype or shape")
    header = _npy_header(dtype, tuple(shape))
    size = len(header) + math.prod(shape) * np.dtype(dtype).itemsize
    data = archive.read(member) if member.file_size == size else b""  # checks the CRC
    if not data.startswith(header):
        raise CheckpointError(f"{name} is not the {dtype} array {shape} that it lists")
    array = np.ndarray(shape, dtype, data, offset=len(header))
    if dtype == "|b1" and np.any(array.view(np.uint8) > 1):
        raise CheckpointError(f"{name} has booleans other than 0 and 1")
    return array.astype(array.dtype.newbyteorder("="))


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Version 1.0 of the format, spelled out here so that no NumPy release changes a byte."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"  # the data start at a multiple of 64
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode("ascii")


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"arrays: {name!r} is no name: use at most 100 ASCII letters, digits and _, in parts "
            "joined by one '.', '/' or '-', and not 'meta'"
        )
    if not isinstance(array, np.ndarray | np.generic) or np.ma.isMaskedArray(array):
        raise TypeError(f"arrays[{name!r}] must be a numpy array, not {type(array).__name__}")
    dtype = array.dtype.str.replace(">", "<")
    if dtype not in _DTYPES:
        raise TypeError(
            f"arrays[{name!r}]: cannot store {array.dtype}, only bool, integer, float32, float64"
        )
    return np.asarray(array, dtype=dtype, order="C")


def _plain(key: str, value: Any) -> Any:
    if not isinstance(key, str):
        raise TypeError(f"meta: keys must be str, not {key!r}")
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
        raise TypeError("it would come back changed, as do tuples and keys that are not str")
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"meta[{key!r}] does not fit into JSON: {error}") from error


def _package_version() -> str:
    try:
        return importlib.metadata.version("blackbox-es")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"


def _beside(path: Path) -> Path:
    """Return a new name that no other process guesses, on the same file system."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of ``path`` in one step, once all of it is on disk."""
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name on a file of zeros
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Windows cannot open folders; old or new holds anyway
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep_previous(path: Path) -> None:
    """Give the old checkpoint the name ``.prev`` as well; ``path`` exists all the time."""
    if not path.exists():  # this is the first checkpoint
        return
    previous, second_name = path.with_name(f"{path.name}.prev"), _beside(path)
    try:
        os.link(path, second_name)
        os.replace(second_name, previous)
    except OSError:  # a file system without hard links
        with open(path, "rb") as old, _replacing(previous) as new:
            shutil.copyfileobj(old, new)
    finally:  # if both were names of one file already, the renaming did nothing and left both
        second_name.unlink(missing_ok=True)
