"""This process: the processor time it took and the most memory it held, on any system."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of `ru_maxrss`: bytes on macOS, kilobytes elsewhere (see `man getrusage`)."""


def cpu_time_s() -> float:
    """Processor seconds of this process and of its ended children."""
    if resource is None:
        times = psutil.Process().cpu_times()
        return times.user + times.system + times.children_user + times.children_system
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def peak_memory_bytes() -> int:
    """Peak resident memory since this process began, or since Linux was told to forget it."""
    peak = status_bytes("VmHWM")
    if peak is not None:
        return peak
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES


def forget_peak() -> None:
    """Let Linux count the peak from here on; elsewhere, and where it refuses, nothing changes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def status_bytes(name: str) -> int | None:
    """A size of this process in Linux's table, such as `VmHWM`; None where the system does not tell."""
    kilobytes = number_after(f"{name}:", Path("/proc/self/status"))
    return None if kilobytes is None else 1024 * kilobytes


def number_after(name: str, path: Path) -> int | None:
    """The number that stands behind a name in a file of the system; None where it does not tell."""
    told = (line.split() for line in text_of(path).splitlines())
    return next((int(words[1]) for words in told if words[:1] == [name]), None)


def text_of(path: Path) -> str:
    """What a file of the system says; nothing where it is not there, or refuses."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
