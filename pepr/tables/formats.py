"""What the tools of this field write: how each is recognised, its columns, its units, and what is a row.

Where a tool could be run, its columns were seen in a file that it wrote (`tests/tables/make_files.py`); the
others are from their own repositories: timm's `results/` and `benchmark.py`, ML.ENERGY's `leaderboard/data`,
the tables behind the AI Energy Score's leaderboard and its `results_aggregator.py`, the metadata of model
cards. The exports of Weights & Biases are made by its web page, and known by those that people published.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from pepr.tables.dialect import MISSING
from pepr.tables.naming import columns_named
from pepr.tables.offline_runs import is_offline_run, read_offline_run

KWH_PER_JOULE = 1 / 3.6e6
HEAD_BYTES = 4096


@dataclass(frozen=True)
class Derived:
    """A study's column from a tool's: the sum of `columns` times `factor`; text as it is without a factor.

    Where a tool writes 0 for what it did not measure, `zero_is_missing`.
    """

    columns: tuple[str, ...]
    factor: float | None = 1.0
    zero_is_missing: bool = False


@dataclass(frozen=True)
class Document:
    """A file that is no table of runs, as one: its header, its rows, and how it was read."""

    header: list[str]
    rows: list[list[str]]
    says: str


Collapse = Callable[[Path, Sequence[str], list[list[str]]], Document]


@dataclass(frozen=True)
class Format:
    """A tool's table: recognised when all of `needs` stand in the header, and nothing of `unless`.

    `run` names the column whose repeated rows are one run going on, so that the last counts; `collapse` makes
    runs of rows that are epochs or steps; `mend_row` fills a row that the tool wrote without its empty cells.
    """

    name: str
    words: str
    needs: frozenset[str]
    columns: Mapping[str, Derived]
    unless: frozenset[str] = frozenset()
    more: Callable[[Sequence[str]], Mapping[str, Derived]] | None = None
    run: str | None = None
    collapse: Collapse | None = None
    mend_row: Callable[[Sequence[str], list[str]], list[str]] | None = None

    def derived(self, header: Sequence[str]) -> dict[str, Derived]:
        """The study's columns that this header can give."""
        found = {n: d for n, d in self.columns.items() if all(column in header for column in d.columns)}
        return {**found, **(self.more(header) if self.more else {})}

    def says(self, header: Sequence[str]) -> str:
        """The one line that says how a table was read."""
        pairs = [
            f"{name} is {' + '.join(d.columns)}" + (f" x {d.factor:g}" if d.factor not in (None, 1.0) else "")
            for name, d in self.derived(header).items()
            if name not in header
        ]
        return f"{self.name} ({self.words}): {', '.join(pairs)}"


def format_of(header: Sequence[str]) -> Format | None:
    """The tool that wrote a table with this header; None for anyone's own."""
    names = set(header)
    for known in FORMATS:
        if known.needs <= names and not known.unless & names:
            return known
    return _epochs_of(header) or _panel_of(header)


def document_of(path: Path) -> Document | None:
    """A carbontracker log, a model card or an offline run as a table of one row; None for any other file."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if is_offline_run(head):
            return _offline_run(path)
        if b"\0" in head:
            return None
        if b"CarbonTracker:" in head:
            return _carbontracker(path)
        if head.startswith(b"---") and path.suffix.lower() in (".md", ".markdown", ".yaml", ".yml"):
            return _model_card(path)
    except OSError:
        return None
    return None


def _text(column: str) -> Derived:
    return Derived((column,), None)


def _codecarbon_row(header: Sequence[str], cells: list[str]) -> list[str]:
    """CodeCarbon 3.0 to 3.2 append rows without the cells that are empty, all after the country."""
    kept = header.index("country_iso_code") + 1 if "country_iso_code" in header else 0
    return cells[:kept] + [""] * (len(header) - kept)


def _mlflow_columns(header: Sequence[str]) -> dict[str, Derived]:
    found: dict[str, Derived] = {}
    for prefix in ("metrics.", "params."):
        for name in header:
            if name.startswith(prefix) and name.removeprefix(prefix) not in {*header, *found, "model"}:
                found[name.removeprefix(prefix)] = _text(name)
    return found


def _zeus_columns(header: Sequence[str]) -> dict[str, Derived]:
    parts = {
        kind: tuple(name for name in header if re.fullmatch(rf"{kind}\d*_energy(\(J\))?", name))
        for kind in ("gpu", "cpu", "dram")
    }
    found = {f"energy_{k}_kwh": Derived(names, KWH_PER_JOULE, True) for k, names in parts.items() if names}
    everything = tuple(name for names in parts.values() for name in names)
    return {"energy_kwh": Derived(everything, KWH_PER_JOULE, True), **found} if everything else {}


def _wandb_columns(header: Sequence[str]) -> dict[str, Derived]:
    return {"seed": _text("Seed")} if "Seed" in header and "seed" not in header else {}


CODECARBON = {
    "model": _text("project_name"),
    "energy_kwh": Derived(("energy_consumed",)),
    "co2eq_g": Derived(("emissions",), 1000.0),
    "train_time_s": Derived(("duration",)),
    "energy_cpu_kwh": Derived(("cpu_energy",), 1.0, True),
    "energy_gpu_kwh": Derived(("gpu_energy",), 1.0, True),
    "energy_ram_kwh": Derived(("ram_energy",), 1.0, True),
    "water_l": Derived(("water_consumed",), 1.0, True),
    "country": _text("country_iso_code"),
}

FORMATS = (
    Format(
        "CodeCarbon's tasks",
        "kWh, kg, seconds; a row is a task",
        frozenset({"task_name", "emissions", "energy_consumed", "duration"}),
        {**CODECARBON, "model": _text("task_name")},
    ),
    Format(
        "CodeCarbon's",
        "kWh, kg, seconds; a run_id's rows are cumulative, so the last counts; parts of 0 were not measured",
        frozenset({"project_name", "emissions", "energy_consumed", "duration"}),
        CODECARBON,
        run="run_id",
        mend_row=_codecarbon_row,
    ),
    *(
        Format(
            "eco2AI's",
            "kWh, kg, seconds; a row is a tracker that was stopped",
            frozenset({"project_name", "duration(s)", energy, "CO2_emissions(kg)"}),
            {
                "model": _text("project_name"),
                "energy_kwh": Derived((energy,), 1.0, True),
                "co2eq_g": Derived(("CO2_emissions(kg)",), 1000.0, True),
                "train_time_s": Derived(("duration(s)",)),
                "run_id": _text("id"),
                "cpu_model": _text("CPU_name"),
                "gpu_model": _text("GPU_name"),
                "country": _text("region/country"),
            },
        )
        for energy in ("power_consumption(kWh)", "power_consumption(kWTh)")
    ),
    Format(
        "Zeus's",
        "joules, seconds; a row is a window",
        frozenset({"start_time", "window_name", "elapsed_time"}),
        {"model": _text("window_name"), "train_time_s": Derived(("elapsed_time",))},
        more=_zeus_columns,
    ),
    Format(
        "MLflow's runs",
        "names without metrics. and params.",
        frozenset({"run_id", "experiment_id", "artifact_uri"}),
        {"model": _text("tags.mlflow.runName")},
        more=_mlflow_columns,
    ),
    Format(
        "Weights & Biases' runs",
        "Runtime in seconds; a row is a run",
        frozenset({"Name", "State", "Created", "Runtime"}),
        {"model": _text("Name"), "status": _text("State"), "train_time_s": Derived(("Runtime",), 1.0, True)},
        more=_wandb_columns,
    ),
    Format(
        "timm's results",
        "top1 and top5 are percentages, param_count millions",
        frozenset({"model", "top1", "top5", "param_count", "img_size"}),
        {
            "test_accuracy": Derived(("top1",), 0.01, True),
            "top5_accuracy": Derived(("top5",), 0.01, True),
            "num_params": Derived(("param_count",), 1e6),
            "image_size": _text("img_size"),
        },
    ),
    *(
        Format(
            f"timm's benchmark of {words}",
            "step time is milliseconds of a batch, param_count millions; samples_per_sec is more, not cost",
            frozenset({"model", f"{kind}_samples_per_sec", f"{kind}_step_time"}),
            {
                f"{words}_step_time_s": Derived((f"{kind}_step_time",), 1e-3, True),
                "batch_size": _text(f"{kind}_batch_size"),
                "image_size": _text(f"{kind}_img_size"),
                "num_params": Derived(("param_count",), 1e6),
            },
        )
        for kind, words in (("train", "training"), ("infer", "inference"))
    ),
    Format(
        "ML.ENERGY's",
        "joules and seconds of one response, on the GPU",
        frozenset({"model", "throughput", "response_length", "latency", "energy"}),
        {
            "energy_kwh": Derived(("energy",), KWH_PER_JOULE, True),
            "inference_time_s": Derived(("latency",)),
        },
    ),
    Format(
        "the AI Energy Score's",
        "kWh of the GPU for 1,000 queries",
        frozenset({"model", "total_gpu_energy"}),
        {"energy_kwh": Derived(("total_gpu_energy",), 1.0, True)},
    ),
    Format(
        "the AI Energy Score's batch",
        "Wh of the GPU, grams and seconds of all prompts; 0 of a model that failed was not measured",
        frozenset(
            {"model_name", "reasoning_state", "gpu_energy_wh", "co2_emissions_g", "total_duration_seconds"}
        ),
        {
            "model": _text("model_name"),
            "energy_kwh": Derived(("gpu_energy_wh",), 1e-3, True),
            "co2eq_g": Derived(("co2_emissions_g",), 1.0, True),
            "inference_time_s": Derived(("total_duration_seconds",), 1.0, True),
        },
    ),
)
"""The tables that are known by their header; the first that fits is taken."""


def _epochs_of(header: Sequence[str]) -> Format | None:
    """A logger's table of one training, whose rows are epochs or steps."""
    if columns_named(header, ("model", "run_id", "name")) or "epoch" not in header:
        return None
    if "step" in header and len(header) > 2:
        return Format("Lightning's log", "rows are steps", frozenset(), {}, collapse=_last_values)
    if header[0] == "epoch" and "loss" in header:
        return Format("Keras's log", "rows are epochs", frozenset(), {}, collapse=_last_values)
    return None


def _last_values(path: Path, header: Sequence[str], rows: list[list[str]]) -> Document:
    """One row: the last value of every column, and how many epochs there were."""
    kept = [name for name in header if name not in ("epoch", "step")]
    last = [_last(row[header.index(name)] for row in rows) for name in kept]
    trained = [name for name in kept if name.startswith("train") or name == "loss"]
    at = [header.index(name) for name in trained] or [0]
    epochs = {row[header.index("epoch")] for row in rows if any(row[i].lower() not in MISSING for i in at)}
    tool = "Lightning's log" if "step" in header else "Keras's log"
    return Document(
        ["model", *kept, "epochs"],
        [[_model_name(path), *last, str(len(epochs))]],
        f"{path.name}: read as {tool} of one training, {_model_name(path)!r}: the last value of every column",
    )


def _last(cells: Iterable[str]) -> str:
    return next((cell for cell in reversed(list(cells)) if cell.lower() not in MISSING), "")


def _model_name(path: Path) -> str:
    """What a log is of: its own name, or that of its folder where every log has the same name."""
    if path.stem not in ("metrics", "log", "history", "training", "README", "emissions"):
        return path.stem
    parents = [parent.name for parent in path.resolve().parents]
    return next((name for name in parents if name and not name.startswith("version_")), path.stem)


def _panel_of(header: Sequence[str]) -> Format | None:
    """A panel of Weights & Biases: an axis, then for each run and metric its value, minimum and maximum."""
    rest = [name for name in header[1:] if " - " in name]
    spans = {f"{name}__{edge}" for name in rest for edge in ("MIN", "MAX")}
    if len(header) < 2 or len(rest) != len(header) - 1 or not spans & set(rest):
        return None
    return Format("a panel of Weights & Biases", "", frozenset(), {}, collapse=_panel)


def _panel(path: Path, header: Sequence[str], rows: list[list[str]]) -> Document:
    """One row a run, or a group of runs, with the last value of each of its metrics; `_step` is none."""
    values: dict[str, dict[str, str]] = {}
    for at, name in enumerate(header):
        if at and not name.endswith(("__MIN", "__MAX", " - _step")):
            run, metric = name.removeprefix("Group: ").rsplit(" - ", 1)
            values.setdefault(run, {})[metric] = _last(row[at] for row in rows)
    metrics = list(dict.fromkeys(metric for found in values.values() for metric in found))
    return Document(
        ["model", *metrics],
        [[run, *(found.get(metric, "") for metric in metrics)] for run, found in values.items()],
        f"{path.name}: read as a panel of Weights & Biases: a row is a run, its last value by {header[0]!r}",
    )


CONSUMPTION = re.compile(
    r"(Actual|Predicted) consumption(?: for (\d+) epoch\(?s?\)?)?:?\s+"
    r"Time:\s*(\d+):(\d+):(\S+)\s+Energy:\s*(\S+) kWh\s+CO2(?:eq)?:\s*(\S+) g",
    re.IGNORECASE,
)


def _carbontracker(path: Path) -> Document | None:
    """The consumption that a carbontracker log states for the epochs that were trained.

    The numbers are read by carbontracker's own parser where that is installed and finds some. The epochs are
    read here: of a training that ended, the parser of 2.4.7 tells one, however many there were.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    stated = {match[1].lower(): match for match in CONSUMPTION.finditer(text)}
    if not stated:
        return None
    which = "actual" if "actual" in stated else "predicted"
    values = _by_carbontracker(text, which)
    reader = ", by its own parser" if values else ""
    values = values or _as_written(stated[which])
    kind = "what was consumed" if which == "actual" else "what was predicted, since the training did not end"
    name = re.sub(r"_?\d{4}-\d\d-\d\dT.*|_?carbontracker.*", "", path.stem) or _model_name(path)
    return Document(
        ["model", "epochs", "train_time_s", "energy_kwh", "co2eq_g"],
        [[name, stated[which][2] or "1", *("" if math.isnan(value) else repr(value) for value in values)]],
        f"{path.name}: read as carbontracker's log{reader}: {kind} (seconds, kWh with its overhead, g)",
    )


def _by_carbontracker(text: str, which: str) -> tuple[float, float, float] | None:
    """Seconds, kWh and grams by carbontracker's parser; None where it is not installed or finds none."""
    try:
        from carbontracker.parser import get_consumption
    except ImportError:
        return None
    try:
        found = dict(zip(("actual", "predicted"), get_consumption(text), strict=True))[which]
        return float(found["duration (s)"]), float(found["energy (kWh)"]), float(found["co2eq (g)"])
    except (ValueError, TypeError, KeyError):  # a log of a form that its parser does not know
        return None


def _as_written(match: re.Match[str]) -> tuple[float, float, float]:
    """The same by the text itself."""
    hours, minutes, seconds, energy, carbon = map(float, match.groups()[2:])
    return 3600 * hours + 60 * minutes + seconds, energy, carbon


def _offline_run(path: Path) -> Document:
    """The name, end, settings and last values of an offline run of Weights & Biases."""
    run = read_offline_run(path)
    told = {name: value for name, value in {**run.config, **run.summary}.items() if not name.startswith("_")}
    row = {
        "model": run.name,
        "status": run.state,
        "train_time_s": repr(run.seconds) if run.seconds else "",
        **{name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()},
    }
    says = (
        f"{path.name}: read as an offline run of Weights & Biases: its settings, the last value of what it "
        "logged, seconds"
    )
    return Document(list(row), [list(row.values())], says)


def _model_card(path: Path) -> Document | None:
    """The emissions, in grams, and the results of a model card's metadata."""
    text = path.read_text(encoding="utf-8", errors="replace").removeprefix("---")
    try:
        card = next(yaml.safe_load_all(text.split("\n---", 1)[0]), None)
    except yaml.YAMLError:
        return None
    if not isinstance(card, dict) or not {"co2_eq_emissions", "model-index"} & set(card):
        return None
    emissions = card.get("co2_eq_emissions")
    details = emissions if isinstance(emissions, dict) else {"emissions": emissions}
    index = [entry for entry in card.get("model-index") or [] if isinstance(entry, dict)]
    row = {
        "model": str(
            card.get("model_name") or next((e.get("name") for e in index), None) or _model_name(path)
        )
    }
    row["co2eq_g"] = str(details.get("emissions", "") if details.get("emissions") is not None else "")
    for name, key in (("country", "geographical_location"), ("hardware", "hardware_used")):
        row[name] = str(details.get(key) or "")
    for metric in _card_metrics(index):
        row.setdefault(str(metric.get("type", "metric")), str(metric.get("value", "")))
    says = f"{path.name}: read as a model card (co2_eq_emissions in grams, as the hub asks for)"
    return Document(list(row), [list(row.values())], says)


def _card_metrics(index: list[dict]) -> list[dict]:
    results = [result for entry in index for result in entry.get("results") or []]
    return [m for result in results for m in result.get("metrics") or [] if isinstance(m, dict)]
