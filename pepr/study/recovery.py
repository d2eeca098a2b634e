"""What keeps a study whole through kills, full disks and damaged files: locks, and order before a start."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pepr.errors import InputError
from pepr.runs.results import as_table
from pepr.runs.store import Store

ROOM_BYTES = 4 * 2**20
"""More than a run leaves: record, predictions and executed notebook are some tens of kilobytes."""

NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Hold a results folder for one study; yields the lock's descriptor, for processes that share it.

    The system releases the lock when the last process that has the descriptor is gone. Raises InputError
    while another study holds it, and where the folder cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(handle, wait=False):
            raise InputError(f"{folder}: another `make reproduce` is at work here; wait for it")
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def one_at_a_time(store: Store, run_id: str) -> Iterator[None]:
    """Hold one run; waits while another process carries it out, such as one that outlived a killed study.

    Raises InputError where the folder cannot be written.
    """
    path = store.record_path(run_id).with_name(f".{run_id}.lock")
    with _writing(store.folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(handle, wait=True)
        yield
        # Whoever still waits for this file finds the record and has nothing left to do.
        if store.record_path(run_id).exists():
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock a file; False while another process has it. File systems without locks are trusted."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS_HERE:
            raise
    return True


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}). What is finished is kept: make room or grant "
            "the right to write, then type the same command again"
        ) from None


def check_room(folder: Path) -> None:
    """Write and remove a file of `ROOM_BYTES`. Raises InputError where the disk refuses."""
    with _writing(folder), tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(ROOM_BYTES))
        probe.flush()
        os.fsync(probe.fileno())


def tidy(store: Store, run_ids: Iterable[str]) -> list[str]:
    """Put a results folder in order before a study starts; one sentence for each thing that was done.

    Removes what killed processes left half-written, sets damaged records aside so that their runs are
    repeated, and forgets a table that is not that of the records. The caller holds the folder.
    """
    _remove_unfinished(store.folder)
    told = [sentence for run_id in run_ids if (sentence := _set_aside(store, run_id))]
    _forget_stale_table(store)
    return told


def _remove_unfinished(folder: Path) -> None:
    """Temporary files of killed processes, unless a run that outlived its study still writes some."""
    if any(_is_held(path) for path in folder.rglob(".*.lock")):
        return
    for path in folder.rglob(".*"):
        if path.is_file() and path.name != ".lock" and ".snakemake" not in path.parts:
            path.unlink()


def _is_held(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR)
    try:
        return not _lock(handle, wait=False)
    finally:
        os.close(handle)


def _set_aside(store: Store, run_id: str) -> str | None:
    path = store.record_path(run_id)
    try:
        record = store.read_record(run_id)
        if record is None or (record["status"] != "ok" or _is_whole(store.predictions_path(run_id))):
            return None
        what = "its predictions are missing or damaged"
    except (InputError, KeyError, TypeError, UnicodeDecodeError):
        what = "it is damaged"
    kept = path.with_name(f"{path.name}.damaged")
    path.replace(kept)
    return f"{path}: {what}; kept as {kept.name}, the run is repeated"


def _is_whole(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _forget_stale_table(store: Store) -> None:
    """A table is made again when a record is newer. A clock that jumped can hide that, a comparison not."""
    path = store.folder / "results.csv"
    if path.exists() and path.read_text() != as_table(list(store.records())).to_csv(index=False):
        path.unlink()
