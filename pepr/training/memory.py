"""Peak memory of a training, by the CUDA allocator or the process's resident set."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import torch

from pepr.machine import process


class _CudaMemory:
    """Peak of what the allocator handed out."""

    source = "cuda_allocator_peak"

    def __init__(self, device: torch.device):
        self.device = device

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated(self.device)

    def reserved(self) -> int:
        """Peak of what the allocator held, which is what the paper's PePR-M counts."""
        return torch.cuda.max_memory_reserved(self.device)


class _ResidentMemory:
    """Peak resident memory of this process above what it held before the model was built.

    Where the system tells them apart, pages of files do not count: they are the libraries' code and the map
    of the images, which it takes back when memory is short, and how much of the code a process has touched
    before depends on how it was started. Linux lets a process reset its peak; where that fails, the peak
    since the process began is taken.
    """

    source = "rss_peak_minus_baseline"

    def __init__(self):
        self.baseline = psutil.Process().memory_info().rss - _file_pages()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        return process.peak_memory_bytes() - _file_pages() - self.baseline

    def reserved(self) -> None:
        """A CPU's memory has no allocator that reserves."""


def _file_pages() -> int:
    """Bytes of files that are in this process's memory; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssFile:"):
                return int(line.split()[1]) * 1024
    return 0


def memory_gauge(device: torch.device) -> _CudaMemory | _ResidentMemory:
    """What measures peak memory on a device: its allocator on a GPU, the resident memory on a CPU."""
    return _CudaMemory(device) if device.type == "cuda" else _ResidentMemory()
