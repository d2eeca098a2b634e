"""Rows that a table holds twice: copies, and one run told again while it went on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pepr.audit.finding import WARNING, Finding
from pepr.audit.registry import named
from pepr.audit.roles import Columns
from pepr.tables.dialect import MISSING
from pepr.tables.keys import Keys, are_of_runs, key_columns
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
    if _repeated(kept, names).any() or (names == ["run_id"] and _without_run(kept, columns).any()):
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


def _repeated(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    known = table[list(names)].astype(str)
    has_key = ~known.apply(lambda column: column.str.lower().isin(MISSING)).all(axis=1)
    return has_key & table.duplicated(list(names))


def _without_run(table: pd.DataFrame, columns: Columns) -> pd.Series:
    """Which rows without a run_id have the name of an earlier one: [rows]."""
    nameless = table["run_id"].astype(str).str.lower().isin(MISSING)
    names = key_columns(list(table.columns), run_id=False) or [columns.model]
    return nameless & table[nameless].duplicated(names).reindex(table.index, fill_value=False)


def _earlier_of_runs(table: pd.DataFrame, columns: Columns, names: Sequence[str]) -> pd.Series:
    """Which rows are of a run, as `names` tell, and model whose energy or time only grows, and not
    its last: [rows]."""
    same = [name for name in dict.fromkeys((*names, columns.model)) if name in table.columns]
    again = _repeated(table, same)
    if not again.any():
        return again
    grown = [name for name in (columns.energy, columns.time) if name]
    members = table[_repeated(table.iloc[::-1], same).iloc[::-1] | again]
    growing = [
        code
        for code, rows in members.groupby(same, sort=False)
        if grown and all((rows[name].astype(float).diff().dropna() >= 0).all() for name in grown)
    ]
    is_step = pd.Series(list(table[same].itertuples(index=False, name=None)), index=table.index).isin(growing)
    return is_step & _repeated(table.iloc[::-1], same).iloc[::-1]


def _finding(table: pd.DataFrame, columns: Columns, row: int, named_by: str, text: str) -> Finding:
    setting = str(table.loc[row, columns.setting]) if columns.setting else None
    model = str(table.loc[row, columns.model])
    return Finding(WARNING, setting, model, [named_by], int(row) + 1, None, f"Row {row + 1}: {text}")
