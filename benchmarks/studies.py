"""Whole studies: `make reproduce` of an earlier commit and of this one, alone and beside a busy loop."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

from benchmarks.contention import beside
from pepr.machine import cores

CHECKOUT = Path(__file__).parents[1]
BEFORE = "e3841cd"
"""The last commit whose runs take turns, each with a thread on every core; both build its `pocket`."""
PROFILE = "pepr/profiles/pocket.yaml"
PART = {"MODELS": "mobilenetv2_050", "SETTINGS": "elpv"}
"""Of `pocket` beside a busy loop: the whole of it would take the earlier commit hours."""
PATIENCE = 7
"""So many times as long as this commit takes the earlier one may take beside a busy loop; then it is stopped,
and what it takes is known from below."""
GRACE_S = 30.0
"""A study that is stopped has so long to end by itself."""
STARTS = {
    "title": "Short runs that are little but their start-up",
    "needs": "Nothing but the installed packages.",
    "image_size": 32,
    "epochs": 1,
    "timeout_minutes": 20,
    "settings": {"elpv_small": {"dataset": "elpv", "pretrained": False, "train_fraction": 0.1}},
}
"""A profile of both commits, less its runs."""
STARTED, MOST_SEEDS = "mobilenetv2_050", 12
"""The runs of that profile are of this small network, one for each of so many seeds."""
LEARNING = ("train_time_s", "validation_time_s", "inference_time_s")
"""The columns of both commits' results that are training and evaluation; the rest of a run is its start."""


@dataclass(frozen=True)
class Build:
    """A checkout with an environment of its own."""

    folder: Path

    def study(self, profile: Path, subset: dict[str, str], limit_s: float | None = None) -> dict[str, float]:
        """`make reproduce` in a fresh folder of results: `wall_s`, and `cpu_s` of the whole machine; where it
        was stopped after `limit_s`, what it took until then, and `stopped`. Raises RuntimeError."""
        shutil.rmtree(self.folder / "results", ignore_errors=True)
        shutil.rmtree(self.folder / "_build", ignore_errors=True)
        command = [
            "make",
            "reproduce",
            f"PROFILE={profile}",
            *(f"{key}={value}" for key, value in subset.items()),
        ]
        log = self.folder / "reproduce.log"
        began, worked = time.perf_counter(), machine_cpu_s()
        with log.open("w") as stream:
            done = subprocess.Popen(
                command, cwd=self.folder, stdout=stream, stderr=stream, start_new_session=True, env=_plain()
            )
            try:
                status = done.wait(limit_s)
            except subprocess.TimeoutExpired:
                status = None
                _end(done)
        took = {"wall_s": time.perf_counter() - began, "cpu_s": machine_cpu_s() - worked}
        if status:
            raise RuntimeError(f"{' '.join(command)} in {self.folder}: {log.read_text()[-2000:]}")
        return took if status == 0 else {**took, "stopped": 1.0}

    def runs(self) -> dict[str, float]:
        """Of the study that is there: wall seconds of all its runs, added up, and of their training and
        evaluation."""
        table = pd.read_csv(self.folder / "results" / "pocket" / "results.csv")
        return {
            "runs_s": float(table["wall_time_s"].sum()),
            "learning_s": float(table[list(LEARNING)].sum().sum()),
        }


def measure() -> dict[str, Any]:
    """Studies of both commits, `before` and `now`: `whole` is `pocket` on the machine alone, with what its
    runs took (see `Build.runs`); `busy` a part of it beside a busy loop; `start_cpu_s` the processor seconds
    of one more short run, its few steps included."""
    with tempfile.TemporaryDirectory() as folder, _builds(Path(folder)) as builds:
        few, many = short_profiles(Path(folder))
        starts = {name: _start_cpu_s(build, few, many) for name, build in builds.items()}
        profile = Path(folder) / "pocket.yaml"
        profile.write_text(_git("show", f"{BEFORE}:{PROFILE}"))
        whole = {name: builds[name].study(profile, {}) | builds[name].runs() for name in ("before", "now")}
        with beside("one busy loop"):
            busy = {"now": builds["now"].study(profile, PART)}
            busy["before"] = builds["before"].study(profile, PART, PATIENCE * busy["now"]["wall_s"])
    return {
        "before": BEFORE,
        "now": _git("rev-parse", "--short", "HEAD").strip(),
        "part": PART,
        "cores": cores.whole(),
        "whole": whole,
        "busy": busy,
        "start_cpu_s": starts,
    }


def ratios(found: Mapping[str, Any]) -> tuple[float, float, float]:
    """What this commit takes over the earlier one: a whole study, a part of it beside a busy loop, a start;
    where a study was stopped, the ratio is at most that."""
    timed = [found[name]["now"]["wall_s"] / found[name]["before"]["wall_s"] for name in ("whole", "busy")]
    return timed[0], timed[1], found["start_cpu_s"]["now"] / found["start_cpu_s"]["before"]


def _start_cpu_s(build: Build, few: Path, many: Path) -> float:
    """Processor seconds of each run that `many` has beyond the one of `few`."""
    build.study(few, {})  # compiles the libraries' code, and fetches the images
    return (build.study(many, {})["cpu_s"] - build.study(few, {})["cpu_s"]) / (MOST_SEEDS - 1)


def short_profiles(folder: Path) -> tuple[Path, Path]:
    """A study of one short run, and one of more of the same network: with several networks this commit would
    time them in turn as well."""
    paths = []
    for name, seeds in (("few", 1), ("many", MOST_SEEDS)):
        runs = {"models": [STARTED], "settings": ["elpv_small"], "seeds": list(range(seeds))}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**STARTS, "runs": [runs]}))
        paths.append(path)
    return paths[0], paths[1]


@contextlib.contextmanager
def _builds(folder: Path) -> Iterator[dict[str, Build]]:
    """Both commits checked out and installed, each as the README says."""
    builds = {name: Build(folder / name) for name in ("before", "now")}
    try:
        for build, commit in zip(builds.values(), (BEFORE, "HEAD"), strict=True):
            _git("worktree", "add", "--detach", str(build.folder), commit)
            subprocess.run(["make", "setup"], cwd=build.folder, check=True, capture_output=True, env=_plain())
        yield builds
    finally:
        for build in builds.values():
            subprocess.run(["git", "worktree", "remove", "--force", build.folder], cwd=CHECKOUT, check=False)


def _plain() -> dict[str, str]:
    """This process's environment without what would lead a checkout to another's packages or threads."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "PEPR_RESULTS", "MAKEFLAGS", "MAKELEVEL"}
    own = str(Path(sys.executable).parent)
    path = [part for part in os.environ["PATH"].split(os.pathsep) if part != own]
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return {**kept, "PATH": os.pathsep.join(path)}


def machine_cpu_s() -> float:
    """Processor seconds that all programs of this machine have taken since its start."""
    times = psutil.cpu_times()
    return times.user + times.system + getattr(times, "nice", 0.0)


def _end(process: subprocess.Popen) -> None:
    """End a study with all of its processes: first as Ctrl-C does."""
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    for one in [*family, process]:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            one.kill()
    process.wait()


def _git(*arguments: str) -> str:
    """What git says. Raises RuntimeError for a checkout without its history."""
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"git {' '.join(arguments)}: {done.stderr.strip()}; this part wants the whole history"
        )
    return done.stdout
