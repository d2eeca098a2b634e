"""Kernels for runs that start as copies of one process that has loaded everything, see `training.warm`."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager

ADDRESS = "PEPR_WARM_KERNELS"
"""Where a run asks for its kernel: the Unix socket of the process that was loaded for its study."""
STARTS_WITHIN_S, ENDS_WITHIN_S = 120.0, 10.0
"""A slow disk has the libraries loaded by then; an idle process has ended."""


@contextlib.contextmanager
def loaded(environment: Mapping[str, str]) -> Iterator[tuple[dict[str, str], int]]:
    """Load what runs need in a process of its own; yields the variable that tells of it, and a descriptor.

    The process ends when the last process that has the descriptor is gone.
    """
    with tempfile.TemporaryDirectory(prefix="pepr-") as folder:
        address = str(Path(folder) / "kernels")
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "pepr.training.warm", address],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
        )
        os.close(reader)
        deadline = time.monotonic() + STARTS_WITHIN_S
        while process.poll() is None and not Path(address).exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # until it listens: who asks before that gets a kernel of the slow kind
        try:
            yield {ADDRESS: address}, writer
        finally:
            os.close(writer)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_WITHIN_S)
            process.kill()
            process.wait()


class Manager(AsyncKernelManager):
    """Jupyter's kernel manager, whose kernel is asked for at `$PEPR_WARM_KERNELS`; where nobody answers, it
    starts one in Jupyter's own way."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        cold = self.provisioner.launch_kernel
        self.provisioner.launch_kernel = functools.partial(_launch, self.provisioner, cold)
        await super()._async_launch_kernel(kernel_cmd, **options)


async def _launch(provisioner: Any, cold: Any, command: list[str], **options: Any) -> dict[str, object]:
    """Start what `command` says, a Python with the module `ipykernel_launcher`, as a copy; else by `cold`."""
    arguments = command[command.index("ipykernel_launcher") :]
    try:
        asking = Client(os.environ[ADDRESS], "AF_UNIX")
        asking.send((arguments, options["env"], str(options.get("cwd") or Path.cwd())))
        provisioner.process = _Forked(asking)
    except (OSError, EOFError):
        return await cold(command, **options)
    provisioner.pid = provisioner.pgid = provisioner.process.pid
    return provisioner.connection_info


class _Forked:
    """A process that another one forked, as the provisioner knows processes: like `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, asking: Connection):
        if not asking.poll(STARTS_WITHIN_S):
            raise TimeoutError(f"no kernel within {STARTS_WITHIN_S:.0f} s")
        self._asking, self.pid = asking, asking.recv()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """None while it runs; its connection ends with it."""
        if self.returncode is None and self._asking.poll():
            self._asking.close()
            self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("kernel", timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
