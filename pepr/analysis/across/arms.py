"""What of pretraining is scale, and what it gains where its own bill is known: two starts of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr.analysis.across.pretraining import Difference, difference
from pepr.analysis.across.sets import Sets
from pepr.analysis.ranked import as_ranked
from pepr.quantities import energy_is_estimated
from pepr.score import pepr

COMPARISONS = {
    "scale": ("shuffled_full", "scratch_full"),
    "features": ("pretrained_full", "shuffled_full"),
    "transfer": ("transferred_full", "scratch_full"),
    "imagenet": ("pretrained_full", "transferred_full"),
}
"""What the statistics of the weights add without features, what the features add to them; what another set
adds as a start, and what ImageNet adds over that."""
USES = (1, 10, 100)
"""Over how many uses the energy of pretraining is shared."""
WORK = ["fidelity", "image_size", "batch_size", "epochs", "n_train", "precision", "device"]
"""What the energy of a training hangs on beside network and hardware; what it starts from is not of it."""


@dataclass(frozen=True)
class Shared:
    """How networks that start from another run do by PePR-E against the same from scratch, when the energy of
    that run is shared over so many uses.

    The scores are set-relative, over both starts of the `n_networks` together; `transferred` and `scratch`
    are their means, `wins` counts the networks whose score is higher transferred, and `energy_wh` is the
    median of what one use takes, its share included. `best` is the model and start with the highest score.
    Where the two starts were not trained on one kind of hardware, `charged_alike` is true: training from
    scratch is charged what the same network took transferred. AUROC is of the seeds that both starts have,
    and energies are those that rank everywhere else.
    """

    dataset: str
    uses: int
    n_networks: int
    wins: int
    transferred: float
    scratch: float
    energy_wh: float
    best: tuple[str, str]
    estimated: bool
    charged_alike: bool


def differences(sets: Sets) -> list[tuple[str, Difference]]:
    """Every comparison of `COMPARISONS` that has runs, set by set, by its name."""
    return [
        (name, found)
        for name, cells in COMPARISONS.items()
        for dataset in sets.names
        if (found := difference(sets, dataset, cells)) is not None
    ]


def on_other_hardware(sets: Sets, name: str, dataset: str) -> bool:
    """Whether the two sides of one of `COMPARISONS` on a set were not trained on the same hardware."""
    first, second = sets.both(dataset, *COMPARISONS[name])
    return set(first["hardware"]) != set(second["hardware"])


def of_one_source(sets: Sets) -> list[str]:
    """The networks whose several transferred runs on a set all start from one and the same run."""
    rows = pd.concat([sets.cell(dataset, "transferred_full") for dataset in sets.names])
    sources = rows.groupby(["dataset", "model"])["init_from"].agg(["nunique", "size"])
    alike = sources[(sources["nunique"] == 1) & (sources["size"] > 1)]
    return sorted({str(model) for _, model in alike.index})


def shared_bills(sets: Sets, uses: Sequence[int] = USES) -> list[Shared]:
    """The scores of both starts on every set, with the source's energy shared over each number of uses.

    A set has none where what is transferred and what it starts from were not trained on one kind of hardware,
    whose energies cannot be compared. Training from scratch is the same work as training transferred, for
    one network: where it was done on other hardware, it is charged alike. A network is left out whose
    energies, or whose source's, are not known or cannot be ranked.
    """
    if not sets.names:
        return []
    hardware, energy = sets.everything.set_index("run_id")["hardware"], _ranked_energy(sets)
    found = []
    for dataset in sets.names:
        transferred, scratch = sets.both(dataset, "transferred_full", "scratch_full")
        if transferred.empty:
            continue
        sources = transferred["init_from"].map(hardware).fillna(transferred["hardware"])
        if pd.concat([transferred["hardware"], sources]).nunique(dropna=False) > 1:
            continue
        elsewhere = set(scratch["hardware"]) != set(transferred["hardware"])
        if elsewhere and not _same_work(transferred, scratch):
            continue
        means = _means(_charged(transferred, energy), _charged(scratch, energy))
        if elsewhere:
            of_model = means[means["start"] == "transferred"].set_index("model")["energy_kwh"]
            means["energy_kwh"] = means["model"].map(of_model)
        known = means[["energy_kwh", "init_energy_kwh"]].notna().all(axis=1)
        means = means[known.groupby(means["model"]).transform("all")]
        if means.empty:
            continue
        estimated = elsewhere or any(energy_is_estimated(source) for source in transferred["energy_source"])
        found += [_shared(dataset, means, count, estimated, elsewhere) for count in uses]
    return found


def energy_of_two_starts(sets: Sets) -> float:
    """By what share the training energies of one network from two starts differ, in the median over networks
    and sets: from ImageNet weights and from scratch, the same work on one kind of hardware.

    It is what charging two starts alike is good for. NaN where no network was trained so.
    """
    if not sets.names:
        return float("nan")
    found, energy = [], _ranked_energy(sets)
    for dataset in sets.names:
        pretrained, scratch = sets.both(dataset, "pretrained_full", "scratch_full")
        for _, rows in _charged(pd.concat([pretrained, scratch]), energy).groupby("model"):
            if len(rows[[*WORK, "hardware"]].drop_duplicates()) == 1:
                of_start = rows.groupby("pretrained")["energy_kwh"].mean()
                found.append(abs(of_start.loc[True] / of_start.loc[False] - 1))
    known = [share for share in found if np.isfinite(share)]
    return float(np.median(known)) if known else float("nan")


def _ranked_energy(sets: Sets) -> dict[str, float]:
    """The training energy that ranks a run [kWh], by run_id; NaN where it cannot be ranked."""
    ranked = as_ranked(sets.everything).set_index("run_id")
    return ranked["energy_kwh"].where(~ranked["energy_spoiled"].astype(bool)).to_dict()


def _charged(rows: pd.DataFrame, energy: Mapping[str, float]) -> pd.DataFrame:
    """Runs with `energy` (by run_id) as their own energy and that of what they start from; a source that is
    not in the study has that of the records, and training from nothing has none."""
    of_source = [
        0.0 if pd.isna(source) else energy.get(source, recorded)
        for source, recorded in zip(rows["init_from"], rows["init_energy_kwh"], strict=True)
    ]
    own = [energy[run_id] for run_id in rows["run_id"]]
    return rows.assign(energy_kwh=own, init_energy_kwh=of_source)


def _same_work(transferred: pd.DataFrame, scratch: pd.DataFrame) -> bool:
    work = pd.concat([transferred, scratch])[["model", *WORK]].drop_duplicates()
    return bool(work["model"].is_unique)


def _means(transferred: pd.DataFrame, scratch: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC, training energy and the source's [kWh] of each network: one row a start and model."""
    parts = []
    for start, rows in (("transferred", transferred), ("scratch", scratch)):
        part = rows.groupby("model")[["test_auroc", "energy_kwh", "init_energy_kwh"]].mean()
        parts.append(part.astype("float64").assign(start=start))
    return pd.concat(parts).reset_index()


def _shared(dataset: str, means: pd.DataFrame, uses: int, estimated: bool, charged_alike: bool) -> Shared:
    energy = means["energy_kwh"] + means["init_energy_kwh"] / uses
    scored = means.assign(score=pepr(means["test_auroc"].to_numpy(), energy.to_numpy()), energy=energy)
    by_start = {start: rows.set_index("model") for start, rows in scored.groupby("start")}
    transferred, scratch = by_start["transferred"], by_start["scratch"]
    best = scored.loc[scored["score"].idxmax()]
    return Shared(
        dataset,
        uses,
        len(transferred),
        int((transferred["score"] > scratch["score"].reindex(transferred.index)).sum()),
        float(transferred["score"].mean()),
        float(scratch["score"].mean()),
        1000 * float(np.median(transferred["energy"])),
        (str(best["model"]), str(best["start"])),
        estimated,
        charged_alike,
    )
