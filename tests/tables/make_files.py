"""Write the small files under `files/` by running the tools themselves: `python make_files.py TOOL...`.

Each tool's files come from a virtual environment that holds it (`pip install codecarbon==3.2.9`, and so on;
`VERSIONS` says which wrote what is kept here). The numbers are those of a second or two of arithmetic on
one machine: they show a form, and are no measurement of any model. The tests only read the files.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

FILES = Path(__file__).parent / "files"
VERSIONS = {
    "codecarbon2": "codecarbon 2.8.4",
    "codecarbon32": "codecarbon 3.2.9",
    "codecarbon33": "codecarbon 3.3.2",
    "carbontracker": "carbontracker 2.4.7",
    "eco2ai": "eco2ai 0.3.12 with pandas 2.3.3",
    "zeus": "zeus 0.16.0",
    "mlflow": "mlflow 3.17.2",
    "lightning": "lightning 2.6.6",
    "keras": "keras 3.15.1",
    "wandb": "wandb 0.31.0",
    "model_card": "huggingface_hub 2.4.0",
}


def work(seconds: float) -> float:
    """Something for a meter to see."""
    end, total = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < end:
        total += sum(i * i for i in range(1000))
    return total


def codecarbon2() -> None:
    """Two projects appended to one file."""
    _codecarbon("codecarbon2.csv", flushes=0)


def codecarbon32() -> None:
    """As `codecarbon33`, by a version whose later rows leave out the cells that are empty."""
    _codecarbon("codecarbon32.csv", flushes=2)


def codecarbon33() -> None:
    """Two projects appended to one file; the second flushes while it runs, and each flush is a row."""
    _codecarbon("codecarbon33.csv", flushes=2)


def _codecarbon(name: str, flushes: int) -> None:
    from codecarbon import OfflineEmissionsTracker

    with tempfile.TemporaryDirectory() as folder:
        for project, seconds in (("ant", 1.0), ("bee", 1.5)):
            tracker = OfflineEmissionsTracker(
                project_name=project,
                country_iso_code="NOR",
                output_dir=folder,
                measure_power_secs=1,
                log_level="critical",
                allow_multiple_runs=True,
            )
            tracker.start()
            for _ in range(flushes if project == "bee" else 0):
                work(seconds)
                tracker.flush()
            work(seconds)
            tracker.stop()
        text = (Path(folder) / "emissions.csv").read_text()
        (FILES / name).write_text(text.replace(platform.platform(), "Linux-6.1-x86_64-with-glibc2.36"))


def carbontracker() -> None:
    """The pair of logs of one training of two epochs on a simulated processor."""
    from carbontracker.tracker import CarbonTracker

    for old in FILES.glob("*carbontracker*.log"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        tracker = CarbonTracker(
            epochs=2,
            update_interval=1,
            monitor_epochs=2,
            log_dir=folder,
            log_file_prefix="ant",
            components="cpu",
            verbose=0,
            sim_cpu="Generic CPU",
            sim_cpu_tdp=65,
            sim_cpu_util=0.5,
        )
        for _ in range(2):
            tracker.epoch_start()
            work(3.0)
            tracker.epoch_end()
        tracker.stop()
        for path in Path(folder).glob("*.log"):
            kind = "output" if "output" in path.name else "standard"
            shutil.copy(path, FILES / f"ant_carbontracker_{kind}.log")
    carbontracker_parser()


def carbontracker_parser() -> None:
    """What carbontracker's own parser reads in that log, whole and where the training did not end."""
    from carbontracker import parser

    text = (FILES / "ant_carbontracker_output.log").read_text()
    cases = {"ended": text, "cut off": text.split("Actual consumption")[0]}
    found = {
        name: dict(zip(("actual", "predicted"), parser.get_consumption(case), strict=True))
        for name, case in cases.items()
    }
    (FILES / "ant_carbontracker_parser.json").write_text(json.dumps(found, indent=1) + "\n")


def eco2ai() -> None:
    """Two projects in one file."""
    from eco2ai import Tracker

    target = FILES / "eco2ai.csv"
    target.unlink(missing_ok=True)
    for project in ("ant", "bee"):
        tracker = Tracker(
            project_name=project,
            experiment_description="one layer",
            file_name=str(target),
            measure_period=1,
            alpha_2_code="NO",
            ignore_warnings=True,
        )
        tracker.start()
        work(2.0)
        tracker.stop()


def zeus() -> None:
    """Two windows in the log of a monitor, beside a card whose counter is a clock: 150 W."""
    import zeus.device.gpu as devices
    from zeus.monitor import ZeusMonitor

    class Card:
        def __len__(self) -> int:
            return 1

        def supports_get_total_energy_consumption(self, _: int) -> bool:
            return True

        def get_total_energy_consumption(self, _: int) -> int:
            return int(150_000 * time.perf_counter())

    devices._gpus = Card()
    monitor = ZeusMonitor(
        gpu_indices=[0], cpu_indices=[], log_file=FILES / "zeus.csv", sync_execution_with=()
    )
    for name, seconds in (("ant", 1.0), ("bee", 1.5)):
        monitor.begin_window(name, sync_execution=False)
        work(seconds)
        monitor.end_window(name, sync_execution=False)


def mlflow() -> None:
    """Three runs of one experiment, exported as the command line does."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        experiment = mlflow.create_experiment("leaves", artifact_location=f"file://{folder}/artifacts")
        for name, accuracy, energy in (("ant", 0.9, 0.012), ("bee", 0.875, 0.0046), ("cicada", None, None)):
            with mlflow.start_run(run_name=name, experiment_id=experiment):
                mlflow.log_params({"seed": 1, "learning_rate": 5e-4})
                if accuracy is not None:
                    mlflow.log_metrics({"test_accuracy": accuracy, "energy_kwh": energy})
        table = mlflow.search_runs([experiment])
        table["artifact_uri"] = table["artifact_uri"].str.replace(folder, "/home/ada", regex=False)
        table = table.drop(columns=[name for name in table if name.startswith("tags.mlflow.source.git")])
        table["tags.mlflow.source.name"], table["tags.mlflow.user"] = "/home/ada/train.py", "ada"
        table.to_csv(FILES / "mlflow.csv", index=False)


def wandb() -> None:
    """An offline run of three epochs. The exports of runs and panels are made by the web page of a server:
    neither the package's Python nor its programs have the words of their headers."""
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        settings = wandb.Settings(
            x_disable_stats=True, x_disable_meta=True, disable_git=True, console="off", silent=True
        )
        run = wandb.init(
            mode="offline",
            project="leaves",
            name="ant",
            dir=folder,
            settings=settings,
            config={"seed": 1, "optimiser": {"name": "adam", "learning_rate": 5e-4}},
        )
        for accuracy in (0.7, 0.8, 0.9):
            time.sleep(1.0)
            run.log({"test_acc": accuracy, "energy_kwh": 0.012})
        run.finish()
        wandb.teardown()  # which writes what is still buffered
        (written,) = Path(folder).glob("wandb/offline-run-*/run-*.wandb")
        shutil.copy(written, FILES / "wandb_offline.wandb")


def lightning() -> None:
    """What `CSVLogger` writes of three epochs: rows of steps, of validation, of the test."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    class Line(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def _step(self, batch: list, name: str) -> torch.Tensor:
            images, labels = batch
            logits = self.layer(images)
            self.log(f"{name}_acc", (logits.argmax(1) == labels).float().mean())
            loss = torch.nn.functional.cross_entropy(logits, labels)
            self.log(f"{name}_loss", loss)
            return loss

        def training_step(self, batch: list, _: int) -> torch.Tensor:
            return self._step(batch, "train")

        def validation_step(self, batch: list, _: int) -> None:
            self._step(batch, "val")

        def test_step(self, batch: list, _: int) -> None:
            self._step(batch, "test")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 0.05)

    torch.manual_seed(1)
    images = torch.randn(64, 4)
    data = torch.utils.data.TensorDataset(images, (images[:, 0] > 0).long())
    loader = torch.utils.data.DataLoader(data, 16)
    with tempfile.TemporaryDirectory() as folder:
        logger = CSVLogger(folder, name="ant")
        trainer = Trainer(
            max_epochs=3,
            logger=logger,
            log_every_n_steps=2,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            accelerator="cpu",
        )
        model = Line()
        trainer.fit(model, loader, loader)
        trainer.test(model, loader, verbose=False)
        shutil.copy(Path(logger.log_dir) / "metrics.csv", FILES / "lightning.csv")


def keras() -> None:
    """What the callback `CSVLogger` writes of three epochs."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    images = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")
    labels = (images[:, 0] > 0).astype("int32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    target = FILES / "keras.csv"
    logger = keras.callbacks.CSVLogger(str(target))
    model.fit(images, labels, epochs=3, validation_split=0.25, verbose=0, callbacks=[logger])


def model_card() -> None:
    """The head of a model card, with the emissions of its training."""
    from huggingface_hub import EvalResult, ModelCardData

    card = ModelCardData(
        model_name="ant",
        license="mit",
        co2_eq_emissions={
            "emissions": 12.5,
            "source": "CodeCarbon",
            "training_type": "fine-tuning",
            "geographical_location": "Norway",
            "hardware_used": "1 x NVIDIA GeForce RTX 3090",
        },
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type="leaves",
                dataset_name="Leaves",
                metric_type="accuracy",
                metric_value=0.9125,
            )
        ],
    )
    (FILES / "model_card.md").write_text(f"---\n{card.to_yaml()}\n---\n\n# ant\n")


def main() -> None:
    """Run the tools named on the command line."""
    FILES.mkdir(exist_ok=True)
    for name in sys.argv[1:]:
        print(name)
        with contextlib.redirect_stdout(None):
            globals()[name]()


if __name__ == "__main__":
    main()
