"""What a column's name says it holds: which quantity, in which unit, and whether more of it is better."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MODEL_NAMES = ("model", "architecture", "arch", "net", "network", "backbone")
"""Columns that name the model, in order of preference."""
SEED_NAMES = ("seed", "random_seed", "rng_seed")

ENERGY_UNITS = {"kwh": 1.0, "wh": 1e-3, "kj": 1 / 3600, "mwh": None, "mj": None}
ENERGY_UNITS |= {"gwh": 1e6, "uwh": 1e-9, "gj": 1e3 / 3.6, "uj": 1e-6 / 3.6e6}
ENERGY_UNITS |= dict.fromkeys(("j", "joule", "joules", "ws"), 1 / 3.6e6)
CARBON_UNITS = dict.fromkeys(("lb", "lbs", "pound", "pounds"), 453.59237)
CARBON_UNITS |= dict.fromkeys(("mg", "mgco2", "mgco2e", "mgco2eq"), 1e-3)
CARBON_UNITS |= dict.fromkeys(("t", "ton", "tons", "tonne", "tonnes", "tco2", "tco2e", "tco2eq"), 1e6)
CARBON_UNITS |= dict.fromkeys(("g", "gram", "grams", "gco2", "gco2e", "gco2eq"), 1.0)
CARBON_UNITS |= dict.fromkeys(("kg", "kgs", "kgco2", "kgco2e", "kgco2eq"), 1e3)
TIME_UNITS = {"ms": 1e-3, "milliseconds": 1e-3, "mins": 60.0, "minutes": 60.0, "min": None}
TIME_UNITS |= {"us": 1e-6, "microseconds": 1e-6, "ns": 1e-9, "nanoseconds": 1e-9, "days": 86400.0}
TIME_UNITS |= dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0)
TIME_UNITS |= dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0)
POWER_UNITS = {"w": 1.0, "watt": 1.0, "watts": 1.0, "kw": 1e3, "mw": None}
UNITS = {"energy": ENERGY_UNITS, "carbon": CARBON_UNITS, "time": TIME_UNITS, "power": POWER_UNITS}
"""By quantity, the factor from a unit to kWh, g, s or W; None where small letters leave the unit open."""
CASED = {"MWh": 1e3, "mWh": 1e-6, "MJ": 1 / 3.6, "mJ": 1e-3 / 3.6e6, "MW": 1e6, "mW": 1e-3}
WORDS = {
    "energy": {"energy", "energie", "energia", "consumption", "electricity"},
    "carbon": {"carbon", "co2", "co2e", "co2eq", "emissions", "emission", "ghg", "gwp"},
    "time": {"time", "duration", "runtime", "elapsed", "walltime", "wallclock", "latency"}
    | {"zeit", "dauer", "laufzeit", "duree", "tiempo", "duracion", "durata"},
    "power": {"power", "draw"},
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PARTS = _words("cpu gpu ram dram idle inference infer inf test validation val limit")
"""Words that make of a quantity a part of it, or another phase's."""
NOT_TOTALS = _words(
    "rate intensity per source start end stamp norm pepr std sd err error ci low high factor step first "
    "median mean avg average max min epoch batch image iteration iter sample query token request item load "
    "loading compile download wait queue eval evaluation predict prediction preprocessing latency saved unit "
    "budget"
)
SPELLED_UNITS = _words("seconds minutes hours")
SPANS = _words("train training trained wall clock wallclock run total fit fitting fine tuning finetuning")
"""Words that, beside a unit of time, say that a column holds the time of a run."""
NO_SPANS = _words("days us microseconds ns nanoseconds")
ACCURACY = _words("accuracy acc top1")
PERFORMANCES = ACCURACY | _words(
    "auc auroc f1 top5 precision recall sensitivity specificity r2 iou miou map bleu rouge score dice kappa "
    "mcc performance pepr auprc ndcg jaccard ssim psnr"
)
LESS_IS_BETTER = _words(
    "error err loss rmse mse mae mape perplexity ppl wer cer eer nll brier ece fid fehler"
)
GAINS = _words("saved saving savings utilization utilisation")
"""Words that make of a cost something that is good to have."""
RATES = _words("throughput durchsatz fps qps ips tps rps goodput bandwidth speedup speed efficiency pepr")
PER = _words("per / pro par por")
"""What stands between a count and the time in which it was reached, in some languages."""
COSTS = frozenset.union(
    *(frozenset(WORDS[quantity]) | frozenset(units) - {"days", "us"} for quantity, units in UNITS.items()),
    _words("cost price usd eur water"),
)
"""Words of what a run takes; `auc_30_days` and `acc_us` are of none."""
MEMORY = _words("mem memory rss vram bytes mb mib gb gib")
CONSUMED = MEMORY | WORDS["time"] | frozenset(POWER_UNITS) | _words("water fuel")
"""Words that say that a consumption is none of energy, where no word of energy stands beside them."""
GRADIENTS = _words("grad grads gradient gradients")
"""Words beside which `acc` is an accumulation."""
NAME_WORDS = _words(
    "model run id runid uuid name hash commit sha tag version label code date timestamp path file"
)
"""Words for what is named, such as a run."""
MORE_COSTS = _words("cost price usd eur water consumption flops macs gmacs gflops")
DENOMINATORS = COSTS | _words(
    "day days us dollar minute second hour sekunde stunde seconde heure segundo hora"
)
DEVICES = _words("gpu cpu core node device card worker accelerator")
"""What may stand before the time in a rate: images per GPU hour."""
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
    """The words of a column's name in small letters: `Energy (kWh)` is energy, kwh; `CO₂` is co2."""
    return [part.lower() for part in re.findall(r"[A-Za-z0-9]+|%|/", _split_camel(_bare_letters(name)))]


def _bare_letters(name: str) -> str:
    """A name without accents, its small digits as digits, and micro as u."""
    if name.isascii():
        return name
    letters = unicodedata.normalize("NFKD", name).replace("\u03bc", "u")
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


@functools.cache
def plain_name(name: str) -> str:
    """A column's name in one spelling, whatever its capitals and what stands between its words: `Run ID`,
    `run-id` and `runid` are runid; but a unit of one letter stays apart, so that gpu_s is no gpus."""
    *words, last = tokens_of(name) or [""]
    return "".join(words) + ("_" if words and len(last) == 1 else "") + last


def columns_named(header: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """The columns of a header that have one of the names `wanted`, in their order: spelled so, else in any
    spelling."""
    spelled = {plain_name(name): name for name in reversed(header)}
    found = (name if name in header else spelled.get(plain_name(name)) for name in wanted)
    return list(dict.fromkeys(name for name in found if name is not None))


def is_named(name: str, wanted: Iterable[str]) -> bool:
    """Whether a column has one of the names `wanted`, in any spelling."""
    return plain_name(name) in map(plain_name, wanted)


def spelled_otherwise(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Those of some columns that have a `known` name in another spelling, with that: `'Run ID' as run_id`."""
    plain = {plain_name(name): name for name in reversed(known)}
    others = (name for name in dict.fromkeys(names) if name not in known and plain_name(name) in plain)
    return [f"{name!r} as {plain[plain_name(name)]}" for name in others]


WORD_STARTS = re.compile(
    r"(?<=[a-z])(?=[A-Z][a-z])(?!Wh(?![a-z]))|(?<=[a-z])(?=[km]Wh(?![a-z]))|"
    r"(?<=[a-jln-z])(?<![^A-Za-z]u)(?=Wh(?![a-z]))"
)
"""Where a word starts in `trainTime` and `energykWh`; not within kWh, mWh and uWh, which are units."""


def _split_camel(name: str) -> str:
    return WORD_STARTS.sub("_", name)


def meaning(name: str) -> Meaning | None:
    """What a column's name says it measures; None where it names none of the quantities."""
    tokens = tokens_of(name)
    words = set(tokens)
    cased = next((CASED[part] for part in re.findall(r"[A-Za-z]+", name) if part in CASED), None)
    for quantity, named in WORDS.items():
        units = [token for token in tokens if token in UNITS[quantity]]
        alone = quantity == "energy" and bool({"kwh", "wh", "joules", "kj"} & words)
        alone = alone or (quantity == "carbon" and any(t.startswith(("gco2", "kgco2")) for t in tokens))
        alone = alone or (quantity == "time" and _is_a_span(tokens))
        if not (named & words or alone):
            continue
        other = quantity == "energy" and named & words == {"consumption"} and CONSUMED & words
        if other and not units and not alone:
            continue
        factor = UNITS[quantity][units[-1]] if units else 1.0
        if factor is None or (cased is not None and quantity in ("energy", "power")):
            factor = cased
        total = not (words & (PARTS | NOT_TOTALS)) and "/" not in tokens
        return Meaning(quantity, factor, bool(units), total)
    return None


def _is_a_span(tokens: Sequence[str]) -> bool:
    """Whether a name is a unit of time and nothing but words for a run: `train_hours`, `wall_s`. Days may be
    those that data are of, and microseconds are no run's."""
    spans = [token for token in tokens if token not in TIME_UNITS or token in NO_SPANS]
    if len(tokens) - len(spans) != 1:
        return False
    return SPANS.issuperset(spans) if spans else tokens[0] in SPELLED_UNITS


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
    mark = next((at for at, token in enumerate(tokens) if token in PER), None)
    if mark is not None and mark + 1 < len(tokens):
        before, after = tokens[:mark], [token for token in tokens[mark + 1 :] if token not in DEVICES]
        return bool(before and after) and not COSTS.intersection(before) and after[0] in DENOMINATORS
    if len(tokens) > 1 and tokens[-2] in COUNTED and tokens[-1] in ("s", "sec", "second"):
        return True
    return bool(words & PERFORMANCES) and not words & (COSTS | GRADIENTS)


def is_cost(name: str) -> bool:
    """Whether a column's name is that of something measured that a run takes: energy, time, memory."""
    words = set(tokens_of(name))
    memory = words & MEMORY or any(word.startswith("mem") for word in words)
    return meaning(name) is not None or bool(memory or words & MORE_COSTS)


def names_things(name: str) -> bool:
    """Whether a column's name says that its cells are names, which are numbers only where nothing is lost by
    it."""
    words = set(tokens_of(name))
    return bool(words & NAME_WORDS) and not words & MEMORY and meaning(name) is None


def less_is_better(name: str) -> bool:
    """Whether a column's name is that of an error, a loss or a cost, of which less is better."""
    words = set(tokens_of(name))
    if words & LESS_IS_BETTER:
        return True
    if words & (PERFORMANCES | GAINS) or more_is_better(name):
        return False
    found = meaning(name)
    if found and (found.named or found.quantity != "power"):  # without a unit it may be that of a test
        return True
    return bool(words & (MEMORY | MORE_COSTS))


def is_measured(name: str) -> bool:
    """Whether a column's name is that of a result, and not of something that a study chose."""
    return is_cost(name) or more_is_better(name) or less_is_better(name)


def seed_column(header: Sequence[str]) -> str | None:
    """The column that holds a run's seed."""
    return next(iter(columns_named(header, SEED_NAMES)), None)
