"""A file whole or not at all, checksums, and where results, cache and checkout are."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pepr.errors import InputError

if TYPE_CHECKING:
    pass


import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    pass  # half of what the process around a run would load, which makes no table


def find_checkout(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds the book's sources. Raises InputError outside a checkout."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").exists() and (folder / "book").is_dir():
            return folder
    raise InputError(f"{here}: no checkout of the study here or above; the book is built from one")


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose file appears whole or not at all: temporary file in the same folder, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def results_root() -> Path:
    """Where this machine's results live.

    `$PEPR_RESULTS`, else `results/` of the nearest folder upwards that is a checkout of this project,
    else `results/` in the working directory.
    """
    if os.environ.get("PEPR_RESULTS"):
        return Path(os.environ["PEPR_RESULTS"]).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "workflow" / "Snakefile").exists() and (folder / "pepr").is_dir():
            return folder / "results"
    return here / "results"
