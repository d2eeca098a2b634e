"""Run a command as if nothing stood in between: output, signals and exit status pass through."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pepr.errors import InputError
from pepr.machine import process

try:
    import pty
    import resource
    import termios
    import tty
except ImportError:  # Windows
    pty = None

FORWARDED = ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
FROM_TERMINAL = ("SIGINT", "SIGQUIT")
"""What a terminal's keys send to every process of the foreground, the command among them."""
DRAIN_S = 1.0
"""How long output is waited for that something else still holds open when the command has ended."""
CHUNK = 65536
OUTGROWN = 1.05
"""A child begins with the peak of the process that forked it, give or take what Linux counts late."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, negative for the signal that ended it, and what it took.

    `time_s` is by the clock, `cpu_time_s` processor time, its child processes' included; `peak_memory_bytes`
    the resident memory of the largest of its processes, None where none outgrew this process: Linux counts
    what a process was before it became the command.
    """

    status: int
    time_s: float
    cpu_time_s: float
    peak_memory_bytes: int | None


def check_here() -> None:
    """Raise InputError where a command cannot be measured."""
    if pty is None:
        raise InputError(
            "a command is measured on Linux or macOS, or in Windows' subsystem for Linux (WSL); here a block "
            "of Python can be, by `pepr.measure`"
        )


def run(arguments: Sequence[str], listen: Callable[[bytes], None] | None = None) -> Ended:
    """Run a command to its end.

    `listen` is given whatever the command writes, as it appears; a command whose output is a terminal still
    sees one. Signals that reach this process meanwhile reach the command. Raises OSError where the command
    cannot be started.
    """
    with contextlib.ExitStack() as stack:
        streams = stack.enter_context(_heard(listen)) if listen else {}
        forward = stack.enter_context(_forwarded_signals())
        began = time.perf_counter()
        child = subprocess.Popen(arguments, **streams)
        forward(child.pid)
        _, status, used = os.wait4(child.pid, 0)  # `Popen.wait` would not tell what the command used
        child.returncode = os.waitstatus_to_exitcode(status)
        peak = used.ru_maxrss * process.MAXRSS_BYTES
        return Ended(
            child.returncode,
            time.perf_counter() - began,
            used.ru_utime + used.ru_stime,
            peak if peak > OUTGROWN * process.peak_memory_bytes() else None,
        )


def exit_as(status: int) -> None:
    """End this process as a command ended: with its exit status, or by the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command's own core dump is the one to look at
        with contextlib.suppress(OSError, ValueError):  # SIGKILL takes no handler, and needs none
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    raise SystemExit(status if status >= 0 else 128 - status)


@contextlib.contextmanager
def _forwarded_signals() -> Iterator[Callable[[int], None]]:
    """While open, signals go to the process whose id the yielded function was given; those before it wait.

    What was ignored stays ignored, here and in the command (`nohup`). Python takes signals in its main
    thread only: in another one nothing is changed.
    """
    children: list[int] = []
    waiting: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        if signal.Signals(number).name in FROM_TERMINAL and _in_foreground():
            return  # the terminal has sent it to the command as well
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
        if not children:
            waiting.append(number)

    def begin(child: int) -> None:
        children.append(child)
        while waiting:
            os.kill(child, waiting.pop(0))

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in FORWARDED:
            number = getattr(signal, name)
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield begin
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether this process is in the group that its terminal's keys reach."""
    with contextlib.suppress(OSError), Path("/dev/tty").open("rb", buffering=0) as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


@contextlib.contextmanager
def _heard(listen: Callable[[bytes], None]) -> Iterator[dict[str, int]]:
    """The `stdout` and `stderr` for a command whose output passes through `listen` on its way.

    Where both of this process go to one terminal they stay one stream, so that their order is kept.
    """
    outputs = {"stdout": sys.stdout, "stderr": sys.stderr}
    joint = all(stream.isatty() for stream in outputs.values())
    pairs, ends = [], {}
    for name, stream in outputs.items():
        if joint and pairs:
            ends[name] = ends["stdout"]
            continue
        stream.flush()
        reading, ends[name] = _terminal_like(stream) if stream.isatty() else os.pipe()
        pairs.append((reading, stream.fileno()))
    threads = [threading.Thread(target=pass_on, args=(*pair, listen), daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    try:
        yield ends
    finally:
        for end in set(ends.values()):
            os.close(end)
        for thread in threads:
            thread.join(DRAIN_S)


def _terminal_like(stream: IO[str]) -> tuple[int, int]:
    """The two ends of a terminal of the size of `stream`'s, which changes nothing of what passes."""
    reading, writing = pty.openpty()
    tty.setraw(writing)
    with contextlib.suppress(OSError):
        size = os.get_terminal_size(stream.fileno())
        termios.tcsetwinsize(writing, (size.lines, size.columns))
    return reading, writing


def pass_on(reading: int, writing: int, listen: Callable[[bytes], None]) -> None:
    """Copy what comes from one file descriptor to another until it ends; `listen` hears it too."""
    while True:
        try:
            chunk = os.read(reading, CHUNK)
        except OSError:  # how a terminal tells that nobody writes to it any more
            break
        if not chunk:
            break
        listen(chunk)
        left = memoryview(chunk)
        while left:
            left = left[os.write(writing, left) :]
    os.close(reading)
