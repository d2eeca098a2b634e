"""A GPU is held by one run at a time, by a lock that goes with whoever holds it."""

import fcntl
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from fake_nvml import FakeGpu

from pepr.machine import gpu


def test_a_gpu_is_held_by_one_run_at_a_time(driver):
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb"))
    with gpu.reserved() as first, gpu.reserved() as second:
        assert {first.uuid, second.uuid} == {"GPU-aaaa", "GPU-bbbb"}
        waited = threading.Event()

        def third():
            with gpu.reserved():
                waited.set()

        worker = threading.Thread(target=third)
        worker.start()
        assert not waited.wait(0.1), "both are taken"
    assert waited.wait(2)
    worker.join()


def test_the_lock_of_a_gpu_is_open_for_writing_as_a_network_drive_asks(driver, monkeypatch):
    driver(FakeGpu("GPU-aaaa"))
    modes = []

    def lock(handle, *, wait):
        modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE)
        return True

    monkeypatch.setattr(gpu.files, "lock", lock)
    for _ in range(2):  # the file is made, then found
        with gpu.reserved():
            pass
    assert modes == [os.O_RDWR, os.O_RDWR]


def test_the_lock_of_a_killed_run_is_free(driver, tmp_path):
    driver(FakeGpu("GPU-aaaa"))
    path = tmp_path / "pepr-GPU-aaaa.lock"
    path.touch()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); "
            "print(1, flush=True); time.sleep(60)",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    began = time.perf_counter()
    threading.Timer(0.2, holder.kill).start()
    with gpu.reserved() as held:
        assert held.uuid == "GPU-aaaa" and time.perf_counter() - began > 0.1
    holder.wait()


def test_two_processes_share_out_two_gpus(driver, tmp_path):
    """Six runs on two GPUs, each in a process of its own: never two on one GPU, and both GPUs at work."""
    script = (
        "import sys, tempfile, time; sys.path.insert(0, sys.argv[1])\n"
        "from fake_nvml import FakeGpu, FakeNvml\n"
        "sys.modules['pynvml'] = FakeNvml(FakeGpu('GPU-aaaa'), FakeGpu('GPU-bbbb'))\n"
        "tempfile.tempdir = sys.argv[2]\n"
        "from pepr.machine import gpu\n"
        "with gpu.reserved() as one:\n"
        "    began = time.time(); time.sleep(0.3)\n"
        "    print(one.uuid, began, time.time())\n"
    )
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(here.parent)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(here), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(6)
    ]
    told = [process.communicate()[0].split() for process in running]
    times = {
        uuid: sorted((float(a), float(b)) for name, a, b in told if name == uuid)
        for uuid in ("GPU-aaaa", "GPU-bbbb")
    }
    assert all(times.values()) and sum(map(len, times.values())) == 6
    for uuid, spans in times.items():
        for (_, ended), (began, _) in itertools.pairwise(spans):
            assert began >= ended, uuid
