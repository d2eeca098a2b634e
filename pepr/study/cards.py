"""The energy of one training in the formats that others read: CycloneDX, SPDX, BoAmps and a model card's."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any

import jsonschema
import yaml

from pepr import __version__
from pepr.display.words import measure_words
from pepr.errors import InputError
from pepr.grids import WORLD, carbon_intensity
from pepr.quantities import MEASURED_KINDS, RECORDED, component_sources
from pepr.runs.results import Results
from pepr.runs.spec import MEASURED_FIDELITIES

COMPONENT_WORDS = {"cpu": "CPU", "gpu": "GPU", "ram": "memory", "module": "module"}
MEASURE_WORDS = {measure.column: measure_words(name) for name, measure in RECORDED.items()}
GRAMS_PER_TONNE = 1e6
BILLION = 1e9


@dataclass(frozen=True)
class Training:
    """What a card states of one training run, drawn from its record.

    `energies_kwh` is by activity: `fine-tuning` (or `training`, from scratch), `validation`, `inference`
    of the whole test set. `sources` says how each component's energy came about, `intensity_g_per_kwh` and
    `grid` by what it became carbon; `country` is where the machine stood, where that is known. `started`
    is in UTC.
    """

    record: Mapping[str, Any]
    energies_kwh: Mapping[str, float]
    sources: Mapping[str, str]
    intensity_g_per_kwh: float
    grid: str
    country: str | None
    started: datetime.datetime

    @property
    def activity(self) -> str:
        return _activity(self.record)

    @property
    def energy_kwh(self) -> float:
        return self.energies_kwh[self.activity]

    @property
    def co2eq_g(self) -> float:
        return self.energy_kwh * self.intensity_g_per_kwh

    @property
    def estimated(self) -> list[str]:
        """The components whose energy no instrument read."""
        return [name for name, source in self.sources.items() if source not in MEASURED_KINDS]

    def kind(self, component: str) -> str:
        """`measured (counter)`, `estimated (load_model)`: how a component's energy is known."""
        source = self.sources[component]
        return f"{'measured' if source in MEASURED_KINDS else 'estimated'} ({source})"

    def provenance(self) -> str:
        """How every figure is known, in one sentence a component and one for the carbon."""
        parts = [
            f"Energy of the {COMPONENT_WORDS.get(name, name)}: {self.kind(name)}." for name in self.sources
        ]
        missing = [
            name for name in ("cpu", "ram") if name not in self.sources and "module" not in self.sources
        ]
        parts += [f"Energy of the {COMPONENT_WORDS[name]}: not metered, not included." for name in missing]
        return " ".join([*parts, f"Carbon: {self.carbon_words()}."])

    def carbon_words(self) -> str:
        """How the carbon is known."""
        return f"derived, the energy times {self.intensity_g_per_kwh:g} g CO2-eq/kWh ({self.grid})"

    @property
    def measures(self) -> dict[str, float]:
        """The measures of performance that the record holds, by what they are called."""
        known = {words: self.record.get(column) for column, words in MEASURE_WORDS.items()}
        return _given(**known)

    def meter(self) -> str:
        """The meter and its version."""
        packages = (self.record.get("environment") or {}).get("packages") or {}
        named = [f"{name} {packages[name]}" for name in ("pepr", "codecarbon") if name in packages]
        return ", ".join(named) or "pepr"

    def identifier(self, part: str = "") -> uuid.UUID:
        """The same run has the same identifier in every card, and another one in every other run."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"pepr:{self.record['run_id']}:{part}")


def training_of(
    results: Results,
    model: str,
    setting: str | None = None,
    seed: int | None = None,
    country: str | None = None,
) -> Training:
    """The training of `model` that a card is about: of the setting, where there are several, and the seed.

    Without `seed` it is the lowest that ended well. `country` (ISO 3166, three letters) is where the machine
    stood: its grid replaces that of the record. Raises InputError with the choices where none, or more than
    one setting, is meant.
    """
    rows = [record for record in results.records() if record["status"] == "ok"]
    found = [record for record in rows if record["model"] == model]
    if not found:
        known = ", ".join(sorted({record["model"] for record in rows})) or "none"
        raise InputError(f"{results.folder}: no run of {model!r} that ended well; there are: {known}")
    settings = sorted({record["setting"] for record in found})
    if setting is None and len(settings) > 1:
        raise InputError(f"{model} was trained in {', '.join(settings)}: choose one with --setting")
    chosen = [record for record in found if setting in (None, record["setting"])]
    if not chosen:
        raise InputError(f"no setting {setting!r} of {model}; there are: {', '.join(settings)}")
    seeds = sorted(record["seed"] for record in chosen)
    if seed is not None and seed not in seeds:
        raise InputError(f"no seed {seed} of {model}; there are: {', '.join(map(str, seeds))}")
    return describe(min(chosen, key=lambda one: (one["seed"] != seed, one["seed"])), country)


def describe(record: Mapping[str, Any], country: str | None = None) -> Training:
    """The facts of a record. Raises InputError where its energy was not metered."""
    if not record.get("energy_kwh"):
        raise InputError(f"{record['run_id']}: its energy was not metered; a card has nothing to state")
    activity = _activity(record)
    energies = {
        activity: record["energy_kwh"],
        "validation": record.get("energy_validation_kwh"),
        "inference": record.get("energy_inference_kwh"),
    }
    world, words = carbon_intensity(WORLD)
    intensity, grid = record.get("carbon_intensity_g_per_kwh") or world, words
    if country:
        intensity, grid = carbon_intensity(country)
        if intensity is None:
            raise InputError(f"country {country!r}: CodeCarbon's table has no intensity of its grid")
    elif intensity != world:
        grid = "the grid that the run was set to"
    return Training(
        record,
        {name: value for name, value in energies.items() if value},
        component_sources(record.get("energy_source")),
        intensity,
        grid,
        grid if country and country.upper() != WORLD else None,
        datetime.datetime.fromisoformat(record["started_at"]).astimezone(datetime.UTC),
    )


def _activity(record: Mapping[str, Any]) -> str:
    return "fine-tuning" if _fine_tuned(record) else "training"


def _fine_tuned(record: Mapping[str, Any]) -> bool | None:
    """Whether a training started from weights, those of another run too; None where nobody said."""
    return True if record.get("init_from") else record["pretrained"]


def cyclonedx(training: Training) -> dict[str, Any]:
    """A bill of materials with one model and its `environmentalConsiderations`.

    How each figure is known stands in `properties`, the field that the format has for what it does not name.
    """
    record = training.record
    consumptions = []
    for activity, kwh in training.energies_kwh.items():
        energy = {"value": kwh, "unit": "kWh"}
        provider = {
            "organization": {"name": "unknown"},
            "energySource": "unknown",
            "energyProvided": energy,
            "description": f"Carbon intensity: {training.grid}",
        }
        grams = kwh * training.intensity_g_per_kwh
        consumptions.append(
            {
                "activity": activity,
                "energyProviders": [provider],
                "activityEnergyCost": energy,
                "co2CostEquivalent": {"value": grams / GRAMS_PER_TONNE, "unit": "tCO2eq"},
                "properties": _known_as(training),
            }
        )
    metrics = [
        {"type": words, "value": str(value), "slice": "test"} for words, value in training.measures.items()
    ]
    tool = {"type": "application", "name": "pepr", "version": __version__}
    model = {
        "type": "machine-learning-model",
        "bom-ref": record["run_id"],
        "name": record["model"],
        "version": record["run_id"].rpartition("-")[2],
        "description": _what(training),
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"environmentalConsiderations": {"energyConsumptions": consumptions}},
        },
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{training.identifier('cyclonedx')}",
        "version": 1,
        "metadata": {"timestamp": _zulu(training.started), "tools": {"components": [tool]}},
        "components": [model],
    }


def _known_as(training: Training) -> list[dict[str, str]]:
    named = [
        {"name": f"pepr:energy:{component}", "value": training.kind(component)}
        for component in training.sources
    ]
    return [*named, {"name": "pepr:carbon", "value": training.carbon_words()}]


def spdx(training: Training) -> dict[str, Any]:
    """An SPDX document with one AIPackage and its `ai_energyConsumption`.

    The format has no field for how an energy is known: it stands in the package's `comment`. Quantities are
    decimals written out, since a JSON number with an exponent is no `xsd:decimal`. The `ai` profile is not
    claimed: it asks for a supplier and a place to download from, which a record does not hold.
    """
    record = training.record
    document, package, agent = (
        f"urn:uuid:{training.identifier(part)}" for part in ("document", "package", "agent")
    )
    fields = {
        "training": "ai_trainingEnergyConsumption",
        "fine-tuning": "ai_finetuningEnergyConsumption",
        "inference": "ai_inferenceEnergyConsumption",
    }
    energies = {
        fields[activity]: [
            {
                "type": "ai_EnergyConsumptionDescription",
                "ai_energyQuantity": f"{Decimal(str(kwh)):f}",
                "ai_energyUnit": "kilowattHour",
            }
        ]
        for activity, kwh in training.energies_kwh.items()
        if activity in fields
    }
    hyperparameters = ("epochs", "batch_size", "learning_rate", "image_size", "precision", "seed")
    described = {
        "type": "ai_AIPackage",
        "spdxId": package,
        "creationInfo": "_:creation",
        "name": record["model"],
        "comment": training.provenance(),
        "builtTime": _zulu(training.started),
        "software_packageVersion": record["run_id"],
        "software_primaryPurpose": "model",
        "ai_informationAboutTraining": _what(training),
        "ai_hyperparameter": _entries({name: record.get(name) for name in hyperparameters}),
        "ai_metric": _entries(training.measures),
        "ai_energyConsumption": {"type": "ai_EnergyConsumption", **energies},
    }
    creation = {
        "type": "CreationInfo",
        "@id": "_:creation",
        "created": _zulu(training.started),
        "createdBy": [agent],
        "specVersion": "3.0.1",
    }
    author = {
        "type": "SoftwareAgent",
        "spdxId": agent,
        "creationInfo": "_:creation",
        "name": f"pepr {__version__}",
    }
    collection = {
        "type": "SpdxDocument",
        "spdxId": document,
        "creationInfo": "_:creation",
        "name": record["run_id"],
        "profileConformance": ["core", "software"],
        "rootElement": [package],
        "element": [package, agent],
    }
    return {
        "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
        "@graph": [creation, author, collection, described],
    }


def _entries(known: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"type": "DictionaryEntry", "key": key, "value": str(value)} for key, value in _given(**known).items()
    ]


def _given(**known: Any) -> dict[str, Any]:
    """Those fields that a record tells."""
    return {name: value for name, value in known.items() if value is not None}


def model_card(training: Training) -> dict[str, Any]:
    """The metadata `co2_eq_emissions` of a model card, in grams; `source` says how they are known.

    The format knows pre-training and fine-tuning: from scratch is the first. Where a record does not tell,
    neither is said.
    """
    emissions = _given(
        emissions=training.co2eq_g,
        source=f"{training.meter()}: {training.energy_kwh:g} kWh. {training.provenance()}",
        training_type={True: "fine-tuning", False: "pre-training"}.get(_fine_tuned(training.record)),
        geographical_location=training.country,
        hardware_used=training.record.get("hardware") or None,
    )
    return {"co2_eq_emissions": emissions}


def boamps(training: Training) -> dict[str, Any]:
    """A BoAmps report, with the tracking mode of CPU and GPU and, in words, that of the memory.

    `quality` is `low` (within 50%) where anything was estimated, `medium` (within 25%) where all was metered:
    a meter inside the machine sees less than one on the wall.
    """
    record, facts = training.record, training.record.get("environment") or {}
    platform, python = facts.get("platform"), facts.get("python")
    grid = {"country": training.country, "powerSourceCarbonIntensity": training.intensity_g_per_kwh}
    return _given(
        header={
            "formatVersionSpecificationUri": "https://github.com/Boavizta/BoAmps/tree/main/model",
            "reportId": str(training.identifier("boamps")),
            "reportDatetime": _date_and_time(training.started),
            "reportStatus": "final",
        },
        task=_given(
            taskStage="finetuning" if _fine_tuned(record) else "training",
            taskFamily="image classification" if _of_images(record) else "other",
            taskDescription=f"{_what(training)} {training.provenance()}",
            algorithms=[_algorithm(record)],
            dataset=[_dataset(record)],
            measuredAccuracy=record.get("test_accuracy"),
        ),
        measures=[
            {
                "measurementMethod": training.meter(),
                "cpuTrackingMode": _tracking(training, "cpu"),
                "gpuTrackingMode": _tracking(training, "gpu"),
                "powerConsumption": training.energy_kwh,
                "measurementDuration": record["train_time_s"],
                "measurementDateTime": _date_and_time(training.started),
            }
        ],
        infrastructure={"infraType": "other", "components": _components(record)},
        quality="low" if training.estimated else "medium",
        system={"os": platform.partition("-")[0]} if platform else None,
        software={"language": "python", "version": python} if python else None,
        environment=grid if training.country else None,
    )


def _tracking(training: Training, component: str) -> str:
    if component in training.sources:
        return training.kind(component)
    if "module" in training.sources:
        return f"within the module: {training.kind('module')}"
    return "none used" if component == "gpu" else "not metered"


def _algorithm(record: Mapping[str, Any]) -> dict[str, Any]:
    packages = (record.get("environment") or {}).get("packages") or {}
    is_network = bool(record.get("num_params"))
    of_study = is_network and record.get("fidelity") not in MEASURED_FIDELITIES
    return _given(
        algorithmType="neural network" if is_network else None,
        algorithmName=record["model"],
        trainingType={True: "transferLearning", False: "supervisedLearning"}.get(_fine_tuned(record)),
        epochsNumber=record.get("epochs"),
        quantization=record.get("precision"),
        optimizer="adam" if of_study else None,
        framework="torch" if is_network and "torch" in packages else None,
        frameworkVersion=packages.get("torch") if is_network else None,
        parametersNumber=record["num_params"] / BILLION if is_network else None,
    )


def _dataset(record: Mapping[str, Any]) -> dict[str, Any]:
    size = record.get("image_size")
    return _given(
        dataUsage="input",
        dataType="image" if _of_images(record) else "other",
        dataQuantity=record.get("n_train") or None,
        shape=f"({size}, {size})" if _of_images(record) else None,
    )


def _components(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    facts = record.get("environment") or {}
    parts = [_given(componentType="cpu", nbComponent=1, componentName=facts.get("cpu_model") or None)]
    if facts.get("gpu"):
        parts.append({"componentType": "gpu", "nbComponent": 1, "componentName": facts["gpu"]})
    if facts.get("memory_bytes"):
        memory = round(facts["memory_bytes"] / 2**30)
        parts.append({"componentType": "ram", "nbComponent": 1, "memorySize": memory})
    return parts


def _of_images(record: Mapping[str, Any]) -> bool:
    return record.get("image_size") is not None


def _what(training: Training) -> str:
    """The run in one sentence."""
    record = training.record
    how = {True: "fine-tuned", False: "trained from scratch"}.get(_fine_tuned(record), "trained")
    data = (
        f"{record['n_train']:,} images of {record['dataset']}" if record.get("n_train") else record["dataset"]
    )
    return f"{record['model']} {how} on {data}, setting {record['setting']}, seed {record['seed']}."


def _zulu(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _date_and_time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


FORMATS: dict[str, Callable[[Training], dict[str, Any]]] = {
    "cyclonedx": cyclonedx,
    "spdx": spdx,
    "boamps": boamps,
    "model-card": model_card,
}


def schema(form: str) -> dict[str, Any]:
    """What the published schema of a format asks of the fields that a card fills."""
    text = resources.files("pepr.study").joinpath("card_schemas.json").read_text()
    return json.loads(text)[form]


def render(training: Training, form: str) -> str:
    """A card as text: JSON, or the YAML that a model card begins with.

    Raises InputError for an unknown format.
    """
    if form not in FORMATS:
        raise InputError(f"format {form!r}: expected one of {', '.join(FORMATS)}")
    card = FORMATS[form](training)
    jsonschema.validate(card, schema(form))
    if form == "model-card":
        return f"---\n{yaml.safe_dump(card, sort_keys=False, width=100)}---\n"
    return json.dumps(card, indent=1, allow_nan=False) + "\n"
