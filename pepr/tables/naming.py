"""What a column's name says it holds: which quantity, in which unit, and whether more of it is better."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MODEL_NAMES = ("model", "architecture", "arch", "net", "network", "backbone")
"""Columns that name the model, in order of preference."""
SEED_NAMES = ("seed", "random_seed", "rng_seed")

ENERGY_UNITS = {"kwh": 1.0, "wh": 1e-3, "kj": 1 / 3600, "mwh": None, "mj": None}
ENERGY_UNITS |= dict.fromkeys(("j", "joule", "joules", "ws"), 1 / 3.6e6)
CARBON_UNITS = {"mg": 1e-3, "t": 1e6, "lb": 453.59237, "lbs": 453.59237}
CARBON_UNITS |= dict.fromkeys(("g", "gram", "grams", "gco2", "gco2e", "gco2eq"), 1.0)
CARBON_UNITS |= dict.fromkeys(("kg", "kgs", "kgco2", "kgco2e", "kgco2eq"), 1e3)
TIME_UNITS = {"ms": 1e-3, "milliseconds": 1e-3, "mins": 60.0, "minutes": 60.0, "min": None}
TIME_UNITS |= dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0)
TIME_UNITS |= dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0)
POWER_UNITS = {"w": 1.0, "watt": 1.0, "watts": 1.0, "kw": 1e3, "mw": None}
UNITS = {"energy": ENERGY_UNITS, "carbon": CARBON_UNITS, "time": TIME_UNITS, "power": POWER_UNITS}
"""By quantity, the factor from a unit to kWh, g, s or W; None where small letters leave the unit open."""
CASED = {"MWh": 1e3, "mWh": 1e-6, "MJ": 1 / 3.6, "mJ": 1e-3 / 3.6e6, "MW": 1e6, "mW": 1e-3}
WORDS = {
    "energy": {"energy", "consumption", "electricity"},
    "carbon": {"carbon", "co2", "co2e", "co2eq", "emissions", "emission", "ghg", "gwp"},
    "time": {"time", "duration", "runtime", "elapsed", "walltime", "wallclock", "latency"},
    "power": {"power", "draw"},
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PARTS = _words("cpu gpu ram dram idle inference infer inf test validation val limit")
"""Words that make of a quantity a part of it, or another phase's."""
NOT_TOTALS = _words(
    "rate intensity per source start end stamp norm pepr std sd err error ci low high factor step first "
    "median mean avg average max min epoch batch image iteration iter sample query token request item load "
    "loading compile download wait queue eval evaluation predict prediction preprocessing latency saved unit"
)
ACCURACY = _words("accuracy acc top1")
PERFORMANCES = ACCURACY | _words(
    "auc auroc f1 top5 precision recall sensitivity specificity r2 iou miou map bleu rouge score dice kappa "
    "mcc performance pepr"
)
LESS_IS_BETTER = _words("error err loss rmse mae perplexity")
RATES = _words("throughput fps qps ips goodput bandwidth speedup speed efficiency")
COSTS = frozenset.union(
    *(frozenset(WORDS[quantity]) | frozenset(units) for quantity, units in UNITS.items()),
    _words("cost price usd eur water"),
)
DENOMINATORS = COSTS | _words("day dollar minute second hour")
COUNTED = _words(
    "img imgs image images sample samples it its iter iters tok token tokens step steps example examples "
    "batch batches frame frames queries"
)


@dataclass(frozen=True)
class Meaning:
    """A quantity (`energy`, `carbon`, `time`, `power`) and the factor to kWh, g, s or W.

    `factor` is None where the unit has two readings; `named` tells whether the name holds a unit at all;
    `total` whether it is the run's, and not that of a part, a phase, or a share.
    """

    quantity: str
    factor: float | None
    named: bool
    total: bool


def tokens_of(name: str) -> list[str]:
    """The words of a column's name in small letters: `Energy (kWh)` is energy, kwh."""
    return [part.lower() for part in re.findall(r"[A-Za-z0-9²]+|%|/", _split_camel(name))]


def _split_camel(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name)


def meaning(name: str) -> Meaning | None:
    """What a column's name says it measures; None where it names none of the quantities."""
    tokens = tokens_of(name)
    words = set(tokens)
    cased = next((CASED[part] for part in re.findall(r"[A-Za-z]+", name) if part in CASED), None)
    for quantity, named in WORDS.items():
        units = [token for token in tokens if token in UNITS[quantity]]
        alone = quantity == "energy" and bool({"kwh", "wh", "joules", "kj"} & words)
        alone = alone or (quantity == "carbon" and any(t.startswith(("gco2", "kgco2")) for t in tokens))
        alone = alone or (tokens in (["seconds"], ["minutes"], ["hours"]) and quantity == "time")
        if not (named & words or alone):
            continue
        factor = UNITS[quantity][units[-1]] if units else 1.0
        if factor is None or (cased is not None and quantity in ("energy", "power")):
            factor = cased
        total = not (words & (PARTS | NOT_TOTALS)) and "/" not in tokens
        return Meaning(quantity, factor, bool(units), total)
    return None


def is_percent(name: str) -> bool:
    """Whether a name says that its values are percentages."""
    return bool({"%", "percent", "percentage", "pct"} & set(tokens_of(name)))


def more_is_better(name: str) -> bool:
    """Whether a column's name is that of a performance or a rate, of which more is better."""
    tokens = tokens_of(name)
    words = set(tokens)
    if words & LESS_IS_BETTER:
        return False
    if words & RATES:
        return True
    mark = next((at for at, token in enumerate(tokens) if token in ("per", "/")), None)
    if mark is not None and mark + 1 < len(tokens):
        before, after = set(tokens[:mark]), tokens[mark + 1]
        return not before & COSTS and after in DENOMINATORS
    if len(tokens) > 1 and tokens[-2] in COUNTED and tokens[-1] in ("s", "sec", "second"):
        return True
    return bool(words & PERFORMANCES) and not words & COSTS


def seed_column(header: Sequence[str]) -> str | None:
    """The column that holds a run's seed."""
    return next((name for name in header if name.lower() in SEED_NAMES), None)
