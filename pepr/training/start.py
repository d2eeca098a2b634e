"""The network of another run as the start of a run: where it is kept, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pepr import datasets
from pepr.errors import InputError, ModelUnavailable
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store


@dataclass(frozen=True)
class Start:
    """The network of another run that a run starts from, and the kWh that its training took; neither where a
    run starts as its specification says."""

    weights: Path | None = None
    energy_kwh: float | None = None

    @classmethod
    def of(cls, spec: RunSpec, store: Store | None) -> Start:
        """What a run starts from.

        Raises ModelUnavailable where that run failed, was not done, or kept nothing. Raises InputError
        without a place to look for it; where it was on another split of the same images: it has seen test
        images of this run; and where it was not from scratch itself: what it started from may have seen some,
        and took energy that its record does not have.
        """
        if spec.init_from is None:
            return cls()
        if store is None:
            raise InputError(f"init_from is {spec.init_from!r}: say in which store that run is")
        record, path = store.read_record(spec.init_from), store.weights_path(spec.init_from)
        if record is None or record["status"] != "ok":
            why = "was not done" if record is None else f"failed ({record['failure']})"
            raise ModelUnavailable(f"the run that this one starts from, {spec.init_from}, {why}")
        there, here = record.get("split") or 0, spec.split or 0
        if record["dataset"] == spec.dataset and there != here:
            raise InputError(
                f"the run that this one starts from, {spec.init_from}, was trained on split {there} of "
                f"{spec.dataset}, and this one is tested on split {here}: start from a run on the same split"
            )
        if datasets.find(spec.dataset).overlaps(datasets.find(record["dataset"])):
            raise InputError(
                f"the run that this one starts from, {spec.init_from}, was trained on the images of "
                f"{spec.dataset} divided otherwise ({record['dataset']}), some of which this one is tested on"
            )
        if record["pretrained"] or record.get("init_from"):
            raise InputError(
                f"the run that this one starts from, {spec.init_from}, is not from scratch itself"
            )
        if not path.exists():
            raise ModelUnavailable(
                f"the run that this one starts from, {spec.init_from}, kept no weights at {path}: delete its "
                f"record {store.record_path(spec.init_from)}, and it is trained again and keeps them"
            )
        return cls(path, record["energy_kwh"])
