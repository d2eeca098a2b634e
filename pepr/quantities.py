"""Every resource and measure of the study, one row each, and how a value of it is known."""

from __future__ import annotations

from dataclasses import dataclass

from pepr.errors import InputError


@dataclass(frozen=True)
class Resource:
    """A resource that a run takes.

    `column` holds it; `name` is what prose calls it, `label` what a figure does, in `unit`, of which there
    are `scale` in the column's own unit. `budget` names an option that limits it, its unit included; empty
    where nothing predicts it. A resource with a `per_kwh` is derived: the energy times what that column
    holds. `spoiled` says whether a run that shared its processor cannot be ranked by it.
    """

    letter: str
    column: str
    name: str
    label: str
    unit: str
    budget: str = ""
    scale: float = 1.0
    spoiled: bool = True
    per_kwh: str = ""

    @property
    def axis(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})"


RESOURCES = {
    resource.letter: resource
    for resource in (
        Resource("E", "energy_kwh", "energy", "Training energy", "Wh", "energy_wh", 1000.0),
        Resource(
            "C", "co2eq_g", "carbon", "Carbon", "g CO2-eq", "co2_g", per_kwh="carbon_intensity_g_per_kwh"
        ),
        Resource("T", "train_time_s", "training time", "Training time", "s", "minutes"),
        Resource("M", "peak_memory_bytes", "peak memory", "Peak memory", "MB", "memory_gb", 1e-6, False),
        Resource("W", "water_l", "water", "Water", "mL", "water_l", 1000.0, per_kwh="water_l_per_kwh"),
    )
}
"""By the letter that PePR's variants carry; D, data, is scored over the training fractions of one model."""


@dataclass(frozen=True)
class Measure:
    """A measure of performance, 1 at best: the column of the run's value, and what a figure calls it.

    A measure above chance is `of` another, whose column it shares, and names what `chance` is: `half`, one
    over the number of `classes`, or the rate of the `majority`. See `score.above_chance`; `analysis.measures`
    works it out.
    """

    name: str
    column: str
    label: str
    of: str = ""
    chance: str = ""

    @property
    def base(self) -> str:
        """The name of the measure that a run records: itself, or the one that it is of."""
        return self.of or self.name


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("accuracy", "test_accuracy", "Test accuracy"),
        Measure("balanced_accuracy", "test_balanced_accuracy", "Balanced accuracy"),
        Measure("auroc", "test_auroc", "AUROC"),
        Measure(
            "accuracy_above_majority", "test_accuracy", "Accuracy above the majority", "accuracy", "majority"
        ),
        Measure(
            "balanced_accuracy_above_chance",
            "test_balanced_accuracy",
            "Balanced accuracy above chance",
            "balanced_accuracy",
            "classes",
        ),
        Measure("auroc_above_chance", "test_auroc", "AUROC above chance", "auroc", "half"),
    )
}
RECORDED = {name: measure for name, measure in MEASURES.items() if not measure.of}
"""The measures that a run records; the others follow from them."""
ABOVE_CHANCE = {measure.of: name for name, measure in MEASURES.items() if measure.of}
"""The measure above chance of each measure that a run records."""


def measure(name: str) -> Measure:
    """A measure by its name. Raises InputError for a name that none has."""
    if name not in MEASURES:
        raise InputError(f"measure {name!r}: expected one of {', '.join(MEASURES)}")
    return MEASURES[name]


VALIDATION = {"val_auroc": "Validation AUROC", "val_accuracy": "Validation accuracy"}
"""What figures call the measures of an epoch."""
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
    if resource != "E" and not RESOURCES[resource].per_kwh:
        return "measured"
    if energy_is_estimated(energy_source):
        return "estimated"
    return "derived" if RESOURCES[resource].per_kwh else "measured"


JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "ram")
WINDOWS = {
    "training": "energy_kwh",
    "validation": "energy_validation_kwh",
    "inference": "energy_inference_kwh",
}
