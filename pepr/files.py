"""A file whole or not at all, checksums, locks, and where results, cache and checkout are.

The variables of the environment that the package reads. Set by a person:

PEPR_DATA             a folder to look in before any download
PEPR_RESULTS          where results go; else `results/` of the checkout
PEPR_DEVICE           what to train on: `auto`, `cpu`, `cuda` or `mps`
PEPR_UNLIKE_GPUS      `yes` takes GPUs of several kinds into one study
PEPR_UNOFFICIAL       `yes` lets in files of MedMNIST with another checksum
PEPR_COUNTRY          the grid that carbon is of, by three letters
PEPR_WATER_L_PER_KWH  the litres of water that a kWh takes
PEPR_LAUNCH_BRANCH    the branch whose notebooks the book's buttons open

Set by a study for what it starts:

PEPR_COMMAND          the command that repeats the run
PEPR_IDLE_POWER_W     the power of the idle machine
PEPR_KEEP_WEIGHTS     `yes` keeps the trained network, from which other runs start
PEPR_RUNS_AT_ONCE     how many runs share the machine
PEPR_STUDY_PID        the process of the study
PEPR_WARM_KERNELS     where to ask for a kernel that has its libraries loaded
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pepr.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def find_checkout(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds the book's sources. Raises InputError outside a checkout."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").exists() and (folder / "book").is_dir():
            return folder
    raise InputError(f"{here}: no checkout of the study here or above; go to a copy of its repository")


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """The checksum of a file, in hexadecimal; it is read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


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
        with contextlib.suppress(OSError):  # a drive that knows no rights
            Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def slug(text: str) -> str:
    """Any text as the name of a file or folder: lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def check_writable(folder: Path) -> None:
    """Make a folder, and for a moment a file in it, before work starts whose result goes there. Raises
    InputError where that is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None


def expanded(path: str | Path, told_by: str) -> Path:
    """A path in which `~` is a home. Raises InputError, with what told it, for a home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{told_by}{path}: nobody here has a home folder of that name") from None


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is not set. Raises InputError as
    `expanded` does."""
    text = os.environ.get(variable)
    return expanded(text, f"{variable}=") if text else None


def settle_folders() -> None:
    """Make the folders that the environment names absolute: what is started from here begins in others."""
    for variable in ("PEPR_DATA", "PEPR_RESULTS"):
        if folder := named_folder(variable):
            os.environ[variable] = str(folder.absolute())


def results_root() -> Path:
    """Where this machine's results live.

    `$PEPR_RESULTS`, else `results/` of the nearest folder upwards that is a checkout of this project,
    else `results/` in the working directory.
    """
    if named := named_folder("PEPR_RESULTS"):
        return named.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "workflow" / "Snakefile").exists() and (folder / "pepr").is_dir():
            return folder / "results"
    return here / "results"


NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


LOCK_POLL_S = 0.5
"""How often a lock is tried on Windows, whose own way to wait for one gives up after ten seconds."""


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file for this process and those that it shares the descriptor with; False while another
    has it. File systems without locks are trusted (`locks_lock` tries one)."""
    try:
        if fcntl is None:
            while not _locked_on_windows(handle):
                if not wait:
                    return False
                time.sleep(LOCK_POLL_S)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS_HERE:
            raise
    return True


def _locked_on_windows(handle: int) -> bool:
    import msvcrt

    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int | None]:
    """Hold the lock of a file, made where there is none, until the block ends; yields its descriptor, or None
    while another has it and is not waited for."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield handle if lock(handle, wait=wait) else None
    finally:
        os.close(handle)


def locks_lock(folder: Path) -> bool:
    """Whether a lock on a file in this folder keeps a second one out: some network and cloud drives answer
    that a file is locked, and lock nothing."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".trial.")
    second = os.open(name, os.O_RDWR)
    try:
        return lock(handle, wait=False) and not lock(second, wait=False)
    finally:
        os.close(second)
        os.close(handle)
        Path(name).unlink()
