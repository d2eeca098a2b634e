"""What this machine can do for the study, what it lacks, and what to do about it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlparse

import psutil

from pepr import machine, study
from pepr.runs import results_root

HOSTS = {
    "pretrained weights": "https://huggingface.co",
    "medical images": "https://zenodo.org",
    "the authors' tables": "https://raw.githubusercontent.com",
}
RAPL = Path("/sys/class/powercap/intel-rapl/subsystem")


def default_profile() -> tuple[str, str]:
    """The profile for this machine and the reason for it."""
    gpus = machine.gpu_names()
    if gpus and "paper" in study.profile_names():
        return "paper", f"this machine has a GPU ({gpus[0]})"
    return "pocket", "no CUDA device here" if not gpus else "the profile for any machine"


def report() -> str:
    """One line a finding; a line that starts with `-` names something missing and what to do about it."""
    profile, why = default_profile()
    lines = [
        f"+ {machine.cores()} CPU cores: {machine.cpu_model()}",
        _memory_line(),
        *_gpu_lines(),
        *_energy_lines(),
        *(_network_line(what, url) for what, url in HOSTS.items()),
        *_data_lines(),
        f"+ results go to {results_root()}",
        f"`make reproduce` would run profile {profile}: {why}.",
    ]
    return "\n".join(lines)


def _memory_line() -> str:
    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    if free < 4:
        return f"- {free:.1f} of {total:.1f} GiB of memory free: pocket needs 4; close other programs"
    return f"+ {free:.1f} of {total:.1f} GiB of memory free"


def _gpu_lines() -> list[str]:
    gpus = machine.gpu_names()
    if gpus:
        return [f"+ GPU: {name}" for name in gpus]
    return [
        "- no NVIDIA GPU: the paper's grid would take weeks here; pocket is made for this"
    ]


def _energy_lines() -> list[str]:
    counters = sorted(RAPL.glob("*:*/energy_uj")) if RAPL.exists() else []
    readable = [path for path in counters if os.access(path, os.R_OK)]
    if readable:
        return ["+ CPU energy counter (RAPL): energy is measured"]
    if counters:
        return [
            f"- CPU energy counter not readable: `sudo chmod -R a+r {RAPL}/*/energy_uj`; until then CPU "
            "energy is an estimate from load"
        ]
    return [
        "- no CPU energy counter (usual in a virtual machine): CPU energy is an estimate from load, memory "
        "an assumption; rank by time, energy is shown as estimated"
    ]


def _network_line(what: str, url: str) -> str:
    host = urlparse(url).hostname
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return f"- {host} not reached ({what}): pocket does not need it; else put files into $PEPR_DATA"
    return f"+ {host} reached ({what})"


def _data_lines() -> list[str]:
    folder = os.environ.get("PEPR_DATA")
    if not folder:
        return [
            "- PEPR_DATA is not set: files of your own are looked for in the folder that it names "
            "(medmnist/*.npz, published/*.csv, lidc/*.npz)"
        ]
    found = [
        str(path.relative_to(folder))
        for kind in ("medmnist/*.npz", "published/*.csv", "lidc/*.npz")
        for path in sorted(Path(folder).glob(kind))
    ]
    if not found:
        return [f"- PEPR_DATA={folder} holds none of medmnist/*.npz, published/*.csv, lidc/*.npz"]
    return [f"+ in PEPR_DATA: {', '.join(found)}"]
