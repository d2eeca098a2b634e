"""Checks on carbon: grams over energy are an intensity, which grids have and tables agree on."""

from __future__ import annotations

from functools import cache

import numpy as np

from pepr.audit.finding import ERROR, NOTE, WARNING, Finding
from pepr.audit.power import guessed_unit
from pepr.audit.registry import check
from pepr.audit.table import View
from pepr.grids import grid_intensities
from pepr.tables.naming import columns_named, is_named

FALLBACK_INTENSITIES = {
    475.0: "the world average that common meters assume",
    445.0: "the world average of 2024 that carbontracker assumes",
}
"""Carbon intensities, g/kWh, that meters fall back on when they cannot find the local one."""
LEAST_INTENSITY, LARGEST_INTENSITY = 1.0, 1500.0
"""g/kWh, wider than any grid's: national averages of a year lie between some 10 and 900."""
GRID_INTENSITIES = (10.0, 1200.0)
CARBON_RATIOS = (1e-3, 1e3, 1e-6, 1e6)
"""By how much an intensity is off where the carbon is in another unit than its own, likeliest first."""
CARBON_UNITS = {1e6: "tonnes", 1e3: "kilograms", 1.0: "grams", 1e-3: "milligrams", 1e-6: "micrograms"}
"""By how many grams a unit is."""
COUNTRY_RATIO = 10.0
COUNTRIES_OF_REGIONS = ("AUS", "BRA", "CAN", "CHN", "IND", "RUS", "USA")
"""Large countries, whose provinces have grids of their own."""
FALLBACK_COUNTRIES = {"CAN", "CANADA", "CA"}
"""Where CodeCarbon is when it cannot locate itself."""


@check(
    "Carbon divided by energy is a carbon intensity, between 1 and 1,500 g/kWh on any grid. Outside, one of "
    "the two is in another unit than it is taken for.",
)
def carbon_unit(view: View) -> list[Finding]:
    intensity = view.intensity
    if intensity is None:
        return []
    guess = guessed_unit(view)
    own = intensity * guess[0] if guess else intensity
    rows = np.flatnonzero(_of_no_grid(own))

    def explain(row: int) -> str:
        low, high = GRID_INTENSITIES
        ratio = next((ratio for ratio in CARBON_RATIOS if low <= own[row] / ratio <= high), None)
        fits = _units_off_by(view, ratio) if ratio else ""
        likely = f": {fits}?" if fits else "; one of the two is in another unit, or of another run."
        return f"{own[row]:.3g} g/kWh is no grid's{likely}"

    return view.findings(rows, ERROR, [view.columns.carbon, view.columns.energy], own, explain)


def _units_off_by(view: View, ratio: float) -> str:
    """Which unit the carbon, or the energy, would be in where an intensity is `ratio` times a grid's."""
    factors, columns = view.columns.factors, view.columns
    grams = factors.get(columns.carbon, 1.0) / ratio
    words = [words for unit, words in CARBON_UNITS.items() if np.isclose(unit, grams, 1e-6, 0)]
    if ratio == 1e3 and factors.get(columns.energy, 1.0) == 1.0:
        words.append("an energy in MWh")
    return ", or ".join(words)


@check(
    "Carbon divided by energy is a carbon intensity. In some rows it is exactly a constant that meters fall "
    "back on, while the others have a local value: these rows' grams are not comparable.",
)
def carbon_fallback(view: View) -> list[Finding]:
    intensity = view.intensity
    if intensity is None or np.isfinite(intensity).sum() < 2 or np.nanstd(intensity) < 1e-6:
        return []
    fallback = _fallback(intensity)
    is_fallback = np.isfinite(fallback)
    if (~is_fallback & np.isfinite(intensity)).sum() == 0:
        return []
    local = np.nanmedian(intensity[~is_fallback])

    def explain(row: int) -> str:
        return (
            f"Carbon is {intensity[row]:.0f} g/kWh times energy, "
            f"{FALLBACK_INTENSITIES[float(fallback[row])]}, where other rows have about "
            f"{local:.0f}. The grams, and any score made from them, compare where the meter found no local "
            "value, not the models."
        )

    columns = [view.columns.carbon, view.columns.energy]
    return view.findings(np.flatnonzero(is_fallback), WARNING, columns, intensity, explain, local)


@check(
    "A few rows of a table are in Canada and all others in one other country: CodeCarbon is in Canada when "
    "it cannot locate itself.",
)
def fallback_country(view: View) -> list[Finding]:
    countries = view.texts("country")
    if countries is None:
        return []
    names = np.array([name.upper() for name in countries])
    away = np.isin(names, list(FALLBACK_COUNTRIES))
    others = set(names[~away]) - {""}
    if not away.any() or len(others) != 1 or away.mean() > 1 / 3 + 1e-9:
        return []
    if set(view.machine_code[away]).isdisjoint(view.machine_code[~away]):
        return []
    (country,) = others

    def explain(row: int) -> str:
        return (
            f"This row is in {countries[row]} where the others are in {country}. CodeCarbon falls back to "
            "Canada when it cannot locate itself; the grams are then those of another grid."
        )

    rows, seen = np.flatnonzero(away), np.array(countries)
    return view.findings(rows, WARNING, [view.columns.country], seen, explain, country)


@check("All rows of a table have one carbon intensity, but for a few: their grams were made in another way.")
def carbon_unlike_rest(view: View) -> list[Finding]:
    intensity = view.intensity
    if intensity is None or np.isfinite(intensity).sum() < 3:
        return []
    known = np.isfinite(intensity)
    middle = float(np.median(intensity[known]))
    off = known & (np.abs(np.log(np.where(known, intensity, middle) / middle)) > np.log(1.5))
    agree = known & (np.abs(intensity / middle - 1) < 0.01)
    if not off.any() or off.sum() > max(1, 0.2 * known.sum()) or agree.sum() + off.sum() < known.sum():
        return []
    countries = view.texts("country")
    rest = {name for name, same in zip(countries or [], agree, strict=False) if same}
    rows = [
        int(row)
        for row in np.flatnonzero(off & ~_of_no_grid(intensity) & ~np.isfinite(_fallback(intensity)))
        if countries is None or countries[row] in rest
    ]

    def explain(row: int) -> str:
        return (
            f"{intensity[row]:.4g} g/kWh, where the other rows all have {middle:.4g}: the grams, or the "
            "energy, are of another run, another grid or another unit."
        )

    columns = [view.columns.carbon, view.columns.energy]
    return view.findings(rows, WARNING, columns, intensity, explain, middle)


@check(
    "The row names a country, and its carbon over energy is more than ten times, or less than a tenth, of "
    "what that country's grid has over a year: more than its hours differ.",
)
def carbon_of_other_country(view: View) -> list[Finding]:
    intensity, countries = view.intensity, view.texts("country")
    if intensity is None or countries is None or columns_named(view.header, ["region"]):
        return []
    averages = _national_averages()
    if is_named(str(view.columns.country), ["location"]):  # two letters may be those of a state there
        averages = {name: value for name, value in averages.items() if len(name) > 2}
    usual = np.array([averages.get(name.upper(), np.nan) for name in countries])
    with np.errstate(invalid="ignore"):
        ratio = intensity / usual
        unlike = (ratio > COUNTRY_RATIO) | (ratio < 1 / COUNTRY_RATIO)
    rows = np.flatnonzero(unlike & ~_of_no_grid(intensity))
    columns = [view.columns.country, view.columns.carbon, view.columns.energy]

    def explain(row: int) -> str:
        grid = f"the grid of {countries[row]} has {usual[row]:.4g} over a year"
        return f"{intensity[row]:.4g} g/kWh, where {grid}."

    return view.findings(rows, WARNING, columns, intensity, explain, usual)


@cache
def _national_averages() -> dict[str, float]:
    """Yearly averages in g/kWh by name and by code, of three letters and of two, without countries whose
    regions have grids of their own."""
    import pycountry

    two = {country.alpha_3: country.alpha_2 for country in pycountry.countries}
    table = grid_intensities()
    table = table[~table["country_code"].isin(COUNTRIES_OF_REGIONS)]
    named = zip(table["country_code"], table["country"], table["carbon_intensity"], strict=True)
    known = ((key, value) for code, name, value in named for key in (code, two.get(code, code), name))
    return {key.upper(): float(value) for key, value in known}


@check(
    "Within a setting the grams per kWh differ between rows: carbon then ranks the hours at which models "
    "happened to run beside the models themselves.",
)
def carbon_intensity_varies(view: View) -> list[Finding]:
    intensity = view.intensity
    if intensity is None:
        return []
    found = []
    for name, rows in zip(view.settings, view.rows_by_setting, strict=True):
        known = intensity[rows][np.isfinite(intensity[rows])]
        if len(known) < 2 or known.max() <= 1.05 * known.min():
            continue
        text = (
            f"From {known.min():.4g} to {known.max():.4g} g/kWh over {len(known)} rows. To compare models, "
            "multiply every energy by one intensity; to report emissions, say when each run took place."
        )
        setting = name if view.columns.setting else None
        columns = [str(view.columns.carbon), str(view.columns.energy)]
        found.append(Finding(NOTE, setting, None, columns, float(known.max()), float(known.min()), text))
    return found


def _of_no_grid(intensity: np.ndarray) -> np.ndarray:
    """Which intensities [rows] no grid has; none where the intensity is not known."""
    return (intensity < LEAST_INTENSITY) | (intensity > LARGEST_INTENSITY)


def _fallback(intensity: np.ndarray) -> np.ndarray:
    """The constant that a meter falls back on, where an intensity is one, else NaN: [rows]."""
    constants = np.array(list(FALLBACK_INTENSITIES))
    distance = np.abs(intensity[:, None] - constants[None, :])
    return np.where((distance <= 1e-4).any(axis=1), constants[distance.argmin(axis=1)], np.nan)
