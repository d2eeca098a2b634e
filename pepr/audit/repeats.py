"""Rows that a table holds twice: copies, and one run told again while it went on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pepr.audit.finding import WARNING, Finding
from pepr.audit.registry import named
from pepr.audit.roles import Columns
from pepr.audit.table import known_texts
from pepr.tables.keys import RUN, Keys, are_of_runs, is_run, key_columns
from pepr.tables.naming import columns_named
from pepr.tables.reader import Reader


def without_repeats(
    table: pd.DataFrame, columns: Columns, reader: Reader, key: Sequence[str]
) -> tuple[pd.DataFrame, list[Finding]]:
    """The table without rows that are there twice, and a finding for each of these.

    Raises InputError where two rows have one key and are neither copies nor steps of one run: what else
    tells them apart is for the user to say.
    """
    numbered = [name for name in ("index", "Unnamed: 0") if name in table.columns]
    copies = table.drop(columns=numbered).duplicated().to_numpy()
    found = repeated_row(table, columns, np.flatnonzero(copies))
    names = list(key) or key_columns(reader.header)
    if not key and not are_of_runs(names) and columns.model not in names:
        names = [columns.model, *names]
    names = [name for name in names if name in table.columns]
    kept = table[~copies]
    if are_of_runs(names):
        earlier = _earlier_of_runs(kept, columns, names)
        found += repeated_run(table, columns, kept.index[earlier])
        kept = kept[~earlier]
    without_run = is_run(names) and _without_run(kept, names[0], columns.model).any()
    if without_run or _repeated(kept, names).any():
        roles = (columns.energy, columns.carbon, columns.time, *columns.performance, *columns.memory)
        check = Keys(reader, names, [name for name in roles if name])
        for block in reader.blocks():
            check.add(block)
        hashes = np.frombuffer(check.hashes, dtype=np.int64).copy()
        hashes[~np.isin(np.arange(len(table)), kept.index)] = np.arange(len(table) - len(kept)) - (1 << 60)
        check.check(hashes)
    return kept.reset_index(drop=True), found


@named("A row that is there twice, alike in every cell. Means and ranks count it twice.")
def repeated_row(table: pd.DataFrame, columns: Columns, rows: Iterable[int]) -> list[Finding]:
    text = "Every cell of this row is that of an earlier one: the same run, there twice."
    return [_finding(table, columns, row, columns.model, text) for row in rows]


@named(
    "Several rows of one run, each going on where the last stopped. A sum counts the run several times; the "
    "last row holds it."
)
def repeated_run(table: pd.DataFrame, columns: Columns, rows: Iterable[int]) -> list[Finding]:
    text = "A later row of the same run goes on from this one: keep the last, as --keep-last does."
    return [_finding(table, columns, row, columns.run or columns.model, text) for row in rows]


def _known(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The cells of some columns as text, empty where one of the spellings of a missing value."""
    return pd.DataFrame({name: known_texts(table[name]) for name in names}, index=table.index)


def _repeated(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    known = _known(table, names)
    return known.ne("").any(axis=1) & known.duplicated()


def _without_run(table: pd.DataFrame, run: str, model: str) -> pd.Series:
    """Which rows without a run have the name of an earlier one: [rows]."""
    nameless = _known(table, [run])[run].eq("")
    names = key_columns(list(table.columns), run_id=False) or [model]
    return nameless & _known(table[nameless], names).duplicated().reindex(table.index, fill_value=False)


def _earlier_of_runs(table: pd.DataFrame, columns: Columns, names: Sequence[str]) -> pd.Series:
    """Which rows are of a run, as `names` tell, and model whose energy or time only grows, and not
    its last: [rows]. Rows without a run are of none that goes on."""
    same = [name for name in dict.fromkeys((*names, columns.model)) if name in table.columns]
    run = columns_named(names, [RUN])[0]
    has_run = _known(table, [run])[run].ne("")
    again = _repeated(table, same) & has_run
    if not again.any():
        return again
    later = _repeated(table.iloc[::-1], same).iloc[::-1] & has_run
    grown = [name for name in (columns.energy, columns.time) if name]
    growing = [
        code
        for code, rows in table[later | again].groupby(same, sort=False)
        if grown and all((rows[name].astype(float).diff().dropna() >= 0).all() for name in grown)
    ]
    is_step = pd.Series(list(table[same].itertuples(index=False, name=None)), index=table.index).isin(growing)
    return is_step & later


def _finding(table: pd.DataFrame, columns: Columns, row: int, named_by: str, text: str) -> Finding:
    setting = str(table.loc[row, columns.setting]) if columns.setting else None
    model = str(table.loc[row, columns.model])
    return Finding(WARNING, setting, model, [named_by], int(row) + 1, None, f"Row {row + 1}: {text}")
