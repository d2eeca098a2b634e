"""A command that is run through us behaves as without us: what it writes, how it ends, what reaches it."""

import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time

import pytest

from pepr.study import command

THROUGH = """import signal, sys; from pepr.study import command; heard = []
for name in command.FORWARDED:
    signal.signal(getattr(signal, name), signal.SIG_DFL)
{}"""
"""A program that runs another one through the module under test. Signals that whoever runs the tests ignores,
as a shell does for what it runs in the background, are heard in it."""


def through(statement: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    program = THROUGH.format(textwrap.dedent(statement))
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, **options)


LISTENING = "command.exit_as(command.run(sys.argv[1:], heard.append).status)"
TELLING = "ended = command.run(sys.argv[1:]); print(ended.cpu_time_s, ended.peak_memory_bytes)"
PLAIN = "command.exit_as(command.run(sys.argv[1:]).status)"


@pytest.mark.parametrize("statement", [PLAIN, LISTENING])
@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_exit_status_passes_through(statement, status):
    assert through(statement, "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGINT"])
def test_a_command_that_a_signal_ended_is_seen_to_have_been_ended_by_it(name):
    ended = through(PLAIN, "sh", "-c", f"kill -{name.removeprefix('SIG')} $$")
    assert ended.returncode == -getattr(signal, name)


@pytest.mark.parametrize("statement", [PLAIN, LISTENING])
def test_both_outputs_arrive_byte_by_byte_where_they_went_before(statement):
    shell = r"printf 'one\r\ntwo\0\377'; printf 'three\n' >&2"
    ended = through(statement, "sh", "-c", shell)
    assert (ended.stdout, ended.stderr) == (b"one\r\ntwo\0\377", b"three\n")


def test_more_output_than_a_pipe_holds_arrives_whole():
    ended = through(LISTENING, "sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    assert (len(ended.stdout), len(ended.stderr)) == (3_000_000, 3_000_000)


def test_standard_input_reaches_the_command():
    assert through(LISTENING, "cat", input=b"from outside").stdout == b"from outside"


def test_output_that_something_left_behind_holds_open_is_not_waited_for():
    began = time.monotonic()
    ended = through(LISTENING, "sh", "-c", "sleep 20 & echo done", timeout=15)
    assert ended.stdout == b"done\n" and time.monotonic() - began < 10


def test_a_command_that_writes_to_a_terminal_still_sees_one_of_its_size():
    reading, writing = pty.openpty()
    termios.tcsetwinsize(writing, (45, 123))
    shown = "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), *os.get_terminal_size())"
    program = THROUGH.format(LISTENING)
    with subprocess.Popen(
        [sys.executable, "-c", program, sys.executable, "-c", shown], stdout=writing, stderr=writing
    ) as child:
        seen = b""
        while b"\n" not in seen:
            seen += os.read(reading, 4096)
    assert child.returncode == 0
    assert seen.split() == [b"True", b"True", b"123", b"45"]


def signalled(statement: str, name: str, shell: str) -> tuple[int, bytes]:
    """How a program ends that runs `shell` and gets a signal once that has said `ready`; and its output."""
    with subprocess.Popen(
        [sys.executable, "-c", THROUGH.format(statement), "sh", "-c", shell],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        first = child.stdout.readline()
        child.send_signal(getattr(signal, name))
        rest, _ = child.communicate(timeout=60)
    return child.returncode, first + rest


@pytest.mark.parametrize("name", command.FORWARDED)
def test_a_signal_sent_to_us_reaches_the_command(name):
    short = name.removeprefix("SIG")
    shell = f"trap 'echo caught {short}; exit 5' {short}; echo ready; while :; do sleep 0.05; done"
    assert signalled(PLAIN, name, shell) == (5, f"ready\ncaught {short}\n".encode())


def test_a_command_that_does_not_catch_a_signal_ends_by_it_and_so_do_we():
    status, _ = signalled(LISTENING, "SIGTERM", "echo ready; exec sleep 30")
    assert status == -signal.SIGTERM


def test_what_was_ignored_stays_ignored():
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PLAIN
    status, shown = signalled(ignoring, "SIGHUP", "echo ready; sleep 0.5; echo survived")
    assert (status, shown) == (0, b"ready\nsurvived\n")


def test_the_handlers_of_before_are_back_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    assert command.run(["true"]).status == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_a_command_runs_too():
    found = []
    thread = threading.Thread(target=lambda: found.append(command.run(["sh", "-c", "exit 3"]).status))
    thread.start()
    thread.join()
    assert found == [3]


def test_a_command_that_is_not_there_raises():
    with pytest.raises(FileNotFoundError):
        command.run(["no-such-command-at-all"])


def test_what_a_command_and_its_children_took_is_told():
    code = "import time\nwhile time.process_time() < 0.4: pass\nx = b'x' * 200_000_000"
    twice = f'{sys.executable} -c "{code}"; {sys.executable} -c "{code}"'
    seconds, peak = through(TELLING, "sh", "-c", twice, check=True).stdout.split()
    assert 0.8 <= float(seconds) < 4
    assert 200e6 < int(peak) < 400e6


def test_a_command_smaller_than_this_process_has_no_peak_of_its_own():
    assert through(TELLING, "true", check=True).stdout.split()[1] == b"None"
