"""What `pepr measure` adds to a training, by the clock and the processor: bare and wrapped in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pepr.machine.meter import Window, open_meter

TRAINING = """
import sys, time
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.randn(256, 3, 32, 32)
labels = (images.mean((1, 2, 3)) > 0).long()
network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 32, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3, 2), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(64 * 7 * 7, 2),
)
optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
steps, until = int(sys.argv[1]), time.perf_counter() + float(sys.argv[2])
done = 0
while done < steps and time.perf_counter() < until:
    at = 32 * (done % 8)
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(network(images[at : at + 32]), labels[at : at + 32]).backward()
    optimiser.step()
    done += 1
print(f"{done} steps, accuracy {(network(images).argmax(1) == labels).float().mean():.4f}")
"""
"""A training on one thread: so many steps, or what is done of them in so many seconds."""
NAMES = (
    *("bare_s", "wrapped_s", "bare_cpu_s", "wrapped_cpu_s"),
    *("training_s", "training_cpu_s", "bare_kwh", "recorded_kwh"),
)
ANY = 10**9
"""More steps, or seconds, than any training here takes."""


def overhead(seconds: float, rounds: int) -> dict[str, list[float]]:
    """A training of about `seconds`, bare and under `pepr measure`, in turns: a value a round of each.

    A meter that this process opened before is around both. `bare_s` and `wrapped_s` are seconds by the clock,
    `bare_cpu_s` and `wrapped_cpu_s` processor seconds of all processes, `bare_kwh` the energy by that meter;
    `training_s`, `training_cpu_s` and `recorded_kwh` are what the record says of the training alone.
    """
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(TRAINING)
        training = [sys.executable, str(script)]
        said = _quietly([*training, str(ANY), str(seconds)])
        training += [said.split()[0], str(ANY)]
        records = Path(folder) / "measured"
        measure = [sys.executable, "-m", "pepr.cli", "measure", "--device", "cpu", "--results", str(records)]
        wrapped = [*measure, "--performance-from-output", r"accuracy ([\d.]+)", "--", *training]
        for number in range(rounds):
            pair = {"bare": training, "wrapped": wrapped}
            for name in pair if number % 2 == 0 else reversed(pair):
                window = _around(pair[name])
                found[f"{name}_s"].append(window.time_s)
                found[f"{name}_cpu_s"].append(window.cpu_time_s)
                if name == "bare":
                    found["bare_kwh"].append(window.energy_kwh)
            record = json.loads(max(records.glob("runs/*.json"), key=_modified).read_text())
            found["training_s"].append(record["train_time_s"])
            found["training_cpu_s"].append(record["train_cpu_time_s"])
            found["recorded_kwh"].append(record["energy_kwh"])
    return found


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns


def _around(command: list[str]) -> Window:
    meter = open_meter("cpu")
    with meter.window("command"):
        _quietly(command)
    return meter.windows["command"]


def _quietly(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout


def shares(found: Mapping[str, list[float]], kind: str) -> list[float]:
    """What is around the training in a wrapped one, over the training, round by round: by the clock (`s`) or
    in processor time (`cpu_s`). Two trainings alike differ by more; the medians of bare and wrapped ones
    stand beside."""
    pairs = zip(found[f"wrapped_{kind}"], found[f"training_{kind}"], strict=True)
    return [whole / training - 1 for whole, training in pairs]


def energy_ratio(found: Mapping[str, list[float]]) -> float:
    """The recorded energy of the training over that of the bare one by the meter used directly, each for a
    second of it, since the machine's pace differs from one training to the next: median of the rounds."""
    names = ("recorded_kwh", "training_s", "bare_kwh", "bare_s")
    rounds = zip(*(found[name] for name in names), strict=True)
    return statistics.median(
        (recorded / training) / (bare / clock) for recorded, training, bare, clock in rounds
    )
