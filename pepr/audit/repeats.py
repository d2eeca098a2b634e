"""Rows that a table holds twice: copies, and one run told again while it went on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pepr.audit.finding import WARNING, Finding
from pepr.audit.registry import EXPLANATIONS
from pepr.audit.roles import Columns
from pepr.tables.dialect import MISSING
from pepr.tables.keys import Keys, key_columns
from pepr.tables.reader import Reader

EXPLANATIONS["repeated_row"] = (
    "A row that is there twice, alike in every cell. Means and ranks count it twice."
)
EXPLANATIONS["repeated_run"] = (
    "Several rows of one run, each going on where the last stopped. A sum counts the run several times; the "
    "last row holds it."
)


def without_repeats(
    table: pd.DataFrame, columns: Columns, reader: Reader, key: Sequence[str]
) -> tuple[pd.DataFrame, list[Finding]]:
    """The table without rows that are there twice, and a finding for each of these.

    Raises InputError where two rows have one key and are neither copies nor steps of one run: what else
    tells them apart is for the user to say.
    """
    numbered = [name for name in ("index", "Unnamed: 0") if name in table.columns]
    copies = table.drop(columns=numbered).duplicated().to_numpy()
    found = [_finding("repeated_row", table, columns, row, _COPY) for row in np.flatnonzero(copies)]
    names = list(key) or key_columns(reader.header)
    if not key and names and names[0] != "run_id" and columns.model not in names:
        names = [columns.model, *names]
    names = [name for name in names if name in table.columns]
    kept = table[~copies]
    if names == ["run_id"]:
        kept, steps = _last_of_runs(kept, columns)
        found += steps
    if names and _repeated(kept, names).any():
        roles = (columns.energy, columns.carbon, columns.time, *columns.performance, *columns.memory)
        check = Keys(reader, names, [name for name in roles if name])
        for block in reader.blocks():
            check.add(block)
        hashes = np.frombuffer(check.hashes, dtype=np.int64).copy()
        hashes[~np.isin(np.arange(len(table)), kept.index)] = np.arange(len(table) - len(kept)) - (1 << 60)
        check.check(hashes)
    return kept.reset_index(drop=True), found


_COPY = "Every cell of this row is that of an earlier one: the same run, there twice."


def _repeated(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    known = table[list(names)].astype(str)
    named = ~known.apply(lambda column: column.str.lower().isin(MISSING)).all(axis=1)
    return named & table.duplicated(list(names))


def _last_of_runs(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, list[Finding]]:
    """Rows of one run_id and model whose energy or time only grows, by their last row."""
    same = [name for name in dict.fromkeys(("run_id", columns.model)) if name in table.columns]
    again = _repeated(table, same)
    if not again.any():
        return table, []
    grown = [name for name in (columns.energy, columns.time) if name]
    members = table[_repeated(table.iloc[::-1], same).iloc[::-1] | again]
    growing = [
        code
        for code, rows in members.groupby(same, sort=False)
        if grown and all((rows[name].astype(float).diff().dropna() >= 0).all() for name in grown)
    ]
    is_step = pd.Series(list(table[same].itertuples(index=False, name=None)), index=table.index).isin(growing)
    earlier = is_step & _repeated(table.iloc[::-1], same).iloc[::-1]
    text = "A later row of the same run goes on from this one: keep the last, as --keep-last does."
    found = [_finding("repeated_run", table, columns, row, text) for row in table.index[earlier]]
    return table[~earlier], found


def _finding(check: str, table: pd.DataFrame, columns: Columns, row: int, text: str) -> Finding:
    setting = str(table.loc[row, columns.setting]) if columns.setting else None
    named = [columns.run] if check == "repeated_run" and columns.run else [columns.model]
    model = str(table.loc[row, columns.model])
    return Finding(WARNING, setting, model, named, row + 1, None, f"Row {row + 1}: {text}", check=check)
