"""What a kWh of electricity stands for: carbon by country, and water."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from pepr.errors import InputError
from pepr.quantities import RESOURCES

if TYPE_CHECKING:
    import pandas as pd  # a second to load, which one intensity does not need

COUNTRIES = ("DNK", "IND", "KEN", "BRA")
"""The grids that the book compares: wind and its neighbours' power, coal, geothermal, and water."""


def intensities() -> pd.DataFrame:
    """CodeCarbon's yearly averages for `COUNTRIES`, in their order; see `grid_intensities`."""
    return grid_intensities().set_index("country_code").loc[list(COUNTRIES)]


def country_names() -> dict[str, str]:
    """The names of `COUNTRIES` by their three-letter code."""
    return intensities()["country"].to_dict()


WORLD = "WORLD"
COUNTRY_VARIABLE, WATER_VARIABLE = "PEPR_COUNTRY", "PEPR_WATER_L_PER_KWH"
TWO_LETTERS = {"UK": "GB", "EL": "GR"}
"""Two letters that ISO 3166 reserves, and those that it gives the country."""


def carbon_intensity(country: str | None = None) -> tuple[float | None, str]:
    """Grid carbon intensity in g CO2-eq per kWh, and what it is of; None where the table has a zero, which
    no grid has: it is not known.

    `country` is an ISO 3166 code of three letters; None takes `$PEPR_COUNTRY`, else the world average.
    Source: CodeCarbon's tables (Our World in Data, Ember). Raises InputError for a code that is not in them.
    """
    asked = country or os.environ.get(COUNTRY_VARIABLE) or WORLD
    code, mixes = asked.strip().upper(), country_mixes()
    if code == WORLD:
        sources = _codecarbon_data("carbon_intensity_per_source.json")
        return float(sources["world_average"]), "world average"
    if code not in mixes:
        raise InputError(
            f"country {asked!r} (PEPR_COUNTRY): no grid intensity known; use a three-letter ISO code"
            f"{_hint(code)}, or {WORLD} for the world average"
        )
    return float(mixes[code]["carbon_intensity"] or 0) or None, mixes[code]["country_name"]


def known_country(code: str) -> str:
    """The code itself, of a country whose grid has an intensity. Raises InputError for any other text."""
    if code in country_mixes() and country_mixes()[code]["carbon_intensity"]:
        return code
    raise InputError(
        f"country {code!r}: no grid intensity known; use a three-letter ISO code{_hint(code.strip().upper())}"
    )


def water_intensity() -> tuple[float | None, str]:
    """Litres of water per kWh, and what that is of: `$PEPR_WATER_L_PER_KWH`, else not known.

    It is the usage effectiveness of water of a data centre (WUE), or that plus what the grid's power
    stations take; CodeCarbon has a setting for it (`wue`) and no value, since a site's own meter or its
    operator's report gives it. Raises InputError for what is not a number of at least 0.
    """
    text = os.environ.get(WATER_VARIABLE, "").strip()
    if not text:
        return None, f"no factor given in {WATER_VARIABLE}"
    try:
        factor = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        factor = math.nan
    if not 0 <= factor < math.inf:
        raise InputError(f"{WATER_VARIABLE} is {text!r}: expected litres per kWh, a number of at least 0")
    return factor or None, f"{factor:g} L/kWh, given in {WATER_VARIABLE}"


FACTORS = {"carbon_intensity_g_per_kwh": carbon_intensity, "water_l_per_kwh": water_intensity}
"""By the column that holds it: what tells how much of a derived resource a kWh stands for, and of what."""


def check_settings() -> None:
    """Raise InputError for a country or a water factor of the environment that cannot be used: before
    anything starts, not when it has ended. Where none is set, nothing is loaded."""
    for variable, factor in ((COUNTRY_VARIABLE, carbon_intensity), (WATER_VARIABLE, water_intensity)):
        if os.environ.get(variable):
            factor()


def per_kwh() -> dict[str, float | None]:
    """The factor of each derived resource here and now, by its column; None where it is not known."""
    return {column: factor()[0] for column, factor in FACTORS.items()}


def derived(energy_kwh: float | None, factors: Mapping[str, float | None]) -> dict[str, float | None]:
    """The columns that follow from an energy [kWh], None where it was not metered: each factor, and what the
    energy makes of it."""
    out = dict(factors)
    for resource in RESOURCES.values():
        if resource.per_kwh:
            factor = factors[resource.per_kwh]
            known = factor is not None and energy_kwh is not None
            out[resource.column] = energy_kwh * factor if known else None
    return out


def _hint(code: str) -> str:
    """What a code without an intensity may have meant, else an example."""
    meant, mixes = _country_meant(code), country_mixes()
    known = meant in mixes and mixes[meant]["carbon_intensity"]
    return f": {meant} is {mixes[meant]['country_name']}" if known else ", such as DNK"


def _country_meant(text: str) -> str | None:
    """The three-letter code of a country that was given by its two letters or by its name."""
    import pycountry

    try:
        return pycountry.countries.lookup(TWO_LETTERS.get(text, text)).alpha_3
    except LookupError:
        return None


def _codecarbon_data(*parts: str) -> Any:
    path = resources.files("codecarbon").joinpath("data", "private_infra", *parts)
    return json.loads(path.read_text())


def country_mixes() -> dict[str, dict[str, Any]]:
    """CodeCarbon's table of electricity mixes by ISO code; `carbon_intensity` in g CO2-eq per kWh."""
    return _codecarbon_data("global_energy_mix.json")


def grid_intensities() -> pd.DataFrame:
    """Carbon intensity by country, g CO2-eq per kWh: country_code, country, carbon_intensity, year.

    Source: CodeCarbon's table of electricity mixes (`global_energy_mix.json` in its package), itself from
    Our World in Data. Countries whose intensity is missing or zero there are left out.
    """
    import pandas as pd

    table = pd.DataFrame.from_dict(country_mixes(), orient="index").rename_axis("country_code").reset_index()
    table = table.rename(columns={"country_name": "country"}).query("carbon_intensity > 0")
    columns = ["country_code", "country", "carbon_intensity", "year"]
    return table[columns].sort_values("carbon_intensity", ignore_index=True)


def carbon_across_countries(energy_kwh: float) -> pd.DataFrame:
    """Grams of CO2-eq that an energy would be in every country of `grid_intensities`, lowest first.

    Always an estimate: yearly national averages. One energy times one number a country: grams change
    between countries, the order of the models never does.
    """
    table = grid_intensities()
    return table.assign(co2eq_g=energy_kwh * table["carbon_intensity"])
