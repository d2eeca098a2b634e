"""Which column of a table plays which role: by known names, and by the words of others."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pepr.errors import InputError
from pepr.tables.keys import KNOWN_COLUMNS
from pepr.tables.naming import ACCURACY, GRADIENTS, MODEL_NAMES, columns_named, is_named, meaning, tokens_of

EPOCH_COLUMN = re.compile(r"test[ _-](\d+)", re.IGNORECASE)
ALIASES = {
    "model": ("model", "architecture"),
    "setting": ("setting", "dataset"),
    "train_accuracy": ("train_accuracy", "tr_acc"),
    "energy": ("energy_kwh", "energy"),
    "carbon": ("co2eq_g", "co2"),
    "time": ("train_time_s", "train_time"),
    "inference_time": ("inference_time_s", "inf_time"),
    "parameters": ("num_params", "num_param"),
    "n_test": ("n_test",),
    "power_limit": ("power_limit_w",),
    "idle_power": ("idle_power_w",),
    "runs_at_once": ("runs_at_once",),
    "majority_rate": (
        "test_majority_rate",
        "majority_rate",
        "majority_class_rate",
        "majority_share",
        "majority_accuracy",
        "test_majority_accuracy",
        "majority_baseline",
    ),
    "constant_flag": ("constant_predictor",),
    "status": ("status",),
    "run": ("run_id",),
    "country": ("country", "country_iso_code", "country_code", "country_name", "iso_code", "location"),
    "cpu": ("cpu_model", "cpu_name", "cpu", "processor"),
    "gpu": ("gpu_model", "gpu_name", "gpu", "gpu_type", "accelerator"),
    "hardware": ("hardware", "device", "device_name", "machine", "system"),
    "energy_cpu": ("energy_cpu_kwh", "cpu_energy_kwh", "cpu_energy"),
    "energy_gpu": ("energy_gpu_kwh", "gpu_energy_kwh", "gpu_energy"),
    "devices": ("gpu_count", "n_gpus", "num_gpus", "n_gpu", "gpus", "n_devices", "num_devices", "devices"),
    "nodes": ("n_nodes", "num_nodes", "nodes"),
    "predicted_classes": ("predicted_classes", "n_predicted_classes", "distinct_predictions"),
}
"""Names under which a role's column is found, in any spelling: this project's first, then the authors'."""
NAMED_ROLES = {"energy": "energy", "carbon": "carbon", "time": "time"}
"""Roles that a column of any name may play whose words say so, with the quantity of `tables.naming`."""
TEXT_ROLES = ("model", "setting", "status", "constant_flag", "run", "country", "cpu", "gpu", "hardware")
MACHINE_NAMES = (
    "hardware",
    "machine",
    "host",
    "hostname",
    "device",
    "device_name",
    "gpu_model",
    "gpu_name",
    "gpu",
    "gpu_type",
    "accelerator",
    "cpu_model",
    "cpu_name",
    "cpu",
    "processor",
    "node",
    "system",
    "site",
)
"""Columns that tell machines apart."""
SIZE_NAMES = (
    "n_rows",
    "n_train",
    "train_fraction",
    "fraction",
    "n_samples",
    "train_size",
    "epochs",
    "image_size",
    "batch_size",
    "dataset",
    "setting",
    "task",
    "precision",
    "fidelity",
)
"""Columns that tell settings of one model apart."""
REPEATS = frozenset(
    {"seed", "random_seed", "rng_seed", "fold", "split", "run", "run_id", "trial", "id", "index"}
    | {"rep", "repeat", "repetition", "replicate", "restart"}
)
"""Columns that tell runs of the same work apart."""
FINAL_ACCURACY = ("test_accuracy", "accuracy", "test_acc", "acc")
OTHER_ACCURACY = ("test_accuracy_last_epoch",)
MEMORY = ("memA", "memM", "peak_memory_bytes")
KNOWN_NAMES = (
    *(name for names in ALIASES.values() for name in names),
    *(*MODEL_NAMES, *FINAL_ACCURACY, *OTHER_ACCURACY, *MEMORY, *KNOWN_COLUMNS),
)
"""The names by which a column is found whatever its words say."""
DECLARED = frozenset(
    {
        "seed",
        "split",
        "threads",
        "runs_at_once",
        "n_test_classes",
        "image_size",
        "batch_size",
        "epochs",
        "learning_rate",
        "train_fraction",
        "n_train",
        "n_val",
        "n_test",
        "best_epoch",
        "idle_power_w",
        "power_limit_w",
        "carbon_intensity_g_per_kwh",
        "test_majority_rate",
        "num_params",
        "num_param",
        "efficient",
        "cpu_count",
        "gpu_count",
        "longitude",
        "latitude",
        "ram_total_size",
        "ram_power",
        "cpu_power",
        "gpu_power",
        "pue",
        "wue",
        "on_cloud",
        "cost",
        "tdp",
        "n_gpus",
        "num_gpus",
        "n_nodes",
        "num_nodes",
        "experiment_id",
        "classes",
        "num_classes",
        "n_classes",
    }
)
"""Numbers that a study chooses or knows beforehand: they may well be constant, or zero."""


@dataclass(frozen=True)
class Columns:
    """Which column of a table plays which role; None where it has none.

    `performance` are test accuracies in [0, 1], by epoch where the table has every epoch; the last one is
    `final`, the one that results quote. `energy` (kWh) spans `time_factor` times `time` (s). `factors` turn
    a column's unit into these; `assumed` are columns whose role was read from the words of their names.
    """

    model: str
    setting: str | None
    performance: tuple[str, ...]
    memory: tuple[str, ...] = ()
    train_accuracy: str | None = None
    energy: str | None = None
    carbon: str | None = None
    time: str | None = None
    time_factor: float = 1.0
    inference_time: str | None = None
    parameters: str | None = None
    n_test: str | None = None
    power_limit: str | None = None
    idle_power: str | None = None
    runs_at_once: str | None = None
    majority_rate: str | None = None
    constant_flag: str | None = None
    status: str | None = None
    run: str | None = None
    country: str | None = None
    cpu: str | None = None
    gpu: str | None = None
    hardware: str | None = None
    energy_cpu: str | None = None
    energy_gpu: str | None = None
    devices: str | None = None
    nodes: str | None = None
    predicted_classes: str | None = None
    by_epoch: bool = False
    factors: Mapping[str, float] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()

    @property
    def final(self) -> str | None:
        return self.performance[-1] if self.performance else None

    @property
    def names(self) -> list[str]:
        """The columns that play a role."""
        played = [getattr(self, role) for role in ALIASES]
        return [name for name in (*played, *self.performance, *self.memory) if name]


def columns_of(names: Sequence[str], model: str | None = None) -> Columns:
    """Find the roles among a table's column names; `model` names the column of the model, if it is known.

    With columns `test_00`, `test_01`, .. (one an epoch), `train_time` is read as the authors define it:
    seconds of the last epoch, while energy is that of all epochs. Raises InputError without a model
    column or without anything to check.
    """
    found = {role: next(iter(columns_named(names, aliases)), None) for role, aliases in ALIASES.items()}
    found["model"] = model or found["model"] or next(iter(columns_named(names, MODEL_NAMES)), None)
    factors = _assume_by_words(found, names)
    numbers = {name: int(match[1]) for name in names if (match := EPOCH_COLUMN.fullmatch(name))}
    epochs = tuple(sorted(numbers, key=numbers.__getitem__))
    final = next(iter(columns_named(names, FINAL_ACCURACY)), None) or _accuracy_by_words(names)
    others = tuple(columns_named(names, OTHER_ACCURACY))
    performance = epochs or ((*others, final) if final else ())
    if found["model"] is None or found["model"] not in names:
        raise InputError(_no_model(names, model))
    if not performance and found["energy"] is None:
        raise InputError(
            "row 0 (the header): nothing to audit: neither an accuracy nor an energy column, such as "
            f"'accuracy' or 'energy_kwh'; it has {', '.join(names)}"
        )
    of_epoch = epochs and found["time"] is not None and is_named(found["time"], ["train_time"])
    factor = float(len(epochs)) if of_epoch else 1.0
    memory = tuple(columns_named(names, MEMORY))
    return Columns(
        performance=performance,
        memory=memory,
        time_factor=factor,
        by_epoch=len(epochs) >= 3,
        factors={name: factor for name, factor in factors.items() if factor != 1.0},
        assumed=tuple(factors),
        **found,
    )


def _assume_by_words(found: dict[str, str | None], names: Sequence[str]) -> dict[str, float]:
    """Fill the roles of quantities that no known name plays; the factor of each column taken."""
    factors = {}
    for role, quantity in NAMED_ROLES.items():
        said = {name: meaning(name) for name in names} if found[role] is None else {}
        fit = [
            n for n, m in said.items() if m and m.quantity == quantity and m.total and m.factor is not None
        ]
        if fit:
            best = next((name for name in fit if said[name].named), fit[0])
            found[role], factors[best] = best, said[best].factor
    return factors


def _accuracy_by_words(names: Sequence[str]) -> str | None:
    """A column whose words say test accuracy, and neither of training nor of validation."""
    left_out = {
        "train",
        "training",
        "tr",
        "val",
        "validation",
        "loss",
        "balanced",
        "majority",
        "baseline",
        "chance",
        "steps",
        "err",
        "error",
        "std",
        "sd",
    }
    left_out |= GRADIENTS
    fit = [n for n in names if set(tokens_of(n)) & ACCURACY and not set(tokens_of(n)) & left_out]
    return next((name for name in fit if "test" in tokens_of(name)), fit[0] if fit else None)


def _no_model(names: Sequence[str], model: str | None) -> str:
    wanted, known = model or "model", "; name it with --model COLUMN"
    close = [n for n in names if {"model", "architecture", "network", "net", "name"} & set(tokens_of(n))]
    close += difflib.get_close_matches(wanted, names, 1, 0.6)
    if close:
        known = f"; did you mean {close[0]!r}? Then: --model {shlex.quote(close[0])}"
    return f"row 0 (the header): column {wanted!r} is missing{known}; it has {', '.join(names)}"
