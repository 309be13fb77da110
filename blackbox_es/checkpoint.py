"""Named arrays and a JSON dictionary in one file, written atomically and not trusted when read.

No code runs on load: there is no pickle here, in either direction. After a crash at any point of
`write`, ``path`` is either the old or the new checkpoint; the one before it stays as ``path.prev``.
A file that is damaged, hostile or too new gives `CheckpointError`, and `read` never falls back by
itself.

The file is an ordinary ``.npz``, which `numpy.load` opens too. Its first member, ``meta``, is JSON
as uint8: what the file is, its layout, the names of the arrays, and the caller's dictionary.
"""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import re
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["CheckpointError", "read", "write"]

StrPath: TypeAlias = str | os.PathLike[str]

FORMAT = "blackbox_es checkpoint"
VERSION = 1  # of the layout: +1 when code of the version before could misread the file
_DTYPES = {"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"}
_NAME = re.compile(r"(?!meta$|.{101})\w+([./-]\w+)*", re.ASCII)  # harmless even when unzipped
_MAX_MEMBERS = 1024  # a state has tens of arrays
_MAX_META = 1 << 22  # bytes: parsed JSON takes some 20 times its length in memory
_MAX_HEADER = 2048  # bytes, which 64 dimensions fit into: NumPy parses headers as Python literals


class CheckpointError(ValueError):
    """The file is no checkpoint that this version can read: which file, why and what to do."""


def write(path: StrPath, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replace the checkpoint at ``path`` in one step, keeping the old one as ``path.prev``.

    A symbolic link stays one: the file it points to is replaced. Permissions stay as they are.

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
        What cannot be stored, or a ``path`` that is a folder, pipe or device. Nothing is written.
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
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    text = _envelope(meta, list(stored))
    with _replacing(Path(os.path.realpath(path))) as file:
        _write_archive(file, {"meta": np.frombuffer(text, np.uint8), **stored})


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
            prev = f"{os.path.realpath(path)}.prev"
            cure = f"go back to {prev!r}" if os.path.exists(prev) else "no '.prev' to go back to"
            raise CheckpointError(f"cannot read {os.fspath(path)!r}: {cause}; {cure}") from error


def _parse(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.orig_filename.removesuffix(".npy") for member in members]
        if names[:1] != ["meta"] or members[0].file_size > _MAX_META + _MAX_HEADER:
            raise CheckpointError(f"it is no {FORMAT}")
        envelope = _parse_envelope(_read_array(archive, members[0]).tobytes())
        if sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size:
            raise CheckpointError("its members overlap or end beyond the end of the file")
        harmless = len(names) <= _MAX_MEMBERS and all(map(_NAME.fullmatch, names[1:]))
        if not harmless or len(set(names)) < len(names) or names[1:] != envelope["arrays"]:
            raise CheckpointError("its members are not those it lists, each once and in order")
        arrays = [_read_array(archive, member) for member in members[1:]]
        return envelope["meta"], dict(zip(names[1:], arrays, strict=True))


def _parse_envelope(text: bytes) -> dict[str, Any]:
    envelope = json.loads(text.decode("utf-8"), parse_constant=int)  # int refuses NaN
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
        raise CheckpointError(f"it is no {FORMAT}")
    version = envelope["version"]
    if version > VERSION:  # before all else, which a later layout may change
        raise CheckpointError(
            f"its layout is version {str(version)[:20]}, and this blackbox-es knows {VERSION}: "
            "install a newer blackbox-es"
        )
    if version != VERSION or not isinstance(envelope["meta"], dict):
        raise CheckpointError("its meta is not as `write` writes it")
    return envelope


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    name = repr(member.orig_filename)[:120]
    if member.compress_type != zipfile.ZIP_STORED:
        raise CheckpointError(f"{name} is compressed, which `write` never does")
    with archive.open(member) as file:
        if npy.read_magic(file) != (1, 0):  # the version with headers of less than 64 KiB
            raise CheckpointError(f"{name} has an unknown header")
        shape, fortran_order, dtype = npy.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
        size = file.tell() + math.prod(shape) * dtype.itemsize
    if dtype.str not in _DTYPES or fortran_order or any(length < 0 for length in shape):
        raise CheckpointError(f"{name} has an impossible dtype or shape")
    if size != member.file_size:
        raise CheckpointError(f"{name} is not as long as its header says")
    with archive.open(member) as file:  # NumPy allocates what was checked; zipfile checks the CRC
        array = npy.read_array(file, allow_pickle=False, max_header_size=_MAX_HEADER)
    if dtype.kind == "b" and np.any(array.view(np.uint8) > 1):
        raise CheckpointError(f"{name} has booleans other than 0 and 1")  # NumPy adds up masks
    return array.astype(dtype.newbyteorder("="), copy=False)


def _write_archive(file: IO[bytes], members: dict[str, NDArray[Any]]) -> None:
    archive = None
    try:
        archive = zipfile.ZipFile(file, "w")
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy")  # of no date: equal states, equal bytes
            with archive.open(info, "w", force_zip64=True) as member:
                npy.write_array(member, array, version=(1, 0), allow_pickle=False)
        archive.close()
    except BaseException:
        if archive is not None:
            archive.fp = None  # it would be finished on the way out, and complain in place of this
        raise


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"arrays: {name!r} is no name: use at most 100 ASCII letters, digits and _, in parts "
            "joined by one '.', '/' or '-', and not 'meta'"
        )
    plain = isinstance(array, np.ndarray | np.generic) and not np.ma.isMaskedArray(array)
    dtype = array.dtype.str.replace(">", "<") if plain else type(array).__name__
    if dtype not in _DTYPES:
        raise TypeError(
            f"arrays[{name!r}] must be an array of bool, integer, float32 or float64, not {dtype}"
        )
    return np.asarray(array, dtype=dtype, order="C")


def _envelope(meta: Mapping[str, Any], names: list[str]) -> bytes:
    envelope = {"format": FORMAT, "version": VERSION, "arrays": names, "meta": dict(meta)}
    try:
        text = json.dumps(envelope, allow_nan=False).encode("utf-8")
        if json.loads(text) != envelope:
            raise TypeError("it would come back changed, as do tuples and keys that are not str")
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"meta does not fit into JSON: {error}") from error
    if len(names) >= _MAX_MEMBERS or len(text) > _MAX_META:
        raise ValueError(
            f"{len(names)} arrays (at most {_MAX_MEMBERS - 1}) and {len(text)} bytes of meta "
            f"(at most {_MAX_META}): stack small arrays, move long lists from meta to arrays"
        )
    return text


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of ``path`` in one step, once all of it is on disk."""
    old = path.stat().st_mode if path.exists() else None
    if old and not stat.S_ISREG(old):
        raise ValueError(
            f"path: {str(path)!r} is a folder, pipe or device: give the name of a file"
        )
    _clear_leftovers(path)  # first, because their room may be needed
    file = _locked_beside(path)
    try:
        with file:
            if old:
                os.chmod(file.name, old & 0o777)  # before there is anything to read
            yield file
            _sync(file)  # else a power cut may leave the new name on a file of zeros
            if old:
                _keep_previous(path, f"{file.name}.prev")
            if os.name == "nt":
                file.close()  # what is open cannot be renamed; elsewhere it keeps the lock
            os.replace(file.name, path)
    finally:
        _remove(file.name)
    with contextlib.suppress(OSError):  # Windows cannot open folders; old or new holds anyway
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep_previous(path: Path, second_name: str) -> None:
    """Give the old checkpoint the name ``.prev`` as well; ``path`` exists all the time."""
    try:
        os.link(path, second_name)
    except OSError:  # a file system without hard links
        with open(path, "rb") as old, open(second_name, "xb") as new:
            shutil.copymode(path, second_name)
            shutil.copyfileobj(old, new)
            _sync(new)
    os.replace(second_name, f"{path}.prev")
    Path(second_name).unlink(missing_ok=True)  # it stays if both were names of one file already


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _locked_beside(path: Path) -> IO[bytes]:
    """Open a new file beside ``path`` that `_clear_leftovers` leaves alone while it is open.

    A lock ends with its process, however that ends. The age of a file or the number of a process
    would say less: a save may be stopped and go on, and folders are shared between machines.
    """
    while True:
        file = open(f"{path}.{secrets.token_hex(8)}.tmp", "xb")  # noqa: SIM115
        with contextlib.suppress(AttributeError, OSError):  # no locks here: nobody clears either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):  # else it was taken for a leftover before it was locked
            return file
        file.close()


def _clear_leftovers(path: Path) -> None:
    """Remove what processes that were killed while writing to ``path`` left."""
    for name in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(AttributeError, OSError), open(name, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _remove(file.name)


def _remove(temporary: str) -> None:
    for name in (f"{temporary}.prev", temporary):  # the locked one last
        Path(name).unlink(missing_ok=True)
