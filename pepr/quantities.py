"""Every resource and measure of the study: letter, column, words, unit and how it is known."""

from __future__ import annotations

RESOURCES = {"E": "energy_kwh", "C": "co2eq_g", "T": "train_time_s", "M": "peak_memory_bytes"}
MEASURES = {measure: f"test_{measure}" for measure in ("accuracy", "balanced_accuracy", "auroc")}
SHARED_CPU_CHANGES = ("E", "C", "T")
"""Resources that a contended run cannot be ranked by."""
MEASURED_KINDS = ("counter", "sampled_power")


def component_sources(text: str | None) -> dict[str, str]:
    """`gpu:counter;cpu:load_model` as {"gpu": "counter", "cpu": "load_model"}; empty when unknown."""
    if not isinstance(text, str):
        return {}
    return dict(part.split(":", 1) for part in text.split(";") if ":" in part)


def energy_is_estimated(energy_source: str | None) -> bool:
    """True unless the component that did the work (the module, the GPU, else the CPU) was metered."""
    sources = component_sources(energy_source)
    return sources.get("module", sources.get("gpu", sources.get("cpu"))) not in MEASURED_KINDS


def resource_kind(resource: str, energy_source: str | None, memory_source: str | None) -> str:
    """What a resource's value is: `measured`, `estimated`, or `derived` (from a measured energy)."""
    if resource == "M":
        return "measured" if isinstance(memory_source, str) and memory_source != "predicted" else "estimated"
    if resource == "T":
        return "measured"
    if energy_is_estimated(energy_source):
        return "estimated"
    return "derived" if resource == "C" else "measured"


RESOURCE_AXES = {
    "E": ("energy_kwh", "Training energy (Wh)", 1000.0),
    "C": ("co2eq_g", "Carbon (g CO2e)", 1.0),
    "T": ("train_time_s", "Training time (s)", 1.0),
    "M": ("peak_memory_bytes", "Peak memory (MB)", 1e-6),
}
"""By resource letter: column, axis label, and the factor from the column's unit to the axis's."""
MEASURE_LABELS = {
    "accuracy": "Test accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auroc": "AUROC",
    "val_auroc": "Validation AUROC",
    "val_accuracy": "Validation accuracy",
}


JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "ram")
WINDOWS = {
    "training": "energy_kwh",
    "validation": "energy_validation_kwh",
    "inference": "energy_inference_kwh",
}


RESOURCE_NAMES = {"E": "energy", "C": "carbon", "T": "training time", "M": "peak memory"}
