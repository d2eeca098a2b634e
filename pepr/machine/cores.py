"""What this process may use of the machine: cores by affinity and quota, their time so far, free memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pepr.machine.process import number_after, text_of

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
"""Where Linux shows control groups, and to which of them this process belongs (see `man cgroups`)."""
STUDY_PROCESS = "PEPR_STUDY_PID"
"""Tells the processes of a study which process carries it out."""
KERNEL_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Keeps glibc from giving each freed activation back to the system, which cost a twelfth of a CPU step in
page faults, and asks for large pages, so that the processor looks up fewer; other allocators ignore it."""
NO_LIMIT_BYTES = 2**60
"""Version 1 of control groups writes a number beyond this where memory has no limit."""


def worker_environment(device: str, at_once: int) -> dict[str, str]:
    """The environment of a process that measures, of so many at once: they are of one study, none of them is
    another program to the others, and on a CPU each has one thread."""
    study = {STUDY_PROCESS: str(os.getpid())} | os.environ
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1") if device == "cpu" else {}
    return KERNEL_ENVIRONMENT | study | {"PEPR_RUNS_AT_ONCE": str(at_once)} | threads


def affinity() -> set[int]:
    """Numbers of the cores on which the system may run this process."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def usable() -> float:
    """Cores that this process may use, by affinity and by the quota of its control groups: 0.5 is half the
    time of one."""
    return min([float(len(affinity())), *(quota for _, quota in quotas())])


def whole() -> int:
    """Usable cores that are whole, at least one: so many single threads find room."""
    return max(math.floor(usable() + 1e-6), 1)


def words() -> str:
    """`2 cores`, `1 core` or `0.5 cores`."""
    count = usable()
    return f"{count:.3g} {'core' if count == 1 else 'cores'}"


def free_memory() -> int:
    """Bytes that could be taken now without swapping: of the machine, and of what control groups leave.

    A group counts copies of files as used which the system would give up at once: here they are free.
    """
    left = [
        max(limit - _held(folder / used, cache), 0)
        for folder in _groups("memory")
        for name, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        )
        if (limit := _number(folder / name)) is not None and limit < NO_LIMIT_BYTES
    ]
    return min([psutil.virtual_memory().available, *left])


def _held(used: Path, cache: str) -> int:
    """Bytes in use of a control group by that file of it, less the copies of files that its table has under
    the name of `cache`."""
    reclaimable = number_after(cache, used.with_name("memory.stat")) or 0
    return max((_number(used) or 0) - reclaimable, 0)


def busy_time() -> float:
    """Processor seconds that were used so far of what this process may use, by whichever program.

    Under a quota those of the control group that has it, which is a container's own load; else those of the
    cores of the affinity, with what a hypervisor took of them.
    """
    group, quota = min(quotas(), key=lambda found: found[1], default=(None, math.inf))
    mine = affinity()
    if group is not None and quota < len(mine) and (used := used_time(group)) is not None:
        return used
    return sum(_busy(times) for core, times in enumerate(psutil.cpu_times(percpu=True)) if core in mine)


def study_time() -> float:
    """Processor seconds that the processes of this study took on this machine."""
    return sum(map(_taken, study_processes()))


def study_processes() -> list[psutil.Process]:
    """The processes of this study on this machine: the one that carries it out (`$PEPR_STUDY_PID`) and its
    descendants; this process and its own where there is none."""
    own = psutil.Process()
    try:
        root = psutil.Process(int(os.environ.get(STUDY_PROCESS) or own.pid))
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if own not in family:  # its study was killed, and it goes on
        family = [own, *own.children(recursive=True)]
    return family


def living_time() -> float:
    """Processor seconds so far of this process's descendants that are still there, such as the loaders of
    batches that a training keeps between its epochs."""
    return sum(map(_taken, psutil.Process().children(recursive=True)))


def _taken(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it has ended, and its parent has its time
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def _busy(times: Any) -> float:
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return sum(times) - guest - times.idle - getattr(times, "iowait", 0.0)


def quotas() -> list[tuple[Path, float]]:
    """The control groups of this process that have a quota of processor time, and how many cores it is."""
    found = []
    for folder in _groups("cpu"):
        parts = text_of(folder / "cpu.max").split()
        if not parts:
            parts = [text_of(folder / "cpu.cfs_quota_us"), text_of(folder / "cpu.cfs_period_us")]
        if len(parts) == 2 and all(part.isdecimal() for part in parts) and int(parts[1]):
            found.append((folder, int(parts[0]) / int(parts[1])))
    return found


def used_time(group: Path) -> float | None:
    """Processor seconds that a control group used so far; None where it is not counted."""
    microseconds = number_after("usage_usec", group / "cpu.stat")
    if microseconds is not None:
        return microseconds / 1e6
    hierarchy, inside = group.relative_to(CGROUPS).parts[:1], group.relative_to(CGROUPS).parts[1:]
    for top in ("cpuacct", *hierarchy):  # of version 1: used time has a hierarchy of its own, or the quota's
        nanoseconds = _number(CGROUPS.joinpath(top, *inside, "cpuacct.usage"))
        if nanoseconds is not None:
            return nanoseconds / 1e9
    return None


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that hold this process, of either version, from its own to the topmost.

    In a container the path may be that of the host, of which only the top is shown.
    """
    for line in text_of(MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = _top(controller, controllers)
        inside = Path(path.strip("/"))
        yield from (folder for part in (inside, *inside.parents) if (folder := top / part).is_dir())


def _top(controller: str, joint: str) -> Path:
    """Where a controller is shown: of version 1 by its own name, or by that of all of its hierarchy alone
    (`cpu,cpuacct`), to which the others are links where there are some."""
    own = CGROUPS / controller
    return CGROUPS / joint if not joint or not own.is_dir() else own


def _number(path: Path) -> int | None:
    text = text_of(path)
    return int(text) if text.isdecimal() else None
