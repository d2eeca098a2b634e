"""Read the arrays of an `.npz` archive: headers first, images in blocks, and nothing ever unpickled.

NumPy reads an array whole; a set of 224 px images may be larger than the memory. Here a block at a time
comes out of the archive, and the archive's own check sums are verified on the way.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from pepr.errors import InputError

BLOCK_BYTES = 2**25
"""Pixels that are held at a time while an archive is read."""


def headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every array, read from the headers alone.

    Raises InputError for what is not a sound archive, or holds pickled objects.
    """
    with _unsound(path), zipfile.ZipFile(path) as archive:
        found = {}
        for file in archive.namelist():
            name = file.removesuffix(".npy")
            with archive.open(file) as stream:
                shape, _, kind = _header(stream, name)
            found[name] = (shape, kind)
        return found


def array(path: Path, name: str) -> np.ndarray:
    """One array, whole: for labels, which are small."""
    with _unsound(path), np.load(path, allow_pickle=False) as archive:
        return archive[name]


def blocks(path: Path, name: str) -> Iterator[np.ndarray]:
    """An array along its first axis in blocks of about `BLOCK_BYTES`, in order."""
    with _unsound(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        shape, fortran_order, kind = _header(stream, name)
        if fortran_order and len(shape) > 1:
            raise ValueError(f"{name} is stored by columns; save it again after np.ascontiguousarray")
        item = int(np.prod(shape[1:])) * kind.itemsize
        step = max(BLOCK_BYTES // max(item, 1), 1)
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            raw = stream.read(count * item)
            if len(raw) < count * item:
                raise ValueError(f"{name} ends after {start + len(raw) // item} of {shape[0]} items")
            yield np.frombuffer(raw, dtype=kind).reshape(count, *shape[1:])
        if stream.read(1):
            raise ValueError(f"{name} is longer than its header says")


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"{name}: array format {version} is not known")
    shape, fortran_order, kind = readers[version](stream)
    if kind.hasobject:
        raise ValueError(f"{name} holds pickled Python objects, which are never read")
    return shape, fortran_order, kind


@contextmanager
def _unsound(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a sound .npz file: {error}") from error
