"""`python -m pepr.training.warm SOCKET`: load once what every run needs, and fork a kernel for each run.

Loading PyTorch and timm takes more processor time than all else in the start of a run. This process stays as
it was when it had loaded them: a kernel is a copy of it, made before anything ran, and ends alone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection

from pepr.machine import tracker

LIBRARIES = (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "pepr.training.loop",
    "timm",
    "torch._dynamo",
    "codecarbon",
    "sklearn.metrics",
    "pandas",
)


def serve(address: str) -> None:
    """Answer on the Unix socket `address` until the last process that holds its standard input is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever carries out the study
    signal.signal(signal.SIGCHLD, _bury)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(128)
        for library in LIBRARIES:
            importlib.import_module(library)
        tracker.rated_power()  # asks the processor for its name, in a process of its own, and remembers it
        gc.freeze()
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            accepted, _ = server.accept()
            with Connection(accepted.detach()) as asking:
                if os.fork() == 0:
                    server.close()
                    _become_kernel(asking)


def _bury(*_: object) -> None:
    """Wait for kernels that have ended: only so does their processor time become that of the study."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become_kernel(asking: Connection) -> None:
    """Run the kernel that is asked for: arguments, environment and folder. It ends with its asker."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        arguments, environment, folder = asking.recv()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = arguments
        asking.send(os.getpid())
        threading.Thread(target=_end_with, args=(asking,), daemon=True).start()
        from ipykernel.kernelapp import launch_new_instance

        launch_new_instance()
    finally:
        os._exit(0)


def _end_with(asking: Connection) -> None:
    """Wait until the other side is gone, as when it was killed."""
    try:
        asking.recv()
    finally:
        os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1])
