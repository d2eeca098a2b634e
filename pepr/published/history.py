"""How the authors' tables came about: the result files of their development repository, commit by commit.

Source: repository `raghavian/MIA-Energy` (MIT licence), in which the first author developed the study. Only
the files are read in which a run, or another value of one of its cells, appears for the first time. A run is
recognised by its model and its training time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from pepr.datasets import downloads
from pepr.errors import DataUnavailable, InputError
from pepr.files import named_folder
from pepr.published.tables import MEASURED, SETTINGS, TEST_COLUMNS, fetch, verified

REPOSITORY = "raghavian/MIA-Energy"
BASE_URL = f"https://raw.githubusercontent.com/{REPOSITORY}/"
DIGITS = 10
"""Significant digits in which a time or an energy is compared: the tables were saved with 12 or more."""
NUMBERS = tuple(name for name in MEASURED if name != "efficient")
CELLS = (*(name for name in NUMBERS if name != "infer_time"), "tr_acc", *TEST_COLUMNS)
"""The measured columns that a run keeps from its first recording to the published table."""


@dataclass(frozen=True)
class History:
    """Every run that the repository ever held, as it was first recorded.

    `runs` has one row a run, in the order of recording: `model`, `key` (its training time in `DIGITS`
    digits), `setting`, `recorded` (date and time of the commit), `commit`, the columns `CELLS` with their
    first values, `published` (the run stands in the published table), and `energy_run`: the row of `runs`
    in which its energy was recorded first, its own where it has a reading of its own.
    """

    runs: pd.DataFrame

    @cached_property
    def by_key(self) -> dict[tuple[str, float], int]:
        """The row of `runs` of each model and key."""
        pairs = zip(self.runs["model"], self.runs["key"], strict=True)
        return {pair: row for row, pair in enumerate(pairs)}

    def rows_of(self, results: pd.DataFrame) -> np.ndarray:
        """The row of `runs` that each row of a table of runs is, [rows]; -1 where none is."""
        keys = zip(results["model"], rounded(results["train_time"]), strict=True)
        return np.array([self.by_key.get(key, -1) for key in keys], dtype=np.int64)


def files() -> pd.DataFrame:
    """The files that are needed: `name`, `recorded`, `commit` (abbreviated), `path` there, `sha256`."""
    path = resources.files("pepr.published") / "history_files.csv"
    return pd.read_csv(path, dtype=str)


def at_hand(source: str | Path = "auto") -> bool:
    """True when every file lies in a folder here or was downloaded before."""
    return all(local_file(name, source) is not None for name in files()["name"])


def load(results: pd.DataFrame, source: str | Path = "auto") -> History:
    """The history of a published table `results`. `source`: `auto`, or a folder that holds the files.

    `auto` looks in `$PEPR_DATA/published_history` and in the cache, then downloads from the pinned commits.
    Raises DataUnavailable when a file can be neither found nor downloaded, InputError when one is there but
    is not the pinned one.
    """
    listed = files()
    parts = [
        _recording(_found(row.name, row.commit, row.path, row.sha256, source)).assign(
            recorded=row.recorded, commit=row.commit
        )
        for row in listed.itertuples(index=False, name="File")
    ]
    return from_recordings(pd.concat(parts, ignore_index=True), results)


def from_recordings(recordings: pd.DataFrame, results: pd.DataFrame) -> History:
    """The history that `recordings` tell: rows of all files in order of commit, with `recorded`, `commit`.

    A run's setting is the one of the published runs that came with it in the same file, for all of a file
    the commonest; a file that brought none of them belongs to the setting of most of its rows.
    """
    recordings = recordings.assign(key=rounded(recordings["train_time"]))
    first = recordings.drop_duplicates(["model", "key"]).reset_index(drop=True)
    settings = _settings_by_run(results)
    brought = pd.Series(list(zip(first["model"], first["key"], strict=True)), index=first.index)
    known = brought.map(settings)
    by_commit = {}
    for commit, rows in first.groupby("commit").groups.items():
        new = known[rows].dropna()
        if new.empty:
            inside = recordings[recordings["commit"] == commit]
            pairs = pd.Series(list(zip(inside["model"], inside["key"], strict=True)))
            new = pairs.map(settings).dropna()
        by_commit[commit] = str(new.mode().iloc[0])
    published = set(zip(results["model"], rounded(results["train_time"]), strict=True))
    energies = pd.Series(rounded(first["energy"]))
    owner = energies.groupby(energies).transform(lambda same: same.index[0])
    runs = first[["model", "key", "recorded", "commit", *CELLS]].assign(
        setting=first["commit"].map(by_commit),
        published=[pair in published for pair in brought],
        energy_run=owner.to_numpy(),
    )
    return History(runs)


def facts(history: History, results: pd.DataFrame) -> pd.DataFrame:
    """What is known of each published row, one row each, in the order of `results`.

    `recorded`, `commit`, `recorded_for`: when, where and for which setting the run was first recorded;
    `energy_recorded`, `energy_commit`, `energy_of`: the same of its energy; `energy_owner`: `own`, `other`
    (another published run) or `dropped` (a run that was left out of the published table); `changed`: cells
    that differ from what was first recorded, with the first value; `missing_run_commit`: where a row was
    pasted from another setting, the commit that holds the run which belongs there.
    """
    return pd.DataFrame(
        {
            "model": model,
            "setting": setting,
            "recorded": row.run["recorded"],
            "commit": row.run["commit"],
            "recorded_for": row.run["setting"],
            "energy_recorded": row.energy_run["recorded"],
            "energy_commit": row.energy_run["commit"],
            "energy_of": row.energy_run["setting"],
            "energy_owner": row.energy_is,
            "changed": _listed(row.changed),
            "missing_run_commit": row.missing["commit"] if row.missing else "",
        }
        for (setting, model), row in row_facts(history, results).items()
    )


Place = dict[str, str]
"""Where something was recorded first: model, setting, date and commit."""


@dataclass(frozen=True)
class RowFacts:
    """What the history knows of a published row.

    `run` and `energy_run` are where the run, and the run of its energy, were recorded first; the energy is
    the row's `own`, that of an `other` row, or of a run that was `dropped` from the table. `pasted`: the run
    is of another setting; `changed`: cells with their first values; `missing`: the run that it hides.
    """

    run: Place
    energy_run: Place
    energy_is: str
    pasted: bool
    changed: Mapping[str, float]
    missing: Place | None


def row_facts(history: History, results: pd.DataFrame) -> dict[tuple[str, str], RowFacts]:
    """What the history knows of each published row, by setting and model, in the order of `results`.

    Raises InputError for a row that nothing recorded.
    """
    at = history.rows_of(results)
    if (at < 0).any():
        lost = results[at < 0].iloc[0]
        raise InputError(f"{lost['model']} in {lost['dataset']}: no recording has a run of this time")
    hidden = {(run["setting"], run["model"]): run for _, run in missing_runs(history, results).iterrows()}
    facts: dict[tuple[str, str], RowFacts] = {}
    pairs = zip(results["dataset"], results["model"], at, changed_cells(history, results), strict=True)
    for setting, model, row, changed in pairs:
        run = history.runs.iloc[row]
        energy = history.runs.iloc[run["energy_run"]]
        own = run["energy_run"] == row
        facts[str(setting), str(model)] = RowFacts(
            run=_place(run),
            energy_run=_place(energy),
            energy_is="own" if own else "other" if energy["published"] else "dropped",
            pasted=bool(run["setting"] != setting),
            changed=changed,
            missing=_place(hidden[setting, model]) if (setting, model) in hidden else None,
        )
    return facts


def _place(run: pd.Series) -> Place:
    return {name: str(run[name]) for name in ("model", "setting", "recorded", "commit")}


def changed_cells(history: History, results: pd.DataFrame) -> list[dict[str, float]]:
    """For each row of `results`, the cells that differ from what was first recorded, with the first value."""
    first = history.runs.iloc[history.rows_of(results)][list(CELLS)].to_numpy(np.float64)
    now = results[list(CELLS)].to_numpy(np.float64)
    differs = ~np.isclose(first, now, rtol=1e-9, atol=1e-12)
    return [
        {CELLS[at]: float(first[row, at]) for at in np.flatnonzero(cells)}
        for row, cells in enumerate(differs)
    ]


def missing_runs(history: History, results: pd.DataFrame) -> pd.DataFrame:
    """Runs that belong in a published table and do not stand there: rows of `history.runs`.

    Of a model whose published row was recorded for another setting, the last run of the setting itself.
    """
    rows = history.rows_of(results)
    elsewhere = history.runs["setting"].to_numpy()[rows] != results["dataset"].to_numpy()
    wanted = set(zip(results["dataset"][elsewhere], results["model"][elsewhere], strict=True))
    runs = history.runs
    belongs = [pair in wanted for pair in zip(runs["setting"], runs["model"], strict=True)]
    return runs[belongs].drop_duplicates(["setting", "model"], keep="last")


def repeats(history: History) -> pd.DataFrame:
    """Every run of a model in a setting with its next repetition on the same GPU, one row a pair.

    The repository holds models that were trained two or three times in a setting, with one seed and one
    program; the published tables keep one run of each.

    `accuracy` is the difference of the final accuracies, `accuracy_any_epoch` the largest of any epoch;
    `train_time`, `energy` and `memory` are differences as a share of the pair's mean. `energy` is NaN where
    one of the two carries the other's reading, or that of a third run.
    """
    runs = history.runs
    own = runs["energy_run"].to_numpy() == runs.index.to_numpy()
    rows = []
    for (setting, model), members in runs.groupby(["setting", "model"], sort=False).groups.items():
        for a, b in pairwise(members):
            first, second = runs.loc[a], runs.loc[b]
            epochs = np.abs(first[list(TEST_COLUMNS)] - second[list(TEST_COLUMNS)]).astype(float)
            rows.append(
                {
                    "setting": setting,
                    "model": model,
                    "accuracy": float(abs(first[TEST_COLUMNS[-1]] - second[TEST_COLUMNS[-1]])),
                    "accuracy_any_epoch": float(epochs.max()),
                    "train_time": _relative(first["train_time"], second["train_time"]),
                    "energy": _relative(first["energy"], second["energy"]) if own[a] and own[b] else np.nan,
                    "memory": _relative(first["memR"], second["memR"]),
                }
            )
    return pd.DataFrame(rows)


def noise_floor(repeated: pd.DataFrame) -> pd.DataFrame:
    """How far a run moves when it is run again, by setting, from the pairs of `repeats`: models run again,
    pairs, pairs with equal accuracies in all epochs, and the median and largest difference of training time,
    energy (over `energy_pairs`) and reserved memory, as shares."""
    rows = []
    for setting in SETTINGS:
        group = repeated[repeated["setting"] == setting]
        row: dict[str, object] = {
            "setting": setting,
            "models": group["model"].nunique(),
            "pairs": len(group),
            "equal_accuracies": int((group["accuracy_any_epoch"] < 1e-9).sum()),
            "largest_accuracy": float(group["accuracy"].max()),
            "energy_pairs": int(group["energy"].notna().sum()),
        }
        for name in ("train_time", "energy", "memory"):
            row[f"{name}_median"] = float(group[name].median())
            row[f"{name}_largest"] = float(group[name].max())
        rows.append(row)
    return pd.DataFrame(rows)


def write_facts(path: Path | str, results: pd.DataFrame, source: str | Path = "auto") -> pd.DataFrame:
    """Make the table of facts, write it as CSV, and return it."""
    table = facts(load(results, source), results)
    order = {setting: at for at, setting in enumerate(SETTINGS)}
    table = table.sort_values(["setting", "model"], key=lambda c: c.map(order) if c.name == "setting" else c)
    table.to_csv(path, index=False, lineterminator="\n")
    return table


def rounded(values: pd.Series) -> np.ndarray:
    """Values in `DIGITS` significant digits, [rows]: as `all_results.csv` was saved once with fewer."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in values])


def _settings_by_run(results: pd.DataFrame) -> dict[tuple[str, float], str]:
    """The setting of each published run, by model and key; runs that stand in two settings are left out."""
    pairs = pd.Series(list(zip(results["model"], rounded(results["train_time"]), strict=True)))
    once = ~pairs.duplicated(keep=False).to_numpy()
    return dict(zip(pairs[once], results["dataset"].to_numpy()[once], strict=True))


def _listed(cells: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.{DIGITS}g}" for name, value in cells.items())


def _recording(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, usecols=["model", *CELLS])
    return table[table["train_time"] > 0]


def local_file(name: str, source: str | Path = "auto") -> Path | None:
    """Where a file lies in a folder here, or was downloaded to before; None where it does not."""
    folders = [Path(source).expanduser()] if str(source) != "auto" else _folders()
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _folders() -> list[Path]:
    return [root / "published_history" for root in (named_folder("PEPR_DATA"), downloads.cache()) if root]


def _found(name: str, commit: str, path: str, digest: str, source: str | Path) -> Path:
    address = f"{BASE_URL}{commit}/{path}"
    local = local_file(name, source)
    if local is None:
        if str(source) != "auto":
            raise DataUnavailable(f"{source}: no {name} there; {_by_hand()}")
        return fetch(address, digest, f"published_history/{name}", _by_hand())
    return verified(local, digest, address)


def _by_hand() -> str:
    return (
        f"put the files that history_files.csv lists, from {BASE_URL}, into a folder `published_history` "
        "and set PEPR_DATA to its parent"
    )


def _relative(a: float, b: float) -> float:
    return float(abs(a - b) / ((a + b) / 2))
