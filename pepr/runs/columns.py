"""The columns of a results table and the keys of a record: declared here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METER_OF = "; meter: "
"""Between a machine and its meter, in the hardware of a set where one machine had several meters."""
FIRST = "0.1.0"
"""The version whose tables have every column that is not said to have come later."""


@dataclass(frozen=True)
class Column:
    """A column of `results.csv`, and a key of every record.

    `kind` is `text`, `flag` (true or false), `count` (a whole number) or `number`; `unit` is empty where it
    has none; tables written before version `since` lack it, and it is empty there.
    """

    name: str
    kind: str
    unit: str = ""
    since: str = FIRST


TABLE = (
    Column("run_id", "text"),
    Column("model", "text"),
    Column("dataset", "text"),
    Column("setting", "text"),
    Column("fidelity", "text"),
    Column("pretrained", "flag"),
    Column("train_fraction", "number"),
    Column("seed", "count"),
    Column("image_size", "count", "px"),
    Column("batch_size", "count"),
    Column("epochs", "count"),
    Column("learning_rate", "number"),
    Column("precision", "text"),
    Column("device", "text"),
    Column("num_params", "count"),
    Column("n_train", "count"),
    Column("n_val", "count"),
    Column("n_test", "count"),
    Column("status", "text"),
    Column("failure", "text"),
    Column("test_accuracy", "number"),
    Column("test_accuracy_last_epoch", "number"),
    Column("test_balanced_accuracy", "number"),
    Column("test_auroc", "number"),
    Column("val_accuracy", "number"),
    Column("best_epoch", "count"),
    Column("energy_kwh", "number", "kWh"),
    Column("energy_cpu_kwh", "number", "kWh"),
    Column("energy_gpu_kwh", "number", "kWh"),
    Column("energy_ram_kwh", "number", "kWh"),
    Column("energy_source", "text"),
    Column("energy_validation_kwh", "number", "kWh"),
    Column("energy_inference_kwh", "number", "kWh"),
    Column("idle_power_w", "number", "W"),
    Column("power_limit_w", "number", "W"),
    Column("co2eq_g", "number", "g"),
    Column("carbon_intensity_g_per_kwh", "number", "g/kWh"),
    Column("train_time_s", "number", "s"),
    Column("train_cpu_time_s", "number", "s"),
    Column("inference_time_s", "number", "s"),
    Column("epoch_time_s_first", "number", "s"),
    Column("epoch_time_s_median", "number", "s"),
    Column("peak_memory_bytes", "count", "bytes"),
    Column("memory_source", "text"),
    Column("contended", "flag"),
    Column("software", "text"),
    Column("hardware", "text"),
    Column("test_sensitivity", "number"),
    Column("test_specificity", "number"),
    Column("test_majority_rate", "number"),
    Column("constant_predictor", "flag"),
    Column("validation_time_s", "number", "s"),
    Column("wall_time_s", "number", "s"),
    Column("data_status", "text"),
    Column("weights", "text"),
    Column("largest_batch_size", "count", since="0.1.1"),
    Column("threads", "count", since="0.1.1"),
    Column("runs_at_once", "count", since="0.1.1"),
    Column("speed_probe_s", "number", "s", since="0.1.1"),
    Column("test_quadratic_kappa", "number", since="0.1.1"),
    Column("test_mean_absolute_error", "number", since="0.1.1"),
    Column("n_test_classes", "count", since="0.1.1"),
    Column("split", "count", since="0.1.1"),
    Column("train_loss_last_epoch", "number", since="0.1.1"),
    Column("train_class_entropy", "number", since="0.1.1"),
    Column("water_l", "number", "L", since="0.1.1"),
    Column("water_l_per_kwh", "number", "L/kWh", since="0.1.1"),
    Column("shuffled", "flag", since="0.1.1"),
    Column("init_from", "text", since="0.1.1"),
    Column("init_energy_kwh", "number", "kWh", since="0.1.1"),
)
"""In the order of `results.csv`. Empty means not measured; it never means zero."""
COLUMNS = tuple(column.name for column in TABLE)
LATER_COLUMNS = tuple(column.name for column in TABLE if column.since != FIRST)
KINDS = {column.name: column.kind for column in TABLE}

RECORD_KEYS = {
    "peak_memory_reserved_bytes": "what the CUDA allocator held at its peak, where there is one",
    "speed_probes_s": "of the processor, for the same work before and after training",
    "history": "one entry an epoch: losses, accuracies, seconds, kWh",
    "meter": "the metered windows: train, validation, inference",
    "environment": "packages, processor, cores, memory, commit, command",
    "data_sha256": "of the dataset's source",
    "weights_sha256": "of the pretrained weights",
    "started_at": "UTC",
    "ended_at": "UTC",
    "traceback": "of a failed run",
    "predictions_sha256": "of the run's test probabilities and labels",
    "record_sha256": "of the record itself, without this key",
}
"""What a record keeps beside the columns of the table."""
Record = dict[str, Any]
"""What is kept of a run, as JSON: the columns and these keys, by name."""
