"""What this machine can do for the study, what it lacks, what to do about it, and what would happen now."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from urllib.parse import urlparse

import psutil

from pepr import datasets, models
from pepr.datasets import at_hand
from pepr.datasets.downloads import supplied_files
from pepr.errors import InputError, MeterError
from pepr.files import named_folder, results_root
from pepr.machine import cores, description, gpu, tracker
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store
from pepr.study import forecast, profile as study_profile, workflow

HOSTS = {
    "pretrained weights": "https://huggingface.co",
    "medical images": "https://zenodo.org",
    "the authors' tables": "https://raw.githubusercontent.com",
}
"""What comes from the network, and from where."""
WITHOUT_HOST = {"pretrained weights": "bring a cache of it that was filled elsewhere (HF_HOME)"}
"""What to do without a host, where it is not to put files into `PEPR_DATA`."""


def default_profile() -> tuple[str, str]:
    """The profile for this machine and the reason for it."""
    on_gpu = description.default_device().startswith("cuda")
    if on_gpu and description.gpu_names() and "paper" in study_profile.profile_names():
        return "paper", f"this machine has a GPU ({description.gpu_names()[0]})"
    if on_gpu:
        return "pocket", "the profile for any machine"
    return "pocket", "its GPU is not used" if gpu.all_gpus() else "no CUDA device here"


def report() -> str:
    """One line a finding, then what `make reproduce` would do here.

    A line that starts with `-` names something missing and what to do about it.
    """
    reached = {what: at_hand.answers(url) for what, url in HOSTS.items()}
    lines = [
        f"+ {cores.words()} of the CPU: {description.cpu_model()}",
        _memory_line(),
        *_gpu_lines(),
        *_energy_lines(),
        *(f"- {sentence}" for sentence in filter(None, [tracker.warning()])),
        *(_network_line(what, reached[what]) for what in HOSTS),
        *_data_lines(),
        _results_line(),
        "",
        *_consequences_or_why_none(reached),
    ]
    return "\n".join(lines)


def _consequences_or_why_none(reached: dict[str, bool]) -> list[str]:
    try:
        return consequences(reached)
    except InputError as refused:
        return [f"`make reproduce` would be refused here: {refused}"]


def consequences(reached: dict[str, bool]) -> list[str]:
    """What `make reproduce` would do on this machine: profile, cost, energy, weights, data.

    `reached` says of each entry of `HOSTS` whether its host answers.
    """
    name, why = default_profile()
    device = description.study_device()
    description.chosen_device()  # as `workflow.reproduce` asks, so that its refusal is told here
    profile = study_profile.load(name)
    specs = study_profile.grid(profile, device)
    together = forecast.side_by_side(specs, device)
    announced = workflow.announcement(
        profile, specs, Store(results_root(), name), together=together
    ).splitlines()
    return [
        f"`make reproduce` would run profile {name}: {why}.",
        *(f"  {line}" for line in announced[1:-1]),
        f"  Energy: {_energy_words(device)}",
        *_weights_words(specs, reached["pretrained weights"]),
        *_images_words(specs, reached["medical images"]),
    ]


def _energy_words(device: str) -> str:
    host = (
        "of the CPU measured by its counter, of the memory assumed"
        if description.readable_cpu_counters()
        else "of the CPU estimated from its load, of the memory assumed"
    )
    if device == "mps":
        return "not metered on an Apple GPU, so PePR-T and PePR-M are all there is."
    if not device.startswith("cuda"):
        measured = bool(description.readable_cpu_counters())
        ranked = "PePR-E leads." if measured else "PePR-T leads, since estimated energy is nearly time."
        return f"{host}. {ranked}"
    try:
        source = gpu.EnergyReader(gpu.current(device)).source
    except MeterError as error:
        return f"not to be had: {error}"
    how = "its counter" if source == "counter" else "readings of its power"
    return f"of the GPU measured by {how}, {host}. Idle power is measured for a minute before the first run."


def _weights_words(specs: list[RunSpec], reached: bool) -> list[str]:
    pretrained = [spec for spec in specs if spec.pretrained and spec.model not in models.BASELINES]
    packaged = [spec for spec in pretrained if spec.model in models.OFFLINE_WEIGHTS]
    others = len(pretrained) - len(packaged)
    if not pretrained:
        return ["  Weights: every run starts from random ones."]
    words = f"  Weights: {len(packaged):,} runs take ImageNet weights from packages"
    if not others:
        return [f"{words}; none needs a network."]
    if reached:
        return [f"{words}, {others:,} download them."]
    return [
        f"{words}. {others:,} need weights from a host that is not reached: where its cache has none, they "
        "become rows that say `model_unavailable`. PRETRAINED=no trains them from scratch instead."
    ]


def _images_words(specs: list[RunSpec], reached: bool) -> list[str]:
    lines = []
    for dataset, runs in Counter(spec.dataset for spec in specs).items():
        declared = datasets.find(dataset)
        if declared.at_hand():
            fate = "at hand"
        elif declared.downloadable and reached:
            fate = "to be downloaded, and checked"
        else:
            fate = f"not at hand: {runs:,} runs become rows that say `data_unavailable`"
        lines.append(f"  Images: {dataset}, {runs:,} runs: {fate}.")
    return lines


def _memory_line() -> str:
    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    if free < 4:
        return f"- {free:.1f} of {total:.1f} GiB of memory free: pocket needs 4; close other programs"
    return f"+ {free:.1f} of {total:.1f} GiB of memory free"


def _gpu_lines() -> list[str]:
    try:
        gpus = description.gpu_names()
    except InputError as refused:
        return [f"- {refused}"]
    if gpus:
        lines = [f"+ GPU: {name}" for name in gpus]
        lines += [f"- {sentence}" for sentence in filter(None, [gpu.left_out()])]
        if reason := description.why_torch_has_no_gpu():
            lines.append(
                f"- torch cannot use the GPU ({reason}): install the build of torch that belongs to this "
                "driver, see https://pytorch.org/get-started; until then no run can use it"
            )
        return lines
    return ["- no NVIDIA GPU: the paper's grid is made for one, pocket for machines without"]


def _energy_lines() -> list[str]:
    if description.readable_cpu_counters():
        return ["+ CPU energy counter (RAPL): energy is measured"]
    if description.cpu_counters():
        return [
            f"- CPU energy counter not readable: `sudo chmod a+r {description.RAPL}/*/energy_uj`; until then "
            "CPU energy is an estimate from load"
        ]
    return [
        "- no CPU energy counter (usual in a virtual machine): CPU energy is an estimate from load, memory "
        "an assumption; rank by time, energy is shown as estimated"
    ]


def _results_line() -> str:
    root = results_root()
    there = next((path for path in (root, *root.parents) if os.access(path, os.F_OK)), root)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return f"- results cannot be written to {root}: name a folder that you may write with PEPR_RESULTS"
    return f"+ results go to {root}"


def _network_line(what: str, reached: bool) -> str:
    host = urlparse(HOSTS[what]).hostname
    if not reached:
        remedy = WITHOUT_HOST.get(what, "put files into $PEPR_DATA")
        return f"- {host} not reached ({what}): pocket does not need it; else {remedy}"
    return f"+ {host} reached ({what})"


def _data_lines() -> list[str]:
    declared = {pattern for dataset in datasets.DATASETS.values() for pattern in dataset.files}
    patterns = ("published/*.csv", *sorted(declared))
    kinds = ", ".join(
        sorted({str(Path(pattern).parent / f"*{Path(pattern).suffix}") for pattern in patterns})
    )
    folder = named_folder("PEPR_DATA")
    if not folder:
        return [
            f"- PEPR_DATA is not set: files of your own are looked for in the folder that it names ({kinds})"
        ]
    found = [str(path.relative_to(folder)) for pattern in patterns for path in supplied_files(pattern)]
    if not found:
        return [f"- PEPR_DATA={folder} holds none of {kinds}"]
    return [f"+ in PEPR_DATA: {', '.join(found)}"]
