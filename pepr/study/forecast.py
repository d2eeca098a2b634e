"""What a grid of runs will take before it starts, and how many go on at once: from runs that were measured,
else from the cost model."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import heapq
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pepr import grids
from pepr.costs import model, swept
from pepr.errors import InputError
from pepr.files import results_root
from pepr.machine import cores, gpu
from pepr.models import atlas
from pepr.models.space import BASELINES
from pepr.runs.columns import Record
from pepr.runs.results import Results, reference_folder
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store
from pepr.study.profile import Profile

BYTES_PER_RUN = 17_000
"""Record (3.9 kB) and executed notebook (12.5 kB) of a run of `smoke`, as written, and an archive's frame."""
BYTES_PER_PROBABILITY = 4
PROCESS_BYTES = 600_000_000
"""What the processes of a run hold besides its model: PyTorch with timm about 450 MB of its own, the process
around the notebook about 70 MB, as seen on Linux."""
RESIDENT_FACTOR = 1.4
"""Resident memory of a training on a CPU over the forecast of what an allocator hands out: at most 1.33 among
the shipped runs of `pocket`."""
LONGEST_GAP_S = 60.0
"""What lies further apart than so many seconds were two sessions."""


@dataclass(frozen=True)
class Forecast:
    """What a grid is expected to take, before it starts: hours, kWh and grams of CO2-eq of the whole runs,
    with what they may be instead; bytes on disk. `elapsed_hours` is until the last run has ended, where
    `runs_at_once` go on side by side (see `elapsed_s`); `hours` adds up the runs.

    Baselines that were not measured take seconds, and are left out.

    `measured` runs are taken from their like, `predicted` ones from the cost model, and `unknown` ones are
    held to be like the mean of the others. Hours, energy and carbon are None where nothing is known; a
    measured run whose energy was not metered is left out of it. Carbon is of the user's grid
    (`$PEPR_COUNTRY`), whatever grid a measured run was on.
    `basis` says where the figures come from and for which hardware they hold.
    """

    profile: str
    runs: int
    runs_per_seed: int
    hours: float | None
    hours_low: float | None
    hours_high: float | None
    elapsed_hours: float | None
    runs_at_once: int
    energy_kwh: float | None
    energy_kwh_low: float | None
    energy_kwh_high: float | None
    co2eq_g: float | None
    disk_bytes: int
    measured: int
    predicted: int
    unknown: int
    basis: str


@dataclass(frozen=True)
class SideBySide:
    """`runs` go on at once, each with `threads` threads on the CPU; `words` says so and why, for a person."""

    runs: int
    threads: int
    words: str


@dataclass(frozen=True)
class _Cost:
    """Seconds and kWh of one run, each as (expected, low, high); no kWh of a run that was not metered."""

    seconds: tuple[float, float, float]
    energy_kwh: tuple[float, float, float] | None


def forecast(
    profile: Profile,
    specs: Iterable[RunSpec],
    device: str | None = None,
    runs_at_once: int = 1,
    taught_by: Iterable[RunSpec] = (),
) -> Forecast:
    """Expect of each run what it took here, or in the shipped reference, or what the cost model predicts.

    `specs` are in the order in which they start; what was measured of them corrects the predictions of the
    others, and so does what was measured of the runs that it is `taught_by`. Predictions hold for the
    `device` of this machine where `pepr calibrate` has measured that; else for the two cores of the shipped
    runs where it is a CPU, or for the authors' GPU, as they do where it is None: that of some other machine.
    """
    specs = list(specs)
    own = _finished(Store(results_root(), profile.name).records())
    seen = {**reference_records(profile.name), **own}
    of_all = {spec: _measured(seen[key(spec)]) for spec in [*specs, *taught_by] if key(spec) in seen}
    measured = {spec: of_all[spec] for spec in specs if spec in of_all}
    hardware = hardware_for(device)
    predicted = {
        spec: found
        for spec in specs
        if spec not in measured and (found := predicted_cost(spec, hardware)) is not None
    }
    factors = _factors(of_all, hardware)
    predicted = {spec: _scaled(run, factors) for spec, run in predicted.items()}
    expected = measured | predicted
    known = list(expected.values())
    first_seed = min(spec.seed for spec in specs)
    light = [spec for spec in specs if spec.model in BASELINES and spec not in measured]
    unknown = len(specs) - len(known) - len(light)
    hours = [_total(known, "seconds", part, unknown, 3600) for part in range(3)]
    energies = [_total(known, "energy_kwh", part, unknown, 1) for part in range(3)]
    intensity, _ = grids.carbon_intensity()
    usual = statistics.fmean(run.seconds[0] for run in known) if known else 0.0
    if predicted and device is None:  # for another machine, of which nothing is known but one run
        runs_at_once = 1
    in_order = [
        expected[spec].seconds[0] if spec in expected else 0.0 if spec in light else usual for spec in specs
    ]
    return Forecast(
        profile=profile.name,
        runs=len(specs),
        runs_per_seed=sum(spec.seed == first_seed for spec in specs),
        hours=hours[0],
        hours_low=hours[1],
        hours_high=hours[2],
        elapsed_hours=elapsed_s(in_order, runs_at_once) / 3600 if known else None,
        runs_at_once=runs_at_once,
        energy_kwh=energies[0],
        energy_kwh_low=energies[1],
        energy_kwh_high=energies[2],
        co2eq_g=None if energies[0] is None or intensity is None else energies[0] * intensity,
        disk_bytes=sum(BYTES_PER_RUN + _prediction_bytes(spec) for spec in specs),
        measured=len(measured),
        predicted=len(predicted),
        unknown=unknown,
        basis=_basis(specs, seen, measured, predicted, hardware, bool(factors)),
    )


def elapsed_s(took: Iterable[float], runs_at_once: int) -> float:
    """Seconds until the last of some runs has ended, of which each `took` so many and which start in this
    order, `runs_at_once` side by side: with what lies between two, and with places that are empty at the end.
    """
    free = [0.0] * runs_at_once
    for seconds in took:
        heapq.heapreplace(free, free[0] + between_runs_s() + seconds)
    return max(free)


@functools.cache
def between_runs_s() -> float:
    """Seconds for which a place stays empty between two runs, as in the shipped runs of `pocket`."""
    return median_gap_s(Results("pocket", "reference", reference_folder("pocket")).records())


def median_gap_s(records: Iterable[Mapping[str, Any]]) -> float:
    """Seconds between the end of a run and the start of the next one in its place, while the processes of
    that one start: the median, breaks between two sessions aside."""
    ended: list[float] = []
    gaps = []
    for record in sorted(records, key=lambda record: record["started_at"]):
        began, end = (
            datetime.datetime.fromisoformat(record[f"{name}_at"]).timestamp() for name in ("started", "ended")
        )
        if before := [moment for moment in ended if moment <= began]:
            gaps.append(began - max(before))
            ended.remove(max(before))
        ended.append(end)
    return statistics.median(gap for gap in gaps if gap < LONGEST_GAP_S)


def _total(known: list[_Cost], quantity: str, part: int, alike: int, unit: float) -> float | None:
    """Of the runs that have a quantity, with so many more that are held to be like their mean, if any has."""
    values = [value[part] for run in known if (value := getattr(run, quantity)) is not None]
    return (1 + alike / len(values)) * sum(values) / unit if values else None


def _measured(record: Mapping[str, Any]) -> _Cost:
    kwh = whole_energy_kwh(record)
    return _Cost((record["wall_time_s"],) * 3, None if kwh is None else (kwh,) * 3)


def memory_bytes(spec: RunSpec) -> int:
    """What the processes of a run on a CPU may hold; of a model whose shapes are not known, what they hold
    without one."""
    entry = atlas.read().get((spec.model, spec.image_size))
    if entry is None:
        return PROCESS_BYTES
    # How many images there are is no matter: they are a map of a file.
    return PROCESS_BYTES + round(RESIDENT_FACTOR * model.peak_memory(entry, job_of(spec, (1, 1))))


def side_by_side(specs: Iterable[RunSpec], device: str, asked: int | None = None) -> SideBySide:
    """How many runs of a grid go on at once, whichever of them are done: one a core on a CPU, one a GPU where
    there are some; fewer where the grid has no more, where `asked` for, or held by memory.

    Raises InputError where `asked` is below 1.
    """
    if asked is not None and asked < 1:
        raise InputError(f"RUNS={asked}: at least one run goes on at a time")
    specs, whole = list(specs), cores.whole()
    on_gpu = device != "cpu"
    if on_gpu:
        gpus = len(gpu.alike()) if device.startswith("cuda") else 1
        places, each = max(min(gpus, whole), 1), "each on a GPU of its own"
    else:
        places, each = whole, "each with one thread on a core of its own"
    most = max(min(places, len(specs)), 1)
    runs, why = min(most, asked or most), ""
    if asked and asked > places:
        named = cores.words() if places == whole else f"{gpus} GPUs"
        why = f" RUNS={asked} is more than the {named} of this machine."
    elif asked and asked > most:
        why = f" RUNS={asked} is more than the grid has."
    elif asked and asked < most:
        why = f" RUNS={asked} was asked for; {most} would find a place."
    if not on_gpu:
        fitting = _fitting(specs, runs)
        if fitting < runs:
            need = sum(sorted(map(memory_bytes, specs))[-runs:])
            why = (
                f" {runs} at once may need {need / 1e9:.1f} GB by the forecast of their memory, and "
                f"{cores.free_memory() / 1e9:.1f} GB are free."
            )
            runs = fitting
    threads = max(whole // runs, 1) if on_gpu else 1
    how = f"{runs} runs at once, {each}." if runs > 1 else f"One run at a time, with {_threads(threads)}."
    hint = " RUNS=1: one after the other." if runs > 1 else ""
    return SideBySide(runs, threads, f"{how}{why}{hint}")


def job_of(spec: RunSpec, images: tuple[int, int]) -> model.Job:
    """A run as the cost model takes it, with its training and test images."""
    return model.Job(
        setting=None,
        train_images=max(int(images[0] * spec.train_fraction), 1),
        test_images=images[1],
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        image_size=spec.image_size,
        precision=spec.precision,
    )


@dataclass(frozen=True)
class Elsewhere:
    """What so many runs of a grid would take on a machine that is not here, one at a time."""

    machine: str
    runs: int
    seconds: float
    energy_kwh: float


def on_the_authors_gpu(specs: Iterable[RunSpec]) -> Elsewhere:
    """A grid on the authors' machine, by the cost model, as far as it can be predicted."""
    machine, found = model.reference_hardware(), []
    for spec in specs:
        images, entry = image_counts(spec.dataset), atlas.read().get((spec.model, spec.image_size))
        if images and entry:
            found.append(model.predict(entry, model.checked(job_of(spec, images)), machine))
    return Elsewhere(
        machine.described,
        len(found),
        sum(run.train_time_s for run in found),
        sum(run.energy_wh for run in found) / 1000,
    )


def predicted_cost(spec: RunSpec, hardware: model.Hardware) -> _Cost | None:
    """By the cost model; None where the size of the data or the shapes of the model are not known."""
    images = image_counts(spec.dataset)
    entry = atlas.read().get((spec.model, spec.image_size))
    if images is None or entry is None:
        return None
    job = job_of(spec, images)
    measured = _swept(spec, job)
    found = swept.predict(measured, job) if measured else model.predict(entry, model.checked(job), hardware)
    seconds = (found.train_time_s, found.train_time_s_low, found.train_time_s_high)
    wh = (found.energy_wh, found.energy_wh_low, found.energy_wh_high)
    return _Cost(seconds, tuple(value / 1000 for value in wh))


def _swept(spec: RunSpec, job: model.Job) -> Mapping[str, Any] | None:
    """The measured step of a run's model, its energy too, where this machine has been swept under the run's
    conditions."""
    sweep = swept.of_job(job)
    row = sweep.row(spec.model) if sweep and sweep.conditions.device == spec.device else None
    return row if row and swept.metered(row) else None


def _factors(measured: Mapping[RunSpec, _Cost], hardware: model.Hardware) -> dict[str, list[float]]:
    """How many times what was predicted for them the measured runs took, in order: seconds, and the energy of
    those that were metered, if any was."""
    pairs = [(run, found) for spec, run in measured.items() if (found := predicted_cost(spec, hardware))]
    factors = {
        name: sorted(own[0] / getattr(found, name)[0] for run, found in pairs if (own := getattr(run, name)))
        for name in ("seconds", "energy_kwh")
    }
    return {name: found for name, found in factors.items() if found}


def _scaled(run: _Cost, factors: Mapping[str, list[float]]) -> _Cost:
    """A prediction as the measured runs teach it: times their median factor, between least and greatest."""
    if not factors:
        return run
    taught = {
        name: tuple(getattr(run, name)[0] * factor for factor in (statistics.median(all_), all_[0], all_[-1]))
        for name, all_ in factors.items()
    }
    return dataclasses.replace(run, **taught)


def image_counts(dataset: str) -> tuple[int, int] | None:
    """Training images and test images of a dataset, as it declares them; None where only its file tells."""
    from pepr import datasets

    counts = datasets.find(dataset).counts
    return counts and (counts["train"], counts["test"])


def _prediction_bytes(spec: RunSpec) -> int:
    """Test probabilities as written: float32, which hardly compresses."""
    from pepr import datasets

    images = image_counts(spec.dataset)
    return images[1] * len(datasets.find(spec.dataset).classes) * BYTES_PER_PROBABILITY if images else 0


def hardware_for(device: str | None) -> model.Hardware:
    """A device of this machine as `pepr calibrate` measured it; else the shipped cores on a CPU, or the
    authors' GPU. Of the nodes of a cluster (None) a calibration of this machine says nothing."""
    from pepr.costs import calibration

    if device and (found := calibration.of_device("here", device)):
        return found
    return calibration.saved(calibration.SHIPPED) if device == "cpu" else model.reference_hardware()


def _basis(
    specs: list[RunSpec],
    seen: Mapping[tuple, Mapping[str, Any]],
    measured: Mapping[RunSpec, _Cost],
    predicted: Mapping[RunSpec, _Cost],
    hardware: model.Hardware,
    taught: bool,
) -> str:
    parts = []
    if measured:
        records = [seen[key(spec)] for spec in measured]
        machines = sorted({record["hardware"] for record in records})
        sources = sorted({record["energy_source"] or "no meter" for record in records})
        parts.append(
            f"{len(measured)} of {len(specs)} runs measured on {' and '.join(machines)}; "
            f"energy by {', '.join(sources)}"
        )
    if predicted and taught:
        parts.append(
            f"{len(predicted)} of {len(specs)} runs predicted, by what those that were measured took of "
            "their own predictions: in the middle, at least and at most"
        )
    elif predicted:
        sure = (
            f"whose own models, each left out in turn, are missed by a factor of {hardware.spread:.2f} at "
            "worst, others and other image sizes by more"
            if hardware.costs
            else "90% of runs lying between the low and the high of their own"
        )
        steps = sum(_swept(spec, job_of(spec, image_counts(spec.dataset))) is not None for spec in predicted)
        if steps:
            parts.append(f"{steps} of {len(specs)} runs predicted by steps that `pepr sweep` measured here")
        if steps < len(predicted):
            parts.append(
                f"{len(predicted) - steps} of {len(specs)} runs predicted for {hardware.described}, {sure}; "
                "loading of images and models comes on top"
            )
    light = sum(spec.model in BASELINES and spec not in measured for spec in specs)
    rest = len(specs) - len(measured) - len(predicted) - light
    if light and (parts or light == len(specs)):
        parts.append(f"{light} baselines take seconds, and are left out")
    if rest and parts:
        parts.append(f"{rest} held to be like the mean of the others")
    return "; ".join(parts) or "no run of this profile was measured yet, and none can be predicted"


def whole_energy_kwh(record: Mapping[str, Any]) -> float | None:
    """Energy of all windows of a run, in kWh: training, validation and inference; None where it was not
    metered, as on an Apple GPU."""
    energies = [window["energy_kwh"] for window in record["meter"].values()]
    return None if None in energies else sum(energies)


def key(run: RunSpec | Mapping[str, Any]) -> tuple:
    """What makes two runs cost the same: the work, not the device, the split or what a run starts from."""
    values = run.as_dict() if isinstance(run, RunSpec) else run
    names = (
        "model",
        "setting",
        "seed",
        "train_fraction",
        "image_size",
        "batch_size",
        "epochs",
        "precision",
        "fidelity",
    )
    return tuple(values[name] for name in names)


def reference_records(profile: str) -> dict[tuple, Record]:
    """The finished records of a shipped reference by `key`; empty where none ships."""
    return _finished(Results(profile, "reference", reference_folder(profile)).records())


def _finished(records: Iterable[Record]) -> dict[tuple, Record]:
    return {key(record): record for record in records if record["status"] == "ok"}


def seconds_left(
    specs: Iterable[RunSpec],
    done: Mapping[str, Mapping[str, Any]],
    measured: Mapping[tuple, Mapping[str, Any]],
    runs_at_once: int = 1,
) -> float | None:
    """Seconds until the runs not yet in `done` (run_id to record) have ended, `runs_at_once` side by side.

    None before anything is known of a network.

    A run is expected to take what it took in the reference, `measured`; else what the cost model predicts, as
    the runs of the reference and of `done` teach it; else the mean of those runs. All of it is scaled by how
    much faster or slower than expected this machine was so far. A run that failed says nothing of that. A
    baseline that was never measured takes no more than its launch.
    """
    specs = list(specs)
    networks = [spec for spec in specs if spec.model not in BASELINES]
    sound = {run_id: record for run_id, record in done.items() if record.get("status") != "failed"}
    ended = {spec: sound[spec.run_id] for spec in networks if sound.get(spec.run_id, {}).get("wall_time_s")}
    known = {**ended, **{spec: measured[key(spec)] for spec in networks if key(spec) in measured}}
    if not known:
        return None
    usual = statistics.fmean(record["wall_time_s"] for record in known.values())

    @functools.cache
    def lesson() -> tuple[model.Hardware, tuple[float, float] | None]:
        hardware = hardware_for(networks[0].device)
        return hardware, _taught(known, hardware)

    def expected(spec: RunSpec) -> float:
        if key(spec) in measured:
            return measured[key(spec)]["wall_time_s"]
        if spec.model in BASELINES:
            return 0.0
        hardware, taught = lesson()
        predicted = taught and predicted_cost(spec, hardware)
        return taught[0] + taught[1] * predicted.seconds[0] if predicted else usual

    took = sum(record["wall_time_s"] for record in ended.values())
    ratio = took / sum(map(expected, ended)) if ended else 1.0
    left = [ratio * expected(spec) for spec in specs if spec.run_id not in done]
    return elapsed_s(left, runs_at_once)


def _taught(
    known: Mapping[RunSpec, Mapping[str, Any]], hardware: model.Hardware
) -> tuple[float, float] | None:
    """Seconds of a run outside its training, and how many times its prediction the training took: medians."""
    pairs = [
        (record, predicted.seconds[0])
        for spec, record in known.items()
        if record.get("train_time_s") and (predicted := predicted_cost(spec, hardware))
    ]
    if not pairs:
        return None
    outside = statistics.median(record["wall_time_s"] - record["train_time_s"] for record, _ in pairs)
    return outside, statistics.median(record["train_time_s"] / predicted for record, predicted in pairs)


def _fitting(specs: list[RunSpec], most: int) -> int:
    """How many runs, whichever meet, find room in the free memory: at least one, at most `most`."""
    largest, room = sorted(map(memory_bytes, specs), reverse=True), cores.free_memory()
    return max((count for count in range(1, most + 1) if sum(largest[:count]) <= room), default=1)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"
