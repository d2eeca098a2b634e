"""The columns of a results table, in order, and what each holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass  # half of what the process around a run would load, which makes no table


COLUMNS = (
    "run_id",
    "model",
    "dataset",
    "setting",
    "fidelity",
    "pretrained",
    "train_fraction",
    "seed",
    "image_size",
    "batch_size",
    "epochs",
    "learning_rate",
    "precision",
    "device",
    "num_params",
    "n_train",
    "n_val",
    "n_test",
    "status",
    "failure",
    "test_accuracy",
    "test_accuracy_last_epoch",
    "test_balanced_accuracy",
    "test_auroc",
    "val_accuracy",
    "best_epoch",
    "energy_kwh",
    "energy_cpu_kwh",
    "energy_gpu_kwh",
    "energy_ram_kwh",
    "energy_source",
    "energy_validation_kwh",
    "energy_inference_kwh",
    "idle_power_w",
    "power_limit_w",
    "co2eq_g",
    "carbon_intensity_g_per_kwh",
    "train_time_s",
    "train_cpu_time_s",
    "inference_time_s",
    "epoch_time_s_first",
    "epoch_time_s_median",
    "peak_memory_bytes",
    "memory_source",
    "contended",
    "software",
    "hardware",
    # Beyond the design's list, appended so that its order holds.
    "test_sensitivity",
    "test_specificity",
    "test_majority_rate",
    "constant_predictor",
    "validation_time_s",
    "wall_time_s",
    "data_status",
    "weights",
    "largest_batch_size",
    "threads",
    "runs_at_once",
    "speed_probe_s",
    "test_quadratic_kappa",
    "test_mean_absolute_error",
    "n_test_classes",
)
"""Columns of `results.csv`, in order. Empty means not measured; it never means zero."""

LATER_COLUMNS = (
    "largest_batch_size",
    "threads",
    "runs_at_once",
    "speed_probe_s",
    "test_quadratic_kappa",
    "test_mean_absolute_error",
    "n_test_classes",
)
"""Columns that tables written before them lack: empty there."""

TEXT_COLUMNS = (
    "run_id",
    "model",
    "dataset",
    "setting",
    "fidelity",
    "precision",
    "device",
    "status",
    "failure",
    "energy_source",
    "memory_source",
    "software",
    "hardware",
    "data_status",
    "weights",
)
FLAG_COLUMNS = ("pretrained", "contended", "constant_predictor")
COUNT_COLUMNS = (
    "seed",
    "image_size",
    "batch_size",
    "epochs",
    "num_params",
    "n_train",
    "n_val",
    "n_test",
    "best_epoch",
    "peak_memory_bytes",
    "largest_batch_size",
    "threads",
    "runs_at_once",
    "n_test_classes",
)
