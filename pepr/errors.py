"""The errors that a user can act on; the command line turns them into one line and an exit status."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterable, Iterator


class InputError(ValueError):
    """Input that cannot be used. The message names the file, the row and the column where it can.

    Exit status 2.
    """


class ModelRefuses(InputError):
    """A model that cannot be trained as is asked: on images of that size, or computing activations twice."""


class NothingToAnalyse(InputError):
    """A study without one run that ended well."""


class DataUnavailable(RuntimeError):
    """A dataset that is neither at hand nor downloadable here. The message says how to supply it."""


class ModelUnavailable(RuntimeError):
    """Pretrained weights that are neither at hand nor downloadable here."""


class OutOfMemory(RuntimeError):
    """The device has no room for the run. The message says which batch size would have found some."""


class Diverged(RuntimeError):
    """Training stopped learning: the loss, or a probability of an image, is no longer a finite number."""


class MeterError(RuntimeError):
    """The energy meter returned nothing, or zero, for a window in which work was done."""


class WorkFailed(RuntimeError):
    """A step of the study's own machinery failed: the workflow, a notebook, the book. Exit status 1."""


class BookError(WorkFailed):
    """The book could not be built, or what was built is not sound. The message lists why."""


STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG)
OF_FILES = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOTCONN)
"""Errors of the disk, or of the right to use it, where they name a file; else of a connection."""
STORAGE_ERROR = (
    rf"\[Errno ({'|'.join(map(str, STORAGE_ERRORS))})\]"
    rf"|\[Errno ({'|'.join(map(str, OF_FILES))})\] [^:\]]+: b?['\"]"
)
"""How Python words an error of the disk and not of the work: full, over quota, read-only, broken, gone."""


PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be gone a moment later."""


def is_storage_error(text: str) -> bool:
    """Whether an error's message tells of the disk: such a run did not fail, it was not possible."""
    return bool(re.search(STORAGE_ERROR, text))


FIRST_ALIKE = 3
"""So many first runs that end alike, or all where there are fewer, are no coincidence."""
OF_A_MACHINE = ("error", "meter_failed", "kernel_died")
"""Kinds of failure that nothing about a run explains: memory, data, weights and divergence are its own."""
VARYING = re.compile(r"0x[0-9a-f]+|\btmp[a-z0-9_]{8}\b|\d+")


def without_names(text: str, names: Iterable[str]) -> str:
    """The words of an error without what only its run is called: names, numbers, addresses, and what Python
    calls a temporary file."""
    for name in names:
        text = text.replace(name, "#")
    return VARYING.sub("#", text)


def is_of_the_disk(error: BaseException) -> bool:
    """The same of an error itself."""
    if not isinstance(error, OSError):
        return False
    return error.errno in STORAGE_ERRORS or (error.errno in OF_FILES and error.filename is not None)


def exit_status(work: Callable[[], object], program: str = "") -> int:
    """Do some work and return the exit status of a program: 2 for input, or a file, that cannot be used, 1
    for work or a meter that failed, with the reason on standard error."""
    try:
        work()
    except (InputError, DataUnavailable, ModelUnavailable, MeterError, WorkFailed) as error:
        print(f"{program}{error}", file=sys.stderr)
        return 1 if isinstance(error, MeterError | WorkFailed) else 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"{program}{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then what it was raised from or while, to the first."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    yield from seen


OUT_OF_MEMORY = r"out of memory|can't allocate memory|cannot allocate memory|MemoryError"
FAILURE_OF_ERROR = {
    "OutOfMemory": "out_of_memory",
    "OutOfMemoryError": "out_of_memory",
    "MemoryError": "out_of_memory",
    "Diverged": "diverged",
    "ModelUnavailable": "model_unavailable",
    "DataUnavailable": "data_unavailable",
    "MeterError": "meter_failed",
    "DeadKernelError": "kernel_died",
    "CellTimeoutError": "timeout",
}
"""Name of the error that ended a run, and the kind of failure that its record names."""


def classify(name: str, message: str) -> str:
    """The kind of failure behind an error's class name and message."""
    if re.search(OUT_OF_MEMORY, f"{name}: {message}", re.IGNORECASE):
        return "out_of_memory"
    return FAILURE_OF_ERROR.get(name, "error")


FAILURES = (*dict.fromkeys(FAILURE_OF_ERROR.values()), "killed", "error")
"""Every kind of failure: those, a command that was ended, and what has no kind of its own."""
