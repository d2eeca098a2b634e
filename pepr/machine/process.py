"""This process: the processor time it took and the most memory it held, on any system."""

from __future__ import annotations

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
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
