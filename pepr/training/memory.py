"""Peak memory of a training, by the device's allocator or the process's resident set, and its end."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

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


class _MetalMemory:
    """What Metal has given torch, which keeps what it has freed: at the end of a training that is the most
    that it had. Metal counts no peak of its own."""

    source = "metal_allocator_peak"

    def reset(self) -> None:
        torch.mps.empty_cache()

    def peak(self) -> int:
        return torch.mps.driver_allocated_memory()

    reserved = peak


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
        process.forget_peak()

    def peak(self) -> int:
        return process.peak_memory_bytes() - _file_pages() - self.baseline

    def reserved(self) -> None:
        """A CPU's memory has no allocator that reserves."""


def _file_pages() -> int:
    """Bytes of files that are in this process's memory; 0 where the system does not tell."""
    return process.status_bytes("RssFile") or 0


def memory_gauge(device: torch.device) -> _CudaMemory | _MetalMemory | _ResidentMemory:
    """What measures peak memory on a device: its allocator on a GPU, the resident memory on a CPU."""
    if device.type == "mps":
        return _MetalMemory()
    return _CudaMemory(device) if device.type == "cuda" else _ResidentMemory()


def give_back(device: torch.device) -> None:
    """Return to a device what its allocator keeps of networks that are gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what was queued on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextlib.contextmanager
def out_of_memory_by_one_name() -> Iterator[None]:
    """Metal tells of a full device by a plain RuntimeError, which becomes the error that CUDA raises."""
    try:
        yield
    except RuntimeError as error:
        if "MPS backend out of memory" not in str(error):
            raise
        raise torch.OutOfMemoryError(str(error)) from None
