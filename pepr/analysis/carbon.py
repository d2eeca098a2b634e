"""The same study on other electricity grids: grams follow from energy and intensity, ranks stay."""

from __future__ import annotations

import pandas as pd

from pepr.analysis.energy import study_bill
from pepr.analysis.ranked import as_ranked, enough
from pepr.analysis.scores import run_alike, usual_starts
from pepr.display.numbers import UNKNOWN, Numbers, number
from pepr.display.words import mass
from pepr.grids import intensities
from pepr.models.space import BASELINES


def energy_of_models(table: pd.DataFrame) -> pd.Series:
    """Mean training energy of each network in kWh, over its runs on the most training data that was used.

    `table` is a results table, of which those runs count whose energies can be compared: on the one dataset
    and hardware with most networks (`scores.run_alike`). A network without a metered run is left out.
    Baselines, which take a millionth of it, are shown where there is no network; and starts from shuffled
    weights or another run, where there is no other.
    """
    done = table[table["status"] == "ok"]
    usual = usual_starts(done)
    done = usual if len(usual) else done
    networks = done[~done["model"].isin(BASELINES)]
    done = networks if len(networks) else done
    done = done[done["train_fraction"] == done["train_fraction"].max()]
    return run_alike(done).groupby("model")["energy_kwh"].mean().dropna()


def grams_by_country(table: pd.DataFrame) -> pd.DataFrame:
    """Grams of CO2-eq of one training of each model, one column a country: always an estimate."""
    energy = energy_of_models(table)
    return pd.DataFrame(
        {code: energy * intensity for code, intensity in intensities()["carbon_intensity"].items()}
    )


def ranks_that_differ(grams: pd.DataFrame) -> int:
    """How many models have another rank in some country than in the first column's."""
    ranks = grams.rank()
    return int((ranks.ne(ranks.iloc[:, 0], axis=0)).any(axis=1).sum())


def grid_numbers(energy_kwh: float) -> Numbers:
    """An energy on several grids, as numbers for prose: intensity, year and grams, and their ratio."""
    rows = intensities()
    out = {}
    for code, row in rows.iterrows():
        key, intensity = f"carbon_{code.lower()}", float(row["carbon_intensity"])
        out[f"{key}_country"] = number(row["country"])
        out[f"{key}_intensity"] = number(intensity, "{:.0f} g/kWh".format, True)
        out[f"{key}_year"] = number(int(row["year"]), str)
        out[f"{key}_co2"] = number(energy_kwh * intensity, mass, True)
    ratio = float(rows["carbon_intensity"].max() / rows["carbon_intensity"].min())
    return out | {"carbon_grid_ratio": number(ratio, "{:.1f}".format, True)}


def study_numbers(table: pd.DataFrame) -> Numbers:
    """What prose may quote of a study on several grids: `grid_numbers` of its bill, and what place cannot do.

    `carbon_model_ratio` is how much more energy the dearest of `carbon_models` took than the thriftiest; of
    fewer than half of the networks, as when others shared the processor, it is not known.
    `carbon_ranks_moved` is how many networks change rank between the grids.
    """
    bill, ranked = study_bill(table), as_ranked(table)
    grams = grams_by_country(table)
    energy = energy_of_models(ranked[~ranked["energy_spoiled"]])
    ratio = float(energy.max() / energy.min()) if enough(len(energy), len(grams)) else float("nan")
    moved = ranks_that_differ(grams)
    return grid_numbers(bill["total_wh"] / 1000) | {
        "carbon_model_ratio": number(ratio, f"{ratio:.1f}" if ratio == ratio else UNKNOWN, bill["estimated"]),
        "carbon_models": number(len(energy)),
        "carbon_ranks_moved": number(moved, str(moved) if moved else "none"),
    }
