"""What this machine is and what runs on it: hardware, package versions, git revision."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from pepr.machine import cores, gpu

PACKAGES = ("pepr", "torch", "timm", "codecarbon", "numpy", "scikit-learn", "pandas", "medmnist", "papermill")


RAPL = Path("/sys/class/powercap/intel-rapl/subsystem")


def cpu_model() -> str:
    """The processor's name, as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide a result; those absent are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def software() -> str:
    """One line for the results table."""
    named = versions()
    parts = [
        f"{package} {named[package]}"
        for package in ("pepr", "torch", "timm", "codecarbon")
        if package in named
    ]
    return "; ".join([f"python {platform.python_version()}", *parts])


def hardware(device: str = "cpu") -> str:
    """One line for the results table: results are ranked only within one value of it."""
    memory = round(psutil.virtual_memory().total / 2**30)
    line = f"{cpu_model()}; {cores.words()}; {memory} GiB"
    return f"{gpu_name(device)}; {line}" if device.startswith("cuda") else line


def gpu_name(device: str) -> str:
    """Name of the GPU that torch calls `device`, asked of the driver: no CUDA context is made."""
    return gpu.current(device).name


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """NVIDIA GPUs that this process may use, found without torch; empty where there are none."""
    return tuple(one.name for one in gpu.visible())


def cpu_counters() -> list[Path]:
    """The files of the processor's energy counters (RAPL); none in most virtual machines."""
    return sorted(RAPL.glob("*:*/energy_uj")) if RAPL.exists() else []


def readable_cpu_counters() -> list[Path]:
    """Those energy counters that this user may read."""
    return [path for path in cpu_counters() if os.access(path, os.R_OK)]


def default_device() -> str:
    """`cuda` where there is an NVIDIA GPU, else `cpu`; `$PEPR_DEVICE` overrides."""
    return os.environ.get("PEPR_DEVICE") or ("cuda" if gpu_names() else "cpu")


@functools.cache
def git_revision() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this package runs from and whether it had uncommitted changes;
    (None, None) outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        run = functools.partial(
            subprocess.run, cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
        tracked = run(["git", "ls-files", "--error-unmatch", Path(__file__).name])
        revision = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        changes = run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None, None
    return (revision, bool(changes)) if tracked.stdout else (None, None)


def environment(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Everything about machine and software that a record keeps; `threads` are those of the training."""
    revision, dirty = git_revision()
    return {
        "packages": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_model": cpu_model(),
        "cores": cores.usable(),
        "threads": threads,
        "memory_bytes": psutil.virtual_memory().total,
        **_gpu_facts(device),
        "git_revision": revision,
        "git_dirty": dirty,
        "command": os.environ.get("PEPR_COMMAND") or " ".join(sys.argv),
    }


def _gpu_facts(device: str) -> dict[str, Any]:
    if not device.startswith("cuda"):
        return {"gpu": None}
    used = gpu.current(device)
    return {"gpu": used.name, "gpu_uuid": used.uuid, "driver": gpu.driver_version()}
