"""What only other projects' packages can tell: their trainings under the meter, their parsers and validators.

`make test-others` runs this in an environment that has them; `make test` does not.
"""

import json
import sys

import pytest
from carbontracker.parser import get_consumption
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_python_model import v3_0_1 as spdx
from wandb.proto import wandb_internal_pb2

from pepr.runs.results import Results, reference_folder
from pepr.study import cards
from pepr.study.performance import source_of
from pepr.tables import offline_runs
from tests.study.test_cards import AI, CDX, ENERGY, MODEL, spoil
from tests.study.test_measurement import assert_same_energy, metered_twice
from tests.tables.test_formats import CARBONTRACKER, FILES, as_read, rows_of

POINTS = """
import torch
torch.manual_seed(0)
points = torch.randn(4000, 64)
labels = (points[:, :8].sum(1) > 0).long()
layers = torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 2)
"""
LIGHTNING = f"""{POINTS}
import lightning
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

class Network(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(*layers)

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_acc", (self.layers(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)

if __name__ == "__main__":
    halves = [TensorDataset(points[part], labels[part]) for part in (slice(3200), slice(3200, None))]
    trainer = lightning.Trainer(
        max_epochs=4, logger=CSVLogger("logs"), accelerator="cpu", enable_checkpointing=False
    )
    batches = DataLoader(halves[0], 32, shuffle=True, num_workers=1, persistent_workers=True)
    trainer.fit(Network(), batches, DataLoader(halves[1], 256))
"""
HUGGING_FACE = f"""{POINTS}
import numpy
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

class Points(torch.utils.data.Dataset):
    def __init__(self, part):
        self.part = part

    def __len__(self):
        return len(labels[self.part])

    def __getitem__(self, index):
        return {{"x": points[self.part][index], "labels": labels[self.part][index]}}

class Settings(PretrainedConfig):
    model_type = "points"

class Network(PreTrainedModel):
    config_class = Settings

    def __init__(self, config):
        super().__init__(config)
        self.layers = torch.nn.Sequential(*layers)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, x, labels=None):
        logits = self.layers(x)
        return {{"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}}

def accuracy(found):
    return {{"accuracy": float((numpy.argmax(found.predictions, 1) == found.label_ids).mean())}}

if __name__ == "__main__":
    arguments = TrainingArguments(
        output_dir="out", num_train_epochs=4, learning_rate=1e-3, per_device_train_batch_size=32,
        report_to=[], use_cpu=True, save_strategy="no", dataloader_num_workers=1,
    )
    trainer = Trainer(
        model=Network(Settings()), args=arguments, train_dataset=Points(slice(3200)),
        eval_dataset=Points(slice(3200, None)), compute_metrics=accuracy,
    )
    trainer.train()
    trainer.save_metrics("eval", trainer.evaluate())
"""
TRAININGS = {
    "lightning": (LIGHTNING, "logs/**/metrics.csv:val_acc"),
    "hugging_face": (HUGGING_FACE, "out/eval_results.json:eval_accuracy"),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_has_its_performance_and_the_energy_of_the_meter_used_directly(
    name, tmp_path, monkeypatch
):
    code, where = TRAININGS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(code)
    record, direct = metered_twice(
        tmp_path / "results" / "measured",
        monkeypatch,
        [sys.executable, "train.py"],
        performance=source_of(where),
    )
    assert record["status"] == "ok" and record["test_accuracy"] > 0.8
    assert_same_energy(record, direct)


def test_carbontrackers_own_parser_reads_what_the_pattern_reads():
    text = (FILES / "ant_carbontracker_output.log").read_text()
    for name, case in (("ended", text), ("cut off", text.split("Actual consumption")[0])):
        assert dict(zip(("actual", "predicted"), get_consumption(case), strict=True)) == CARBONTRACKER[name]
    rows, reader = rows_of("ant_carbontracker_output.log")
    assert rows == as_read(CARBONTRACKER["ended"]["actual"], "2")
    assert any("by its own parser" in notice for notice in reader.notices)


def test_an_offline_run_of_weights_and_biases_is_what_its_own_messages_say():
    path, run, summary, config = FILES / "wandb_offline.wandb", None, {}, {}
    for record in offline_runs.records(path.read_bytes()):
        message = wandb_internal_pb2.Record()
        message.ParseFromString(record)
        run = message.run if message.HasField("run") else run
        for found, items in ((summary, message.summary.update), (config, message.run.config.update)):
            found |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
    read = offline_runs.read_offline_run(path)
    assert (read.name, read.summary, read.config) == (run.display_name, summary, config)


def training(setting, country):
    pocket = Results("pocket", "reference", reference_folder("pocket"))
    return cards.training_of(pocket, MODEL, setting, country=country)


@pytest.mark.parametrize("setting", ["elpv", "elpv_pt"])
@pytest.mark.parametrize("country", [None, "DNK"])
def test_a_bill_of_materials_is_valid_by_the_published_schema_whole(setting, country):
    validator = JsonStrictValidator(SchemaVersion.V1_7)
    text = cards.render(training(setting, country), "cyclonedx")
    assert validator.validate_str(text) is None
    wrong = spoil(json.loads(text), (*CDX, "activity"), "finetuning")
    assert validator.validate_str(json.dumps(wrong)) is not None


@pytest.mark.parametrize("setting", ["elpv", "elpv_pt"])
@pytest.mark.parametrize("country", [None, "DNK"])
def test_an_spdx_document_is_read_by_the_published_model_with_its_energy(setting, country):
    told = training(setting, country)
    (package,) = read_spdx(json.loads(cards.render(told, "spdx"))).foreach_type(spdx.ai_AIPackage)
    energy = package.ai_energyConsumption
    field = "ai_finetuningEnergyConsumption" if setting == "elpv_pt" else "ai_trainingEnergyConsumption"
    (described,) = getattr(energy, field)
    assert float(described.ai_energyQuantity) == told.energy_kwh
    assert described.ai_energyUnit.endswith("kilowattHour")


@pytest.mark.parametrize(
    ("path", "value"),
    [((*ENERGY, "ai_energyUnit"), "kWh"), ((*AI, "spdxId"), None), ((*AI, "builtTime"), "today")],
)
def test_the_published_model_of_spdx_refuses_what_this_project_refuses(path, value):
    document = spoil(json.loads(cards.render(training("elpv_pt", None), "spdx")), path, value)
    with pytest.raises((ValueError, TypeError)):
        read_spdx(document)


def read_spdx(document):
    objects = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().deserialize_data(document, objects)
    return objects
