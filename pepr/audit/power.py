"""Checks on power: what energy over time implies, and what a machine, or the one that is named, can draw."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np

from pepr.audit.finding import ERROR, NOTE, WARNING, Finding
from pepr.audit.registry import check
from pepr.audit.table import View
from pepr.quantities import JOULES_PER_KWH
from pepr.stats import FloatArray

HOST_POWER_W = 150.0
LARGEST_PUE = 1.67
"""The largest power usage effectiveness that common meters multiply by (the 2019 global average)."""
MACHINE_POWER_W = 15_000.0
"""More than one server draws: NVIDIA's DGX B200, eight of its largest cards, is specified with 14.3 kW."""
LEAST_POWER_W = 1.0
"""Less than a computer that trains draws; a single-board computer that idles takes two or three."""
PLAUSIBLE_W = (2.0, 6000.0)
"""What one machine draws, where a unit is guessed: from a single-board computer to a server with cards."""
UNIT_RATIOS = (1e3, JOULES_PER_KWH, 3600.0, 1e6, 1e3 * JOULES_PER_KWH)
"""By how much an energy is too large that is in another unit than it is taken for, likeliest first."""
ENERGY_UNITS = {
    1e3: "megawatt-hours (MWh)",
    1.0: "kilowatt-hours (kWh)",
    1e-3: "watt-hours (Wh)",
    1e-6: "milliwatt-hours (mWh)",
    1 / 3600: "kilojoules (kJ)",
    1 / JOULES_PER_KWH: "joules (J)",
    1e-3 / JOULES_PER_KWH: "millijoules (mJ)",
}
"""By how many kWh a unit is."""
EDGE_TOLERANCE = 0.02
"""A meter's own window opens and closes some milliseconds outside the clock's: in runs of a few seconds its
energy divided by the clock's time may pass a limit by that much."""
SMALL_RATIOS = (1e-3, 1 / 3600, 1 / JOULES_PER_KWH)
"""The same of an energy that is too small."""
TURBO = 2.5
"""How far a processor's package may pass its thermal design power for a while (Intel's PL2 over PL1)."""
SOCKETS = 2
REST_OF_HOST_W = 60.0
COUNT = re.compile(r"^(\d+)\s*[x×]\s*|[\s(][x×]\s*(\d{1,2})\)?$")
"""How many there are of what a name says: `8 x A100`, `A100 (x8)`."""
COUNT_OF_CARDS = re.compile(
    r"^(\d+)\s*(?:\*|\s(?!gi?b\b|(?:core|thread)s?\b)(?=[a-z]))|[:=*]\s*(\d+)(?:\([^)]*\))?$"
)
"""The same in the name of a card: `8 A100`, `A100*8`, `gres/gpu:a100=8`; not its memory: `40 GB A100`."""


@check(
    "Energy divided by time is a power. Above what the device and its host can draw, with the largest "
    "overhead that meters multiply by, the energy belongs to a longer run, or is in another unit; below the "
    "idle power, part of it is missing.",
)
def implied_power(view: View) -> list[Finding]:
    power = view.power
    if power is None:
        return []
    limit, count = _limit(view), _count(view)
    limited = np.isfinite(limit)
    ceiling = np.where(limited, (limit + HOST_POWER_W) * LARGEST_PUE, MACHINE_POWER_W * count)
    idle = view.role("idle_power")
    at_once = _runs_at_once(view)
    idle = np.zeros(view.n_rows) if idle is None else np.nan_to_num(idle, nan=0.0) / at_once
    floor = np.maximum(idle * (1 - EDGE_TOLERANCE), LEAST_POWER_W)
    high, low = power > ceiling, power < floor
    guess = guessed_unit(view)

    def explain(row: int) -> str:
        if low[row] and power[row] < idle[row] * (1 - EDGE_TOLERANCE):
            share = f", and a share of 1 in {at_once[row]:.0f} of that" if at_once[row] > 1 else ""
            return (
                f"{power[row]:.4g} W on average is less than the machine draws when idle, "
                f"{idle[row] * at_once[row]:.4g} W{share}: part of the energy is missing."
            )
        if low[row]:
            fits = (words for f, words in unit_guesses(view, SMALL_RATIOS) if _plausible(power[row] / f))
            small = next(fits, "a lost part")
            return f"{watts(power[row])} on average is less than a computer that trains draws: {small}?"
        if power[row] > MACHINE_POWER_W * count[row] and (guess or _unit_of(view, power[row])):
            fits = [(f, words) for f, words in unit_guesses(view) if _plausible(power[row] / f)] or [guess]
            if _plausible(power[row] / 60) and view.columns.time not in view.columns.factors:
                fits.insert(0, (60.0, "minutes taken for seconds"))
            likely = ", or ".join(f"{words}? Then it is {watts(power[row] / f)}" for f, words in fits[:3])
            return f"{watts(power[row])} on average is more than one machine draws: {likely}."
        if not limited[row]:
            return f"{watts(power[row])} on average is more than one machine draws ({watts(ceiling[row])})."
        return (
            f"{power[row]:,.0f} W on average, where a device limited to {limit[row]:,.0f} W, with "
            f"{HOST_POWER_W:.0f} W for its host and an overhead of {LARGEST_PUE}, reaches "
            f"{ceiling[row]:,.0f} W at most. The energy is that of a longer run, or the time that of a "
            "shorter one."
        )

    rows, columns = np.flatnonzero(high | low), [view.columns.energy, view.columns.time]
    return view.findings(rows, ERROR, columns, power, explain, np.where(low, floor, ceiling))


def _runs_at_once(view: View) -> FloatArray:
    """Of how many runs that share a machine each row is one [rows]; 1 where it is not told."""
    known = view.role("runs_at_once")
    return np.ones(view.n_rows) if known is None else np.fmax(known, 1.0)


def _limit(view: View) -> FloatArray:
    if view.given_power_limit_w is not None:
        return np.full(view.n_rows, view.given_power_limit_w)
    limit = view.role("power_limit")
    return np.full(view.n_rows, np.nan) if limit is None else limit


def _count(view: View) -> FloatArray:
    """How many machines' worth of power a row may draw [rows]: nodes, or eighths of as many devices."""
    nodes, devices = view.role("nodes"), view.role("devices")
    names = _named_parts(view)
    cards = None if names is None else np.array([float(_several(gpu or cpu)) for cpu, gpu in names])
    several = np.ones(view.n_rows)
    for count, share in ((nodes, 1.0), (devices, 1 / 8), (cards, 1 / 8)):
        if count is not None:
            several = np.fmax(several, np.nan_to_num(count, nan=1.0) * share)
    return several


def guessed_unit(view: View) -> tuple[float, str] | None:
    """The factor and name of the unit in which the energies would give a power that machines have.

    None where at most half of the rows imply more than a machine draws, or where no unit helps.
    """
    power = view.power
    if power is None or not np.isfinite(power).any():
        return None
    known = power[np.isfinite(power)] / _count(view)[np.isfinite(power)]
    middle = float(np.median(known))
    return _unit_of(view, middle) if (known > MACHINE_POWER_W).mean() > 0.5 else None


def _unit_of(view: View, power: float) -> tuple[float, str] | None:
    return next(((f, words) for f, words in unit_guesses(view) if _plausible(power / f)), None)


def unit_guesses(view: View, ratios: Sequence[float] = UNIT_RATIOS) -> list[tuple[float, str]]:
    """By how much energies may be off, and what they would be: another unit than that of the column."""
    taken = view.columns.factors.get(view.columns.energy or "", 1.0)
    found = []
    for ratio in ratios:
        unit = next((w for kwh, w in ENERGY_UNITS.items() if np.isclose(kwh, taken / ratio, 1e-6, 0)), None)
        small = f"an energy in {unit}" if unit else None
        words = [unit] if ratio > 1 else ["a time in milliseconds", small] if ratio == 1e-3 else [small]
        words += ["hours taken for seconds"] if ratio == 3600 else []
        if any(words):
            found.append((ratio, ", or ".join(filter(None, words))))
    return found


def _plausible(power: float) -> bool:
    return PLAUSIBLE_W[0] <= power <= PLAUSIBLE_W[1]


def watts(power: float) -> str:
    """A power with the unit that suits it."""
    for scale, unit in ((1e9, "GW"), (1e6, "MW"), (1e3, "kW")):
        if power >= scale:
            return f"{power / scale:,.3g} {unit}"
    return f"{power:.3g} W"


@check(
    "More power on average than the processor or card that the row names can draw, with room for its host: "
    "the energy is of another machine, of another unit, or was never measured.",
)
def beyond_named_hardware(view: View) -> list[Finding]:
    power, names = view.power, _named_parts(view)
    if power is None or names is None:
        return []
    devices = view.role("devices")
    count = np.ones(view.n_rows) if devices is None else np.fmax(np.nan_to_num(devices, nan=1.0), 1.0)
    most = {pair: (*ceiling_w(*pair), _several(pair[1])) for pair in set(names)}
    alone, card, named = np.array([most[pair] for pair in names]).reshape(-1, 3).T
    ceiling = alone + np.maximum(count - named, 0) * card
    rows = np.flatnonzero((power > ceiling) & (power <= MACHINE_POWER_W * _count(view)))
    limit = _limit(view)
    rows = [row for row in rows if not np.isfinite(limit[row])]

    def explain(row: int) -> str:
        return (
            f"{watts(power[row])} on average, where {' and '.join(filter(None, names[row]))} with its host "
            f"reaches {watts(ceiling[row])} at most."
        )

    known = view.columns
    columns = [known.energy, known.time, known.cpu, known.gpu, known.hardware]
    return view.findings(rows, ERROR, columns, power, explain, ceiling)


def _named_parts(view: View) -> list[tuple[str, str]] | None:
    """The processor and the card that each row names [rows]; None where the table names neither."""
    cpus, gpus, either = view.texts("cpu"), view.texts("gpu"), view.texts("hardware")
    blank = [""] * view.n_rows
    if cpus is not None or gpus is not None:
        return list(zip(cpus or blank, gpus or blank, strict=True))
    if either is None:
        return None
    return [("", name) if card_power_w(name) else (name, "") for name in either]


def ceiling_w(cpu: str, gpu: str) -> tuple[float, float]:
    """The most that a machine with these parts draws, and that of one card; infinite where a part is unknown.

    A card may pass its board power by a tenth; a processor its design power by `TURBO`, twice over where a
    server holds two. The rest of the host and the largest overhead are added.
    """
    card, number = (card_power_w(gpu), _several(gpu)) if gpu else (0.0, 1)
    package = processor_power_w(cpu) if cpu else None
    if card is None or (cpu and package is None) or not (cpu or gpu):
        return np.inf, 0.0
    if gpu:
        host = 2 * HOST_POWER_W if package is None else TURBO * SOCKETS * package + REST_OF_HOST_W
        return (1.1 * card * number + max(host, HOST_POWER_W)) * LARGEST_PUE, 1.1 * card * LARGEST_PUE
    sockets = SOCKETS if re.search(r"xeon|epyc|opteron", cpu.lower()) else 1
    return TURBO * sockets * package + REST_OF_HOST_W, 0.0


def _several(name: str) -> int:
    """How many cards or processors a name says; 1 where it says nothing."""
    text = name.lower()
    found = COUNT.search(text)
    if found is None and (card_power_w(name) or "gpu" in text):
        found = COUNT_OF_CARDS.search(text)
    return max(int(next(filter(None, found.groups()))), 1) if found else 1


@cache
def card_power_w(name: str) -> float | None:
    """The board power of a graphics card by its name, in W; None for one that is not in the list.

    Source of `hardware.csv`: the makers' specifications; the largest of the variants that share a name.
    """
    words = " ".join(re.findall(r"[a-z0-9]+", name.lower().replace("geforce", "").replace("-", " ")))
    if "laptop" in words or "mobile" in words or "max q" in words:
        return None
    return next((w for known, w in _cards() if re.search(rf"(^| ){known}( |$)", words)), None)


@cache
def _cards() -> list[tuple[str, float]]:
    text = (resources.files("pepr.audit") / "hardware.csv").read_text(encoding="utf-8")
    rows = [(row["name"], float(row["watts"])) for row in csv.DictReader(text.splitlines())]
    return sorted(rows, key=lambda row: -len(row[0]))


@cache
def processor_power_w(name: str) -> float | None:
    """The thermal design power of a processor by its name, in W; None for one CodeCarbon does not list."""
    plain = re.sub(r"\((r|tm|c)\)|\bcpu\b|@.*|\d+-core processor|processor|with radeon.*", " ", name.lower())
    plain = re.sub(r"^\d+(st|nd|rd|th) gen ", "", " ".join(plain.split()))
    return _processors().get(plain)


@cache
def _processors() -> dict[str, float]:
    path = resources.files("codecarbon") / "data" / "hardware" / "cpu_power.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    whole = [row for row in rows if re.fullmatch(r"\d+(\.\d+)?", row["TDP"] or "")]
    return {" ".join(row["Name"].lower().split()): float(row["TDP"]) for row in whole}


@check(
    "Energies that are one constant times the time of every run, to the last digit: a power was assumed, "
    "and multiplied. That ranks models by their time alone.",
)
def load_model(view: View) -> list[Finding]:
    found = []
    for rows, power in view.assumed_powers:
        text = (
            f"{len(rows)} energies are {power:.1f} W times the time: an assumption, and no measurement. "
            "Scored by energy, the models are in the order of their times."
        )
        setting = view.setting_of(int(rows[0])) if len(set(view.setting_code[rows])) == 1 else None
        columns = [str(view.columns.energy), str(view.columns.time)]
        found.append(Finding(NOTE, setting, None, columns, power, None, text))
    return found


@check(
    "A time, a carbon or a memory below 0, which none can be; or of 0 beside rows that have one: not "
    "measured, and no saving.",
)
def zero_measured(view: View) -> list[Finding]:
    found: list[Finding] = []
    roles = [
        (view.columns.carbon, "carbon"),
        (view.columns.time, "time"),
        *((n, "memory") for n in view.columns.memory),
    ]
    for name, words in roles:
        if name is None:
            continue
        values = view.floats(name)
        text = f"The {words} is below 0, which none can be; where it was not measured, it should be empty."
        found += view.findings(np.flatnonzero(values < 0), ERROR, [name], values, text)
        rows = np.flatnonzero(values == 0)
        if not rows.size or not (values > 0).any():
            continue
        text = f"The {words} is 0 where other rows have one: it was not measured, and should be empty."
        found += view.findings(rows, WARNING, [name], values, text)
    return found
