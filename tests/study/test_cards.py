"""Cards in the formats that others read: valid by their schemas, and what was estimated says so."""

import json
import subprocess
import sys

import jsonschema
import pytest
import yaml
from codecarbon.output_methods.boamps.models import BoAmpsReport

from pepr.errors import InputError
from pepr.runs.results import Results, reference_folder
from pepr.study import cards

MODEL = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def pocket():
    return Results("pocket", "reference", reference_folder("pocket"))


@pytest.fixture(scope="module")
def training(pocket):
    return cards.training_of(pocket, MODEL, "elpv_pt", country="DNK")


def with_energy(record, source, **columns):
    """A run whose energy came about in another way."""
    return cards.describe({**record, "energy_source": source, **columns})


@pytest.mark.parametrize("form", cards.FORMATS)
@pytest.mark.parametrize("setting", ["elpv", "elpv_pt"])
@pytest.mark.parametrize("country", [None, "DNK"])
def test_every_card_is_valid_by_its_schema(pocket, form, setting, country):
    text = cards.render(cards.training_of(pocket, MODEL, setting, country=country), form)
    card = next(yaml.safe_load_all(text)) if form == "model-card" else json.loads(text)
    jsonschema.validate(card, cards.schema(form))


@pytest.mark.parametrize("setting", ["elpv", "elpv_pt"])
def test_a_boamps_report_has_the_fields_that_codecarbon_knows_of_it(pocket, setting):
    """CodeCarbon's classes have all fields of BoAmps, and refuse others."""
    report = cards.boamps(cards.training_of(pocket, MODEL, setting, country="DNK"))
    assert BoAmpsReport.from_dict(report).to_dict() == report
    with pytest.raises(TypeError):
        BoAmpsReport.from_dict(spoil(report, ("measures", 0, "estimated"), "yes"))


def test_the_schema_of_boamps_lets_in_what_a_card_does_not_fill(training):
    """Fields and values of the published schemas, on a report that a person went on with."""
    report = cards.boamps(training)
    report["header"] |= {
        "licensing": "CC BY 4.0",
        "publisher": {"name": "a clinic", "projectName": "leaves", "confidentialityLevel": "public"},
    }
    report["task"] |= {"nbRequest": 0, "estimatedAccuracy": "veryGood"}
    report["task"]["dataset"][0] |= {"source": "public", "sourceUri": "https://example.org", "dataSize": 0.2}
    report["measures"][0] |= {"averageUtilizationGpu": 0.8, "powerCalibrationMeasurement": 0.001}
    report["infrastructure"] |= {"infraType": "publicCloud", "cloudProvider": "ovh", "cloudInstance": "b3-8"}
    report["infrastructure"]["components"][0] |= {"share": 0.5, "manufacturer": "Intel"}
    report["environment"] |= {"powerSupplierType": "public", "powerSource": "wind", "latitude": 55.7}
    report["$hash"] = {"hashAlgorithm": "SHA-256", "cryptographicAlgorithm": "RSA", "value": "0"}
    jsonschema.validate(report, cards.schema("boamps"))


def test_a_boamps_report_names_the_optimiser_only_of_the_studys_own_training(training):
    def named(record):
        (algorithm,) = cards.boamps(cards.describe(record))["task"]["algorithms"]
        return algorithm.get("algorithmType"), algorithm.get("optimizer")

    assert named(training.record) == ("neural network", "adam")
    assert named({**training.record, "fidelity": "command"}) == ("neural network", None)
    assert named({**training.record, "num_params": None}) == (None, None)


def consumption(card):
    model = card["components"][0]["modelCard"]
    return model["considerations"]["environmentalConsiderations"]["energyConsumptions"][0]


def package(card):
    return next(element for element in card["@graph"] if element["type"] == "ai_AIPackage")


def spoil(card, path, value):
    """A copy of a card with one value replaced, or taken out where `value` is None."""
    copy = json.loads(json.dumps(card))
    at = copy
    for part in path[:-1]:
        at = at[part]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return copy


CDX = ("components", 0, "modelCard", "considerations", "environmentalConsiderations", "energyConsumptions", 0)
AI = ("@graph", 3)
ENERGY = (*AI, "ai_energyConsumption", "ai_finetuningEnergyConsumption", 0)


@pytest.mark.parametrize(
    ("form", "path", "value"),
    [
        ("cyclonedx", (*CDX, "activity"), "finetuning"),
        ("cyclonedx", (*CDX, "activityEnergyCost", "unit"), "Wh"),
        ("cyclonedx", (*CDX, "energyProviders"), None),
        ("cyclonedx", (*CDX, "energyProviders", 0, "energySource"), "grid"),
        ("cyclonedx", (*CDX, "co2CostEquivalent", "unit"), "g"),
        ("cyclonedx", (*CDX, "comment"), "estimated"),
        ("cyclonedx", ("serialNumber",), "abc"),
        ("spdx", (*ENERGY, "ai_energyUnit"), "kWh"),
        ("spdx", (*ENERGY, "ai_energyUnit"), None),
        ("spdx", (*ENERGY, "ai_energyQuantity"), "1e-5"),
        ("spdx", (*AI, "spdxId"), None),
        ("spdx", (*AI, "ai_estimated"), "yes"),
        ("spdx", ("@graph", 0, "created"), "2026-11-22"),
        ("boamps", ("task", "dataset", 0, "dataType"), "photo"),
        ("boamps", ("measures", 0, "powerConsumption"), None),
        ("boamps", ("infrastructure", "components", 0, "nbComponent"), 1.5),
        ("boamps", ("quality",), "best"),
        ("boamps", ("header", "publisher"), {"name": "leaves"}),
        ("boamps", ("header", "reportDatetime"), "2026-11-22T10:00:00Z"),
        ("boamps", ("task", "estimatedAccuracy"), "excellent"),
        ("boamps", ("task", "measuredAccuracy"), 91.2),
        ("boamps", ("measures", 0, "averageUtilizationCpu"), 85),
        ("boamps", ("measures", 0, "unit"), "kWh"),
        ("boamps", ("infrastructure", "components", 0, "share"), 2),
        ("boamps", ("infrastructure", "infraType"), "cloud"),
        ("boamps", ("system",), {"distribution": "debian"}),
        ("model-card", ("co2_eq_emissions", "emissions"), "0.1 kg"),
        ("model-card", ("co2_eq_emissions", "training_type"), "finetuning"),
    ],
)
def test_the_schemas_refuse_what_the_published_ones_refuse(training, form, path, value):
    spoiled = spoil(cards.FORMATS[form](training), path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, cards.schema(form))


def test_the_energy_is_the_records_in_every_format(training):
    kwh = training.record["energy_kwh"]
    energy = package(cards.spdx(training))["ai_energyConsumption"]
    assert consumption(cards.cyclonedx(training))["activityEnergyCost"]["value"] == kwh
    assert float(energy["ai_finetuningEnergyConsumption"][0]["ai_energyQuantity"]) == kwh
    assert cards.boamps(training)["measures"][0]["powerConsumption"] == kwh


def test_carbon_is_in_the_unit_that_each_format_asks_for(training):
    grams = training.record["energy_kwh"] * training.intensity_g_per_kwh
    tonnes = consumption(cards.cyclonedx(training))["co2CostEquivalent"]["value"]
    assert tonnes == pytest.approx(grams / 1e6)
    assert cards.model_card(training)["co2_eq_emissions"]["emissions"] == pytest.approx(grams)


def test_what_was_estimated_says_so_in_every_format(training):
    properties = {
        entry["name"]: entry["value"] for entry in consumption(cards.cyclonedx(training))["properties"]
    }
    assert properties["pepr:energy:cpu"] == "estimated (load_model)"
    assert properties["pepr:energy:ram"] == "estimated (assumed)"
    measure = cards.boamps(training)["measures"][0]
    assert measure["cpuTrackingMode"] == "estimated (load_model)"
    assert measure["gpuTrackingMode"] == "none used"
    for text in (
        package(cards.spdx(training))["comment"],
        cards.model_card(training)["co2_eq_emissions"]["source"],
        cards.boamps(training)["task"]["taskDescription"],
    ):
        assert "Energy of the CPU: estimated (load_model)." in text
        assert "Energy of the memory: estimated (assumed)." in text
        assert "Carbon: derived" in text
    assert cards.boamps(training)["quality"] == "low"


def test_a_counter_is_called_measured_and_what_was_left_out_is_said(training):
    metered = with_energy(training.record, "gpu:counter")
    text = package(cards.spdx(metered))["comment"]
    assert "Energy of the GPU: measured (counter)." in text
    assert "Energy of the CPU: not metered, not included." in text
    report = cards.boamps(metered)
    assert report["quality"] == "medium"
    assert report["measures"][0]["gpuTrackingMode"] == "measured (counter)"
    assert report["measures"][0]["cpuTrackingMode"] == "not metered"


def test_a_module_that_holds_its_processor_is_not_said_to_leave_it_out(training):
    metered = with_energy(training.record, "module:counter")
    assert "not included" not in metered.provenance()
    assert cards.boamps(metered)["measures"][0]["cpuTrackingMode"] == "within the module: measured (counter)"


def test_from_scratch_is_training_and_pretrained_is_fine_tuning(pocket):
    scratch, tuned = (cards.training_of(pocket, MODEL, setting) for setting in ("elpv", "elpv_pt"))
    assert [consumption(cards.cyclonedx(one))["activity"] for one in (scratch, tuned)] == [
        "training",
        "fine-tuning",
    ]
    kinds = [cards.model_card(one)["co2_eq_emissions"]["training_type"] for one in (scratch, tuned)]
    assert kinds == ["pre-training", "fine-tuning"]


def test_a_start_from_another_run_is_fine_tuning_too(pocket):
    scratch = cards.training_of(pocket, MODEL, "elpv")
    tuned = with_energy(scratch.record, "cpu:load_model", init_from="another-run")
    assert consumption(cards.cyclonedx(tuned))["activity"] == "fine-tuning"
    assert cards.model_card(tuned)["co2_eq_emissions"]["training_type"] == "fine-tuning"


def test_a_start_that_nobody_told_is_neither(training):
    unknown = with_energy(training.record, "cpu:load_model", pretrained=None)
    assert "training_type" not in cards.model_card(unknown)["co2_eq_emissions"]
    assert "trained from scratch" not in cards.render(unknown, "spdx")


def test_a_grid_is_named_only_where_somebody_named_it(pocket, training):
    elsewhere = cards.training_of(pocket, MODEL, "elpv_pt")
    assert "world average" in elsewhere.provenance() and elsewhere.country is None
    assert "geographical_location" not in cards.model_card(elsewhere)["co2_eq_emissions"]
    assert "environment" not in cards.boamps(elsewhere)
    assert cards.model_card(training)["co2_eq_emissions"]["geographical_location"] == "Denmark"
    assert cards.boamps(training)["environment"]["country"] == "Denmark"


def test_a_small_energy_is_written_out_in_spdx_and_stays_a_number_in_yaml(training):
    small = with_energy(training.record, "cpu:load_model", energy_kwh=1e-9)
    energy = package(cards.spdx(small))["ai_energyConsumption"]["ai_finetuningEnergyConsumption"][0]
    assert energy["ai_energyQuantity"] == "0.000000001"
    card = next(yaml.safe_load_all(cards.render(small, "model-card")))
    assert isinstance(card["co2_eq_emissions"]["emissions"], float)


def test_the_same_run_has_the_same_card_and_another_run_other_identifiers(pocket, training):
    again = cards.training_of(pocket, MODEL, "elpv_pt", country="DNK")
    assert cards.render(again, "spdx") == cards.render(training, "spdx")
    other = cards.training_of(pocket, MODEL, "elpv")
    assert cards.cyclonedx(other)["serialNumber"] != cards.cyclonedx(training)["serialNumber"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "resnet"}, "no run of 'resnet' that ended well; there are: convnext"),
        ({"model": MODEL}, "choose one with --setting"),
        ({"model": MODEL, "setting": "derma"}, "no setting 'derma'"),
        ({"model": MODEL, "setting": "elpv", "seed": 99}, "no seed 99"),
        ({"model": MODEL, "setting": "elpv", "country": "ZZZ"}, "country 'ZZZ'"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(pocket, asked, said):
    with pytest.raises(InputError) as caught:
        cards.training_of(pocket, **asked)
    assert said in str(caught.value)


def test_a_run_without_energy_has_no_card(training):
    with pytest.raises(InputError, match="its energy was not metered"):
        with_energy(training.record, "", energy_kwh=None)


def test_the_command_prints_one_card_and_refuses_an_unknown_format():
    asked = [sys.executable, "-m", "pepr.cli", "card", "pocket", MODEL, "--setting", "elpv_pt", "--format"]
    done = subprocess.run([*asked, "cyclonedx"], capture_output=True, text=True, check=True)
    jsonschema.validate(json.loads(done.stdout), cards.schema("cyclonedx"))
    refused = subprocess.run([*asked, "spdx2"], capture_output=True, text=True)
    assert refused.returncode == 2 and "expected one of cyclonedx, spdx" in refused.stderr
