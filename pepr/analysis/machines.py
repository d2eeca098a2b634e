"""The same study on several machines, and how far a seed, a processor and the test images each move a result.

Seed and processor were seen in runs of `pocket`'s reference that were made again on their split with one
thing changed (`python -m benchmarks.repeats`). What other instructions round otherwise, training makes
another network of: its moves are drawn for each run by itself, as those of a seed are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from pepr import verdicts
from pepr.analysis import measures, units
from pepr.analysis.ranked import as_ranked, spoiled
from pepr.errors import InputError
from pepr.models.space import BASELINES
from pepr.runs.results import Results, find_results, reference_folder

REPEATS = Path(str(resources.files("pepr.reference"))) / "repeats.csv"
"""Runs made again, a row each, with what the reference has of the same run beside."""
AS_RECORDED, SEED, ALL_LIBRARIES = "as recorded", "another seed", "all libraries: AVX2"
"""What was changed in a repeated run: nothing; its seed; the instructions that any library may use. What is
changed in others is instructions too."""
EQUAL = 1e-4
"""AUROCs that differ by no more are called the same."""
MEASURES = ("auroc", "accuracy")
COSTS = {
    "train_cpu_time_s": "Processor time",
    "train_time_s": "Wall time",
    "energy_kwh": "Energy",
    "peak_memory_bytes": "Peak memory",
    "speed_probe_s": "Fixed work",
}
"""Columns of a run (`runs.columns` has their units) that say what its training took, or a fixed piece of work
beside it, and what a table calls them."""
CIRCUMSTANCES = ("runs_at_once", "energy_source", "contended")
"""Columns of a run without which what it took cannot be compared."""
CONTRIBUTED = "contributed"
"""The folder of the shipped reference that holds results measured elsewhere, one folder each."""
FEWEST_MODELS = 3
Z_95 = 1.96
"""Of two samples of a normal law, one pair in twenty differs by more, in units of its standard deviation."""
NOT_OF_THE_DIGITS = re.compile(r"; [\d.]+ cores?; \d+ GiB")
"""What a machine's name says of its size, which decides no result."""


def machines(profile: str) -> list[Results]:
    """Every results folder of a profile: the one that the book shows first, then the others."""
    found: list[Results] = []
    with contextlib.suppress(InputError):
        found.append(find_results(profile))
    return found + [one for one in shipped(profile) if one.folder not in {own.folder for own in found}]


def shipped(profile: str) -> list[Results]:
    """What ships of a profile: the reference, then what was contributed to it."""
    contributed = sorted(reference_folder(CONTRIBUTED).glob(f"{profile}-*"))
    folders = [reference_folder(profile), *contributed]
    return [Results(profile, "reference", one) for one in folders if (one / "results.csv").exists()]


def model_times(table: pd.DataFrame) -> pd.Series:
    """Mean training time in seconds of each model and setting, over `ok` runs that can be ranked by it."""
    done = as_ranked(table[table["status"] == "ok"])
    return done[~spoiled(done, "T")].groupby(["setting", "model"])["train_time_s"].mean()


def accuracy_tolerance(first: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """How far apart the test accuracies of the same runs [runs] may be on two machines.

    None at all on one kind of processor (or card) with one software: there a run comes out equal to the last
    digit. Elsewhere other instructions round otherwise, and training makes of the last digit another network
    of the same quality: what two samples of n test images, of which it gets a share p right, differ by in
    nineteen of twenty, 1.96 sqrt(2 p (1 - p) / n).
    """
    kinds = [
        table["hardware"].fillna("").map(lambda name: NOT_OF_THE_DIGITS.sub("", name))
        + table["software"].fillna("")
        for table in (first, other)
    ]
    share = (first["test_accuracy"].to_numpy(float) + other["test_accuracy"].to_numpy(float)) / 2
    sampled = Z_95 * np.sqrt(2 * share * (1 - share) / first["n_test"].to_numpy(float))
    return np.where(kinds[0].to_numpy() == kinds[1].to_numpy(), 0.0, sampled)


def _agreement(first: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """The runs that two tables share, how many of their accuracies agree, and the greatest difference."""
    tables = [table[table["status"] == "ok"].set_index("run_id") for table in (first, other)]
    shared = tables[0].index.intersection(tables[1].index)
    ours, theirs = (table.loc[shared] for table in tables)
    apart = np.abs(ours["test_accuracy"].to_numpy(float) - theirs["test_accuracy"].to_numpy(float))
    within = apart <= accuracy_tolerance(ours, theirs)
    return {
        "shared_runs": len(shared),
        "within_tolerance": int(within.sum()),
        "furthest_apart": float(apart.max()) if len(shared) else np.nan,
    }


def compare(results: list[Results]) -> pd.DataFrame:
    """One row a kind of hardware and folder: runs, median time, and how it agrees with the first row.

    `times_as_long` is the median ratio of its training times to the first's, over the models that both
    ran; `spearman` the rank correlation of these times, empty for fewer than three. Of the `shared_runs`,
    the test accuracy of `within_tolerance` is within `accuracy_tolerance` of the first's; `furthest_apart`
    is the greatest difference.
    """
    rows, first, reference = [], None, None
    for one, hardware, table in _by_hardware(results):
        reference = table if reference is None else reference
        times = model_times(table)
        first = times if first is None else first
        both = pd.concat([first, times], axis=1, join="inner").dropna()
        enough = len(both) >= FEWEST_MODELS
        rows.append(
            {
                "hardware": hardware,
                "origin": one.origin if one.folder.parent.name != CONTRIBUTED else "contributed",
                "runs": len(table),
                "median_time_s": float(times.median()) if len(times) else np.nan,
                "times_as_long": float((both.iloc[:, 1] / both.iloc[:, 0]).median()) if len(both) else np.nan,
                "compared": len(both),
                "spearman": float(spearmanr(both.iloc[:, 0], both.iloc[:, 1])[0]) if enough else np.nan,
                **_agreement(reference, table),
            }
        )
    return pd.DataFrame(rows)


def _by_hardware(results: list[Results]) -> Iterator[tuple[Results, str, pd.DataFrame]]:
    """The tables of some results, divided by kind of hardware, the most runs first. A failed run that does
    not say where it was is with those."""
    for one in results:
        table = one.table
        kinds = list(table["hardware"].value_counts().index) or ["not known"]
        known = table["hardware"].fillna(kinds[0])
        for kind in kinds:
            yield one, str(kind), table[known == kind]


def against_reference(results: Results) -> str | None:
    """In a sentence, how the accuracies of this machine stand to those of the shipped reference; None where
    there is none, or it has no run in common."""
    folder = reference_folder(results.profile)
    if results.folder.resolve() == folder.resolve() or not (folder / "results.csv").exists():
        return None
    row = _agreement(Results(results.profile, "reference", folder).table, results.table)
    if not row["shared_runs"]:
        return None
    return (
        f"{row['within_tolerance']} of {row['shared_runs']} runs have the test accuracy of the shipped "
        f"reference within what their processors allow, at most {100 * row['furthest_apart']:.1f} points "
        "apart: to the last digit on one kind of processor with one software, else as two samples of test "
        "images would differ."
    )


@dataclass(frozen=True)
class Noise:
    """Standard deviations of an effect, each from what alone is drawn again; NaN where it is not known.

    `seed` and `machine`: of every run, by what repeated runs moved; `images`: the test images, resampled.
    `splits`: splits with their seeds, by which the interval goes, and which holds the other three.
    """

    seed: float
    machine: float
    images: float
    splits: float


def read_repeats(path: Path = REPEATS) -> pd.DataFrame:
    """Runs that were made again, a row each: `change`, the run, its measures, `COSTS`, `CIRCUMSTANCES`, and
    those of the reference; how far apart a probability of a test image is at most, and on what hardware and
    software both were made. Tables of old have neither costs nor circumstances."""
    return pd.read_csv(path, float_precision="round_trip")


def repeats() -> pd.DataFrame:
    """`read_repeats` with how far each moved from the reference: `auroc_moved`, `accuracy_moved`, and for
    each of `COSTS` the difference as a share of the mean of the two, such as `energy_kwh_moved`.

    NaN of what was not kept, and of a pair in which one had other circumstances, or another program beside.
    """
    table = read_repeats()
    for measure in MEASURES:
        table[f"{measure}_moved"] = table[f"test_{measure}"] - table[f"reference_test_{measure}"]
    alike = _alike(table)
    for cost in COSTS:
        again, before = (_kept(table, name).astype("float64") for name in (cost, f"reference_{cost}"))
        table[f"{cost}_moved"] = (2 * (again - before) / (again + before)).where(alike)
    return table


def _kept(table: pd.DataFrame, column: str) -> pd.Series:
    """A column [rows], NaN where a table from before it has none."""
    return table[column] if column in table else pd.Series(np.nan, index=table.index)


def _alike(table: pd.DataFrame) -> pd.Series:
    """Which runs [rows] were made again in the circumstances that they had, no other program beside."""
    return pd.concat(
        [
            *(_kept(table, name) == _kept(table, f"reference_{name}") for name in CIRCUMSTANCES),
            ~_kept(table, "contended").eq(True),
        ],
        axis=1,
    ).all(axis=1)


def costs(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """What networks took when they were made again, from `repeats`, one row a group of the columns `by`.

    `pairs` of a run and its repetition whose costs can be compared, how many of them have `equal_accuracies`,
    and for each of `COSTS` the `_median`, the `_least` and the `_greatest` move; of the size of a move, its
    median is `_apart` and its greatest `_furthest`. All are shares. Baselines, which take milliseconds, are
    left out. Empty where no costs are known.
    """
    known = table[table["train_time_s_moved"].notna() & ~table["model"].isin(BASELINES)]
    rows = []
    for group, pairs in known.groupby(by, sort=False):
        row = dict(zip(by, group, strict=True))
        row |= {"pairs": len(pairs), "equal_accuracies": int((pairs["accuracy_moved"].abs() < 1e-9).sum())}
        for cost in COSTS:
            moved = pairs[f"{cost}_moved"]
            row |= {
                f"{cost}_median": float(moved.median()),
                f"{cost}_least": float(moved.min()),
                f"{cost}_greatest": float(moved.max()),
                f"{cost}_apart": float(moved.abs().median()),
                f"{cost}_furthest": float(moved.abs().max()),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def by_change(table: pd.DataFrame) -> pd.DataFrame:
    """One row a change, in the order of the file: `runs`, how many were `equal`, and of the distances from
    the reference the median and the greatest, in AUROC and accuracy."""
    rows = []
    for change, group in table.groupby("change", sort=False):
        moved = {measure: group[f"{measure}_moved"].abs() for measure in MEASURES}
        rows.append(
            {
                "change": change,
                "runs": len(group),
                "equal": int((moved["auroc"] <= EQUAL).sum()),
                **{f"{measure}_median": float(far.median()) for measure, far in moved.items()},
                **{f"{measure}_greatest": float(far.max()) for measure, far in moved.items()},
                "furthest_probability": float(group["furthest_probability"].max()),
            }
        )
    return pd.DataFrame(rows)


def other_instructions(table: pd.DataFrame) -> pd.DataFrame:
    """The runs that other instructions made another of: what a change leaves all networks, or all baselines,
    as they were reaches none of their libraries, and tells nothing of another processor."""
    changed = table[~table["change"].isin((AS_RECORDED, SEED))]
    kind = [changed["change"], changed["model"].isin(BASELINES)]
    furthest = changed["auroc_moved"].abs().groupby(kind).transform("max")
    return changed[furthest > EQUAL]


def run_deviations(rows: pd.DataFrame, moved: pd.DataFrame, measure: str) -> pd.Series:
    """The standard deviation of one run's measure [rows], by what networks of its setting moved, or
    baselines, of which none may have; NaN where none of a setting was repeated.

    It is the root of the mean square over the root of two, since a move is a difference of two draws.
    """

    def deviation(some: pd.DataFrame) -> float:
        return 0.0 if some.empty else float(np.sqrt((some[f"{measure}_moved"] ** 2).mean() / 2))

    is_baseline = moved["model"].isin(BASELINES)
    of_setting = {name: deviation(some) for name, some in moved[~is_baseline].groupby("setting")}
    known = rows["setting"].map(of_setting).astype("float64")
    return known.mask(rows["model"].isin(BASELINES) & known.notna(), deviation(moved[is_baseline]))


def noise_of(
    contrast: units.Contrast,
    rows: pd.DataFrame,
    measure: str,
    images: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> Noise:
    """The noise of a contrast of runs, which are among `rows` of a results table.

    Without `images` that of the test images is not known, and from one unit alone that of splits is not.
    """
    used = (
        rows.drop_duplicates("run_id").set_index("run_id").loc[contrast.weights.index].rename_axis("run_id")
    )
    table = repeats()
    moved = {"seed": table[table["change"] == SEED], "machine": other_instructions(table)}
    squares = {
        name: (run_deviations(used, some, measure) * contrast.weights) ** 2 for name, some in moved.items()
    }
    by_unit = contrast.by_unit(measures.values(used, measure))
    return Noise(
        **{name: float(np.sqrt(some.sum(skipna=False))) for name, some in squares.items()},
        images=float(contrast.draws(images(used.reset_index())).std()) if images else np.nan,
        splits=float(by_unit.std(ddof=1) / np.sqrt(len(by_unit))) if len(by_unit) > 1 else np.nan,
    )


def noise_entry(
    contrast: units.Contrast | None,
    rows: pd.DataFrame,
    measure: str,
    images: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> verdicts.Entry:
    """The noise of a claim as `claims.json` has it, `noise_seed` and so on: None of one that no run moves."""
    unknown = Noise(np.nan, np.nan, np.nan, np.nan)
    found = noise_of(contrast, rows, measure, images) if contrast and contrast.n_units else unknown
    return verdicts.known({f"noise_{name}": value for name, value in vars(found).items()})


def promise(table: pd.DataFrame) -> str:
    """In a sentence, how far the runs of a results table can be had again, and where they cannot."""
    if not (table["device"] == "cpu").all():
        return (
            "What was run on a graphics card was not repeated on another: nothing is promised of a run made "
            "again there."
        )
    made = repeats()
    again, other = made[made["change"] == AS_RECORDED], other_instructions(made)
    changed = made[~made["change"].isin((AS_RECORDED, SEED))]
    far = {measure: 100 * other[f"{measure}_moved"].abs() for measure in MEASURES}
    return (
        "Made again on one kind of processor, with the same instruction set and software, a run has the same "
        f"AUROC to {EQUAL:g} ({(again['auroc_moved'].abs() <= EQUAL).sum()} of {len(again)} runs that were "
        f"repeated); where other instructions reach its libraries it is another network: so in {len(other)} "
        f"of {len(changed)} repeats, which moved by "
        f"{far['auroc'].median():.1f} points of AUROC in the middle and by up to {far['auroc'].max():.1f}, "
        f"and by up to {far['accuracy'].max():.1f} points of accuracy."
    )
