"""What was asked of a run: everything that decides its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

SETTING_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""A setting's name, which is a part of file names; as in the schema of the profiles."""
MEASURED_FIDELITIES = ("command", "block")
"""Of trainings that are not the study's (`pepr.study.measurement`): what the meter saw of a whole command,
or of a block of Python. Their records hold no predictions."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the result of one fine-tuning run.

    `train_fraction` is a fraction of the training split in (0, 1]; `image_size` is in pixels;
    `split` is the number of the dataset's split, None in records that are older than such numbers.
    `shuffled` says that the values of each pretrained tensor change places before the training;
    `init_from` is the run_id of the run whose network the training starts from, None where it starts as
    `pretrained` says.
    """

    model: str
    dataset: str
    setting: str
    _: KW_ONLY
    fidelity: str = "study"
    pretrained: bool = False
    train_fraction: float = 1.0
    seed: int = 0
    image_size: int = 64
    batch_size: int = 32
    epochs: int = 3
    learning_rate: float = 5e-4
    precision: str = "fp32"
    device: str = "cpu"
    split: int | None = 0
    shuffled: bool = False
    init_from: str | None = None

    @property
    def run_id(self) -> str:
        """`<dataset>-<setting>-<model>-s<seed>-<8 hex>`; the hash is of the canonical specification."""
        values = dataclasses.asdict(self)
        for name in ("split", "shuffled", "init_from"):
            if values[name] is None or values[name] is False:
                del values[name]  # so that records from before it keep their names
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        return f"{self.dataset}-{self.setting}-{self.model}-s{self.seed}-{digest}"

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """The specification inside a record, a profile's grid or a notebook's parameters."""
        values = {"split": None, **values}
        values |= {"shuffled": bool(values.get("shuffled")), "init_from": values.get("init_from") or None}
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: values[name] for name in names if name in values})
