"""What keeps a study whole through kills, full disks, damaged files and a faulty machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pepr import files
from pepr.errors import FIRST_ALIKE, OF_A_MACHINE, InputError, WorkFailed, without_names
from pepr.machine import process
from pepr.models.space import BASELINES
from pepr.runs.columns import Record
from pepr.runs.results import as_table
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store

ROOM_BYTES = 4 * 2**20
"""More than a run leaves: record, predictions and executed notebook are some tens of kilobytes."""

HEARTBEAT_S = 20.0
STALE_S = 120.0
"""How often a study shows on its lock that it is alive, and after how long without that it is given up."""
YOUNG_S = 24 * 3600.0
"""Where another host or container may be at work, what it left is held to be abandoned only after so long."""

BEFORE = ".before"
"""What the files of a run that is repeated are called besides, until it has ended well again."""

OF_A_RUN = ("run_id", "model", "setting", "dataset")
"""What a record calls its run."""


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Hold a results folder for one study; yields the lock's descriptor, for processes that share it.

    The system releases the lock when the last process that has the descriptor is gone. The lock also names
    host and process, and shows a heartbeat: another host or container may not see the system's lock, and on
    some file systems nobody does. Raises InputError while another study holds it, and where the folder cannot
    be written.
    """
    path = folder / ".lock"
    with contextlib.ExitStack() as held:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = held.enter_context(files.locked(path, wait=False))
            trusted = files.locks_lock(folder)
        if handle is None:
            raise InputError(f"{folder}: another `make reproduce` is at work here; wait for it")
        holder = Holder.read(path)
        if holder is not None and holder.is_alive(path, trusted):
            raise InputError(
                f"{folder}: another `make reproduce` is at work here, on {holder.host} (process "
                f"{holder.pid}); wait for it, or {STALE_S / 60:.0f} minutes where it was killed"
            )
        with _heartbeat(path):
            yield handle


def place() -> str:
    """Where a number is that of one process: a machine since it was started, and on Linux the container in
    it, which may share the host's name and even the other's numbers. Where that is not told, a place of its
    own."""
    if sys.platform != "linux":
        return f"{uuid.getnode():012x}"
    boot = process.text_of(Path("/proc/sys/kernel/random/boot_id"))
    try:
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}" if boot else uuid.uuid4().hex
    except OSError:
        return uuid.uuid4().hex


STARTED_ALIKE_S = 2.0
"""What a correction of the clock may move the start of a process, as the system tells it."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: a process that was `started` at a time, by its number in a `place`, and for people
    the name of its host."""

    host: str
    pid: int
    place: str = ""
    started: float = 0.0

    @classmethod
    def of_process(cls, pid: int) -> Holder:
        """A process of this place. Raises psutil.NoSuchProcess where there is none of that number."""
        return cls(platform.node(), pid, place(), psutil.Process(pid).create_time())

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """Who wrote his name into a lock; None where nobody did."""
        try:
            told = json.loads(path.read_text())
            kept = str(told.get("place", "")), float(told.get("started", 0.0))
            return cls(str(told["host"]), int(told["pid"]), *kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    def is_alive(self, path: Path, trusted: bool) -> bool:
        """Whether the holder may be at work still: in this place its process tells, unless its lock would
        have; in another, or where its number may be another process's, its heartbeat, by the clock of the
        file system."""
        if self.place == place():
            if trusted or self.pid == os.getpid():
                return False
            try:
                if abs(psutil.Process(self.pid).create_time() - self.started) < STARTED_ALIKE_S:
                    return True
            except psutil.NoSuchProcess:
                return False
            except psutil.AccessDenied:  # of another user, and no answer
                pass
        return age_s(path) < STALE_S


@contextlib.contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Write this process into a lock, and renew its time in a thread until the block ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):
                os.utime(path)

    with _writing(path.parent):
        Holder.of_process(os.getpid()).write(path)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.write_text("")


def age_s(path: Path) -> float:
    """Seconds since a file was written, by the clock that stamps files in its folder."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock.") as now:
        return Path(now.name).stat().st_mtime - path.stat().st_mtime


@contextlib.contextmanager
def one_at_a_time(store: Store, run_id: str) -> Iterator[None]:
    """Hold one run; waits while another process carries it out, such as one that outlived a killed study.

    Raises InputError where the folder cannot be written.
    """
    path = store.record_path(run_id).with_name(f".{run_id}.lock")
    with contextlib.ExitStack() as held:
        with _writing(store.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(files.locked(path))
        with contextlib.suppress(OSError):  # a full disk is the run's to find out
            Holder.of_process(os.getpid()).write(path)
        yield
        # Whoever still waits for this file finds the record and has nothing left to do.
        if store.record_path(run_id).exists():
            path.unlink(missing_ok=True)


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

    Removes what killed processes left half-written, puts results back that were to be made again, sets
    damaged records aside so that their runs are repeated, and forgets a table that is not that of the
    records. The caller holds the folder.
    """
    _remove_unfinished(store.folder)
    bring_back(store)
    told = [sentence for run_id in run_ids if (sentence := _set_aside(store, run_id))]
    _forget_stale_table(store)
    return told


def put_by(store: Store, run_id: str) -> None:
    """Have a run that ended well done again: what it left is kept under another name until it has."""
    for path in _files_of(store, run_id):
        if path.exists():
            path.replace(_before(path))


def bring_back(store: Store) -> list[str]:
    """Put back what was put by, unless its run has ended well meanwhile; the runs whose results came back."""
    returned = []
    for kept in sorted((store.folder / "runs").glob(f"[!.]*.json{BEFORE}")):
        run_id = kept.name.removesuffix(f".json{BEFORE}")
        done_again = _ended_well(store, run_id)
        for path in reversed(_files_of(store, run_id)):  # the record last, whenever this is interrupted
            if done_again:
                _before(path).unlink(missing_ok=True)
            elif _before(path).exists():
                _before(path).replace(path)
        returned += [] if done_again else [run_id]
    return returned


def _ended_well(store: Store, run_id: str) -> bool:
    try:
        return store.read_record(run_id)["status"] == "ok"
    except (InputError, KeyError, TypeError):  # none, or a damaged one
        return False


def _files_of(store: Store, run_id: str) -> tuple[Path, ...]:
    return store.record_path(run_id), store.predictions_path(run_id), store.weights_path(run_id)


def _before(path: Path) -> Path:
    return path.with_name(path.name + BEFORE)


def without_their_start(store: Store, specs: Sequence[RunSpec]) -> list[str]:
    """Put by what is to be made again for the sake of runs that start from others; a sentence for each.

    A source whose network was not kept is trained again where a run that is not done starts from it. A run
    is repeated whose source is to be done, or was done again: it started from a network that is no more.
    """
    others = [spec for spec in specs if spec.init_from]
    told = _of_another_start(store, others)
    waiting = [spec.init_from for spec in others if not store.record_path(spec.run_id).exists()]
    for run_id in dict.fromkeys(waiting):
        if _ended_well(store, run_id) and not store.weights_path(run_id).exists():
            put_by(store, run_id)
            told.append(f"{run_id}: its network was not kept, and runs start from it; it is trained again")
    return told + _of_another_start(store, others)


def _of_another_start(store: Store, specs: Sequence[RunSpec]) -> list[str]:
    told = []
    for spec in specs:
        record = store.read_record(spec.run_id)
        if record and record["status"] == "ok" and not _has_its_source(store, record):
            put_by(store, spec.run_id)
            told.append(f"{spec.run_id}: the run that it starts from is another one now; it is repeated")
    return told


def _has_its_source(store: Store, record: Record) -> bool:
    """Whether the run that another one started from is still there as it was: with the energy that it took.
    One that has failed since is left to whoever repeats it."""
    source = store.read_record(record["init_from"])
    if source is None:
        return False
    return source["status"] != "ok" or source["energy_kwh"] == record["init_energy_kwh"]


def shared_fault(store: Store, to_do: Iterable[str]) -> tuple[list[str], str] | None:
    """The runs among `to_do`, none of which had a record when the study began, that show a fault of the
    machine, and their error; None where a run ended well, or they ended for different reasons, or too few,
    or where the machine is known to be sound.

    Baselines need little of a machine: that they end well says nothing of one on which no network runs.
    """
    to_do = list(to_do)
    ended = [record for run_id in to_do if (record := store.read_record(run_id)) is not None]
    networks = [record for record in ended if record["model"] not in BASELINES]
    found = _alike(ended, min(FIRST_ALIKE, len(to_do))) or _alike(networks, FIRST_ALIKE)
    if found is None:
        return None
    alike = [record for record in ended if record["run_id"] in found[0]]
    return None if _is_of_the_runs(store, to_do, alike) else found


def _is_of_the_runs(store: Store, to_do: Sequence[str], alike: list[Record]) -> bool:
    """Whether a network ended well on this machine before, and what ended alike now is of one model, or
    kernels that were killed, as those of the largest are for want of memory."""
    if len({record["model"] for record in alike}) > 1 and alike[0]["failure"] != "kernel_died":
        return False
    new, here = set(to_do), {(record["hardware"], record["software"]) for record in alike}
    return any(
        record["status"] == "ok"
        and record["model"] not in BASELINES
        and record["run_id"] not in new
        and (record["hardware"], record["software"]) in here
        for record in store.records()
    )


def _alike(ended: list[Record], enough: int) -> tuple[list[str], str] | None:
    """The runs that ended and their error, if they are enough and all ended in it."""
    if enough < 2 or len(ended) < enough or any(record["status"] == "ok" for record in ended):
        return None
    if len(set(map(_without_names, ended))) > 1 or ended[0]["failure"] not in OF_A_MACHINE:
        return None
    error = f"{ended[0]['failure']}: {last_line(ended[0]).rstrip('.')}"
    return [record["run_id"] for record in ended], error


def _without_names(record: Record) -> tuple[str, str]:
    """How a run ended, in words that another one could have ended in."""
    return record["failure"], without_names(last_line(record), (record[name] for name in OF_A_RUN))


def stop_at_a_shared_fault(store: Store, to_do: list[str]) -> None:
    """Raises WorkFailed where a fault of the machine ended the first runs, whose records go: they are not
    results."""
    found = shared_fault(store, to_do)
    if found is None:
        return
    runs, error = found
    for run_id in runs:
        store.record_path(run_id).unlink(missing_ok=True)
    raise WorkFailed(
        f"the first {len(runs)} runs ended alike, which is a fault of this machine and no result of theirs: "
        f"{error}. They left no record: when it is mended, the same command does them again"
    )


def _remove_unfinished(folder: Path) -> None:
    """Temporary files of killed processes, unless a run that outlived its study still writes some.

    Where locks do not lock, or a run may be at work on another host or in another container, nothing is
    removed that is younger than a day."""
    held = list(folder.rglob(".*.lock"))
    if any(_is_held(path) for path in held):
        return
    holders, here = filter(None, map(Holder.read, held)), place()
    wary = any(holder.place != here for holder in holders) or not files.locks_lock(folder)
    for path in folder.rglob(".*"):
        unfinished = path.is_file() and path.name != ".lock" and ".snakemake" not in path.parts
        if unfinished and not (wary and age_s(path) < YOUNG_S):
            path.unlink()


def without_locks(folder: Path) -> str | None:
    """In a sentence, that a folder's locks do not lock; None where they do."""
    if files.locks_lock(folder):
        return None
    return (
        f"The file system of {folder} locks nothing, whatever it answers: one study at a time is kept to by "
        "the name and heartbeat in its lock file, and nothing younger than a day is tidied away."
    )


def _is_held(path: Path) -> bool:
    with files.locked(path, wait=False) as handle:
        return handle is None


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
    except Exception:  # a bit that flipped says anything: of the compression, a password, a method unheard of
        return False


def _forget_stale_table(store: Store) -> None:
    """A table is made again when a record is newer. A clock that jumped can hide that, a comparison not."""
    path = store.folder / "results.csv"
    if path.exists() and path.read_text() != as_table(list(store.records())).to_csv(index=False):
        path.unlink()


def last_line(record: Mapping[str, Any]) -> str:
    """The last line of a failed run's traceback: the error itself."""
    lines = (record.get("traceback") or "").strip().splitlines()
    return lines[-1] if lines else ""
