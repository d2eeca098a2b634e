"""Which model to take for a budget: candidates with measured or predicted costs, ranked and explained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis.ranked import as_ranked
from pepr.costs import model as cost, prediction, swept
from pepr.errors import DataUnavailable, InputError
from pepr.grids import FACTORS, per_kwh
from pepr.models.space import BASELINES
from pepr.quantities import RESOURCES, Resource, energy_is_estimated
from pepr.score import pepr

if TYPE_CHECKING:
    from pepr.costs.swept import Sweep
    from pepr.published.tables import Published
    from pepr.published.versions import Versions


AUTHORS = "rtx3090"
RISKS = ("expected", "cautious")
CONFIDENCE = 0.90
READINGS = ("last epoch", "best epoch", "mean of the last three")
N_DRAWS = 400
SEED = 5
GB = 1e9
IMAGES = "test images"
"""What the interval of a performance is over, where it is known from one run."""
ENDS = ("", "_low", "_high")
"""What follows the name of a cost: nothing for its value, or one of these for its 90% bounds."""
COLUMNS = {"E": ("energy_wh", 1.0), "T": ("train_time_s", 1 / 60), "M": ("peak_memory_gb", 1.0)}
"""The column of the candidates that holds a resource, and the factor to the unit of its budget."""
LIMITS = {resource.budget: resource for resource in RESOURCES.values() if resource.budget}
"""What a budget can limit, by the name that an option of `pepr recommend` has after `--max-`."""


def needs(resource: Resource, table: pd.DataFrame, end: str = "") -> pd.Series:
    """What each candidate needs of a resource, in the unit of its budget [models]; NaN where not known.
    `end` is `_low` or `_high` for a bound."""
    if resource.per_kwh:
        return table[f"energy_wh{end}"] / 1000 * table[resource.per_kwh]
    column, factor = COLUMNS[resource.letter]
    return table[f"{column}{end}"] * factor


class Budget:
    """What may be spent at most, by the names of `LIMITS`; None is no limit. Raises InputError for 0 and
    less."""

    def __init__(self, **limits: float | None) -> None:
        for name, value in limits.items():
            if name not in LIMITS:
                raise TypeError(f"no budget {name!r}; known: {', '.join(LIMITS)}")
            if value is not None and not value > 0:
                raise InputError(f"the budget {name.replace('_', ' ')} is {value}: expected above 0")
        self.limits = {name: value for name, value in limits.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Choice:
    """One recommended model. Performance is a fraction, with a 90% interval over what `over` says: the test
    images of one run, or splits with their seeds.

    `pepr_e` is PePR-E among all candidates of the setting, within the budget or not. `stability` is in
    how many of the redrawn and re-read accuracies the model is among as many models as were asked for.
    `measured` lists what was measured; the rest is predicted. `derived` has what the energy makes of carbon
    and the like, None where the factor is not known.
    """

    model: str
    performance: float
    performance_low: float
    performance_high: float
    energy_wh: float
    peak_memory_gb: float
    train_time_s: float
    derived: dict[str, float | None]
    num_params: int
    pepr_e: float
    stability: float
    measured: list[str]
    setting: str
    over: str
    why: str
    basis: str

    def as_dict(self) -> dict[str, object]:
        """Every field by name, those derived from the energy among them."""
        out = dataclasses.asdict(self)
        return out | out.pop("derived")


def recommend(
    budget: Budget,
    setting: str | None = None,
    train_images: int | None = None,
    risk: str = "expected",
    top: int = 5,
) -> list[Choice]:
    """The best models within a budget, best first: by performance, or its lower bound where `cautious`.

    A cautious choice also keeps the upper bounds of the costs within the budget. Equal performance goes
    to the lower energy. Raises InputError for an unknown setting or risk, and when nothing fits.
    """
    check(budget, train_images, risk, top)
    table = candidates(setting, train_images)
    return choose(table, budget, risk, top)


def check(budget: Budget, train_images: int | None, risk: str, top: int | None) -> None:
    """Raise InputError for what no choice can be made by: a risk that is none, fewer than one model or image,
    and a limit on what nothing tells from the energy."""
    if risk not in RISKS:
        raise InputError(f"risk {risk!r}: expected one of {', '.join(RISKS)}")
    if top is not None and top < 1:
        raise InputError(f"--top {top}: expected at least 1")
    if train_images is not None and train_images < 1:
        raise InputError(f"--train-images {train_images}: expected at least 1")
    cost.check_count("train_images", train_images or 1)
    for name, value in budget.limits.items():
        if factor := FACTORS.get(LIMITS[name].per_kwh):
            known, of = factor()
            if known is None:
                option = f"--max-{name.replace('_', '-')}"
                raise InputError(f"{option} {value:g}: {LIMITS[name].per_kwh} is not known ({of})")


def choose(table: pd.DataFrame, budget: Budget, risk: str, top: int) -> list[Choice]:
    """`recommend` on a table of `candidates`."""
    fits = within(table, budget, risk)
    if not fits.any():
        raise InputError(f"no model fits: {most_frugal(table, budget, risk)}")
    table = table.assign(pepr_e=pepr(table["performance"].to_numpy(), table["energy_wh"].to_numpy()))
    kept = table[fits]
    key = "performance_low" if risk == "cautious" else "performance"
    ranked = kept.sort_values([key, "energy_wh", "model"], ascending=[False, True, True])
    stable = stability(kept, risk, top)
    return [_choice(row, rank, len(kept), risk, stable) for rank, row in enumerate(_rows(ranked.head(top)))]


def within(table: pd.DataFrame, budget: Budget, risk: str) -> pd.Series:
    """True for candidates whose cost, or its upper bound where `cautious`, is within every limit."""
    end = "_high" if risk == "cautious" else ""
    fits = pd.Series(True, index=table.index)
    for name, value in budget.limits.items():
        fits &= needs(LIMITS[name], table, end) <= value
    return fits


def candidates(setting: str | None = None, train_images: int | None = None) -> pd.DataFrame:
    """Every model with a known performance, and its costs: one row a model.

    Performances are the authors' where their tables are at hand or can be fetched, else those of the
    shipped reference of `pocket`. Costs of exactly the authors' job are theirs, where the audit leaves
    them standing; other costs are predicted.
    """
    from pepr import published

    settings = cost.settings()
    if setting is None or setting in settings:
        try:
            tables = published.load()
        except DataUnavailable as error:
            if setting is not None:
                raise DataUnavailable(f"setting {setting} needs the authors' tables: {error}") from None
        else:
            nearest = nearest_setting(setting or "lidc", setting, train_images)
            return from_authors(tables, nearest, train_images)
    found = from_reference(setting, train_images)
    if setting is None:
        found["basis"] += "; the authors' tables are not at hand"
    return found


def nearest_setting(default: str, given: str | None, train_images: int | None) -> str:
    """With a number of images and no setting, the fraction of the default's data nearest to it."""
    if given or train_images is None:
        return default
    settings = cost.model()["settings"].items()
    alike = {name: job["train_images"] for name, job in settings if name.split("_")[0] == default}
    return _nearest_size(pd.Series(alike), train_images)


def from_authors(
    tables: Published, setting: str, train_images: int | None = None, runs: Versions | None = None
) -> pd.DataFrame:
    """Candidates of one of the paper's settings; runs that the audit found unusable are left out.

    Where `pepr sweep` has measured this machine under the conditions of the setting, its energy too, all
    costs are of this machine, and a model that has none here is left out. `rank` is a model's mean rank over
    the authors' data sets, by which a plan of trials orders a family.
    """
    from pepr.costs.fit import test_images
    from pepr.published.reproduction import performance
    from pepr.published.strategies import ranks_elsewhere
    from pepr.published.versions import of

    runs = runs or of(tables)
    rows = runs.best[runs.best["dataset"] == setting]
    job = cost.job_of(setting, train_images=train_images)
    measured_here = swept_here(job) is not None
    theirs_on = int(cost.model()["settings"][setting]["train_images"])
    same_job = train_images in (None, theirs_on)
    on = f"with {theirs_on:,} training images" + ("" if same_job else f", not with {train_images:,}")
    out = []
    for row, readings in zip(
        rows.itertuples(), zip(*(performance(rows, how) for how in READINGS), strict=True), strict=True
    ):
        predicted = prediction.as_row(row.model, job, None if measured_here else AUTHORS)
        if measured_here and not predicted["swept"]:
            continue  # not measured here: its costs would be another machine's
        theirs = {}
        if same_job and not measured_here:
            theirs = {"train_time_s": 10.0 * row.train_time, "peak_memory_gb": row.memM}
            if row.energy_kind == "measured":
                theirs["energy_wh"] = 1000 * row.energy
        told = ", ".join(name.rsplit("_", 1)[0].replace("_", " ") for name in sorted(theirs))
        basis = f"performance measured by the authors {on}, on their test images, one seed; "
        basis += f"{told} measured by them; the rest " if theirs else ""
        costs = {f"energy_wh{end}": predicted[f"energy_wh{end}"] for end in ENDS}
        costs |= {f"train_time_s{end}": predicted[f"train_time_s{end}"] for end in ENDS}
        costs |= {f"peak_memory_gb{end}": predicted[f"peak_memory_bytes{end}"] / GB for end in ENDS}
        costs |= {f"{name}{end}": value for name, value in theirs.items() for end in ENDS}
        out.append(
            _candidate(row.model, setting, readings, test_images(setting), costs)
            | {"num_params": predicted["num_params"], "measured": ["performance", *sorted(theirs)]}
            | {"basis": basis + predicted["basis"]}
        )
    table = _with_factors(pd.DataFrame(out))
    return table.assign(rank=table["model"].map(ranks_elsewhere(runs.best)))


def swept_here(job: cost.Job) -> Sweep | None:
    """The sweep by which models are chosen for a job: of this machine, if it metered energy."""
    found = swept.of_job(job)
    return found if found and any(map(swept.metered, found.rows.values())) else None


def _with_factors(table: pd.DataFrame) -> pd.DataFrame:
    """With what a kWh stands for here, by `grids.FACTORS`; NaN where it is not known."""
    return table.assign(**{name: np.nan if value is None else value for name, value in per_kwh().items()})


def _candidate(
    model: str, setting: str, readings: Sequence[float], n_test: int, costs: dict[str, float]
) -> dict:
    """One row: the performance with its interval over the test images, and the costs with their bounds."""
    interval = stats.wilson_interval(round(readings[0] * n_test), n_test, CONFIDENCE)
    return {
        "model": model,
        "setting": setting,
        "over": IMAGES,
        "performance": readings[0],
        "performance_low": interval.low,
        "performance_high": interval.high,
        "readings": tuple(readings),
        "n_test": n_test,
        **costs,
    }


def from_reference(setting: str | None = None, train_images: int | None = None) -> pd.DataFrame:
    """Candidates of the shipped reference of `pocket`: its networks, trained there, splits averaged.

    A performance has Student's interval over the splits, which differ more than test images do. With another
    number of training images, time and energy are in proportion to it, and the setting, where none is named,
    is that from scratch whose number is nearest. Raises InputError for a setting that it does not have.
    """
    from pepr.runs.results import Results, reference_folder

    runs = Results("pocket", "reference", reference_folder("pocket")).table
    runs = as_ranked(runs[(runs["status"] == "ok") & ~runs["model"].isin(BASELINES)])
    runs = runs[~runs["time_spoiled"] & ~runs["energy_spoiled"]]
    names = sorted(runs["setting"].unique())
    if setting is None:
        sizes = runs[~runs["pretrained"]].groupby("setting")["n_train"].first()
        setting = "elpv" if train_images is None else _nearest_size(sizes, train_images)
    if setting not in names:
        raise InputError(f"setting {setting!r}; known: {', '.join([*cost.settings(), *names])}")
    runs = runs[runs["setting"] == setting]
    by_split = runs.pivot_table("test_accuracy", "model", "split").dropna(axis="columns")
    out = [
        _of_reference(str(model), rows, by_split.loc[model].to_numpy(), train_images)
        for model, rows in runs.groupby("model")
    ]
    return _with_factors(pd.DataFrame(out))


def _of_reference(
    model: str, rows: pd.DataFrame, accuracies: np.ndarray, train_images: int | None
) -> dict[str, object]:
    """One row: a model's runs in a setting; `accuracies` are those on the splits that all models have."""
    trained = round(rows["n_train"].mean())
    scale = (train_images or trained) / trained
    scaled = ""
    if scale != 1:
        proportion = f"time and energy in proportion to {train_images:,}"
        scaled = f"; performance with {trained:,} images, {proportion}"
    values = {
        "energy_wh": scale * 1000 * rows["energy_kwh"].mean(),
        "train_time_s": scale * rows["train_time_s"].mean(),
        "peak_memory_gb": rows["peak_memory_bytes"].mean() / GB,
    }
    energy, majority = rows["energy_source"].iloc[0], rows["test_majority_rate"].mean()
    measured = ["peak_memory_gb", *(["train_time_s"] if scale == 1 else [])]
    if scale == 1 and not energy_is_estimated(energy):
        measured.append("energy_wh")
    interval = stats.mean_interval(accuracies, confidence=CONFIDENCE).within(0.0, 1.0)
    return {
        "model": model,
        "setting": rows["setting"].iloc[0],
        "over": f"{len(accuracies)} splits, each with test images and a seed of its own",
        "performance": interval.estimate,
        "performance_low": interval.low,
        "performance_high": interval.high,
        "accuracies": tuple(accuracies),
        **{f"{name}{end}": value for name, value in values.items() for end in ENDS},
        "num_params": int(rows["num_params"].iloc[0]),
        "measured": ["performance", *sorted(measured)],
        "basis": f"the reference runs of pocket on {rows['hardware'].iloc[0]}, {len(rows)} splits, a seed "
        f"each, where always giving the more common answer is right in {majority:.3f} "
        f"of the cases; energy by {energy}{scaled}",
    }


def _nearest_size(sizes: pd.Series, train_images: int) -> str:
    """The setting whose number of training images, by name, is nearest, as a ratio."""
    return str((sizes.astype(float) / train_images).map(np.log).abs().idxmin())


def stability(kept: pd.DataFrame, risk: str, top: int) -> dict[str, float]:
    """In which share of redrawn accuracies, under every reading of them, each model is among the `top`."""
    redrawn = list(_redrawn(kept))
    hits = np.zeros(len(kept))
    for draws in redrawn:
        if risk == "cautious":
            draws -= (kept["performance"] - kept["performance_low"]).to_numpy()
        best = np.argsort(-draws, axis=1, kind="stable")[:, :top]
        hits += np.bincount(best.ravel(), minlength=len(kept))
    return dict(zip(kept["model"], hits / (N_DRAWS * len(redrawn)), strict=True))


def _redrawn(kept: pd.DataFrame) -> Iterator[np.ndarray]:
    """What the accuracies of models could be, [draws, models]: of this study's runs their joint t
    distribution over splits; of the authors', who published one seed, counts of the test images by each
    reading.
    """
    if "accuracies" in kept:
        yield stats.mean_draws(np.array(kept["accuracies"].tolist()).T, N_DRAWS, SEED)
        return
    rng = np.random.default_rng(SEED)
    n_test = kept["n_test"].to_numpy()
    for reading in np.array(kept["readings"].tolist()).T:
        yield rng.binomial(n_test, reading, size=(N_DRAWS, len(kept))) / n_test


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _choice(row: dict, rank: int, n_within: int, risk: str, stable: dict[str, float]) -> Choice:
    by = "lower bound of performance" if risk == "cautious" else "performance"
    why = f"{_ordinal(rank + 1)} {by} of the {n_within} models within the budget"
    return Choice(
        **{
            field.name: row[field.name]
            for field in dataclasses.fields(Choice)
            if field.name not in ("derived", "stability", "why")
        },
        derived={
            name: None if np.isnan(row[limit.per_kwh]) else row["energy_wh"] / 1000 * row[limit.per_kwh]
            for name, limit in LIMITS.items()
            if limit.per_kwh
        },
        stability=stable[row["model"]],
        why=why,
    )


def _ordinal(number: int) -> str:
    return {1: "highest", 2: "second highest", 3: "third highest"}.get(number, f"{number}th highest")


def most_frugal(table: pd.DataFrame, budget: Budget, risk: str) -> str:
    """What the most frugal candidate would need, for the message that nothing fits."""
    end = "_high" if risk == "cautious" else ""
    least = table.sort_values(f"energy_wh{end}").iloc[0]
    return (
        f"the budget is {budget.limits}; the most frugal of {len(table)} models, {least['model']}, needs "
        f"{least[f'energy_wh{end}']:.3g} Wh, {least[f'peak_memory_gb{end}']:.3g} GB and "
        f"{least[f'train_time_s{end}'] / 60:.3g} minutes"
    )


def as_text(found: Sequence[Choice]) -> str:
    """Recommendations for a person."""
    lines = [
        f"Setting {found[0].setting}.",
        "",
        f"{'model':<26}{'accuracy (90%)':>24}{'Wh':>8}{'GB':>7}{'min':>8}{'g CO2-eq':>10}{'stays':>7}",
    ]
    for choice in found:
        interval = f"{choice.performance:.3f} ({choice.performance_low:.3f} to {choice.performance_high:.3f})"
        grams = "-" if choice.derived["co2_g"] is None else f"{choice.derived['co2_g']:.3g}"
        lines.append(
            f"{choice.model:<26}{interval:>24}{choice.energy_wh:>8.3g}{choice.peak_memory_gb:>7.3g}"
            f"{choice.train_time_s / 60:>8.3g}{grams:>10}{100 * choice.stability:>6.0f}%"
        )
    setting, over = found[0].setting, found[0].over
    reread = (
        " and the accuracy is read at the last, the best or the last three epochs" if over == IMAGES else ""
    )
    lines += ["", f"The 90% intervals are over {over}."]
    lines += [
        f"'stays': how often a model remains in this list when the {over.partition(',')[0]} of {setting}"
    ]
    lines += [f"are redrawn{reread}."]
    return "\n".join([*lines, f"Basis of {found[0].model}: {found[0].basis}."])
