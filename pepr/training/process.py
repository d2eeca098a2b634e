"""What training settles for the whole process that it runs in, and gives back when it is over."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

import torch

from pepr.runs.spec import RunSpec


@contextlib.contextmanager
def settled(spec: RunSpec) -> Iterator[None]:
    """Within: what a run's digits and costs hang on is settled, which is seed, order of sums, precision of
    products, denormal numbers taken for 0 and, on a CPU, one thread. Afterwards all of it is as it was, since
    a notebook or a test goes on in the same process; only a GPU's own generator keeps the seed."""
    device = torch.device(spec.device)
    with contextlib.ExitStack() as undo:

        def put(owner: object, name: str, value: bool) -> None:
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

        undo.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(spec.seed)
        # PyTorch lets convolutions multiply in TF32 unless it is told not to.
        for products in (torch.backends.cuda.matmul, torch.backends.cudnn):
            put(products, "allow_tf32", spec.precision == "tf32")
        if device.type == "cuda":
            # On a CPU the layers of this study repeat to the bit (a test runs one twice), and torch loads its
            # compiler for a second and a half to be told so.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            asked = torch.are_deterministic_algorithms_enabled()
            warns = torch.is_deterministic_algorithms_warn_only_enabled()
            undo.callback(torch.use_deterministic_algorithms, asked, warn_only=warns)
            torch.use_deterministic_algorithms(True, warn_only=True)
            # Nothing here reads memory before writing it, so no new tensor needs to be filled.
            put(torch.utils.deterministic, "fill_uninitialized_memory", False)
            put(torch.backends.cudnn, "benchmark", False)
        if device.type == "cpu":
            # More threads add up in another order: results would hang on the number of cores.
            undo.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        undo.callback(torch.set_flush_denormal, flushes_denormals())
        torch.set_flush_denormal(True)
        if not gc.get_freeze_count():
            undo.callback(gc.unfreeze)
        yield


def flushes_denormals() -> bool:
    """Whether this thread's processor takes numbers below the least normal one for 0; torch does not tell."""
    return sys.float_info.min / 2 == 0
