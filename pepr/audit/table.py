"""What an audit sees of a results table: its rows by role, and what several checks infer from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepr.audit.assumed import Rows, assumed_powers
from pepr.audit.energy_line import BoolArray, copied_rows, energy_lines, off_line, shared
from pepr.audit.finding import Finding
from pepr.audit.inference import class_rates, infer_n_test, is_one_of, largest_rate, off_lattice
from pepr.audit.roles import MACHINE_NAMES, REPEATS, SIZE_NAMES, Columns, columns_of
from pepr.quantities import JOULES_PER_KWH
from pepr.stats import FloatArray
from pepr.tables.dialect import MISSING
from pepr.tables.keys import KEY_COLUMNS, RUN
from pepr.tables.naming import SEED_NAMES, columns_named, is_named
from pepr.tables.scoring import ended_well


class View:
    """A results table as the checks see it. Row arrays have shape [rows]; settings are coded 0, 1, ..

    Rows with a status other than `ok` take no part. `n_test` (number of test images that an accuracy
    counts) is taken from the argument, else from the table, else inferred per setting.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        columns: Columns | None = None,
        n_test: int | None = None,
        power_limit_w: float | None = None,
        key: Sequence[str] = (),
    ) -> None:
        self.columns = columns or columns_of([str(name) for name in table.columns])
        status = self.columns.status
        self.all_rows = table = _trimmed(table)
        kept = table if status is None else table[all_ended_well(table[status])]
        self.table = kept.reset_index(drop=True)
        self.given_n_test, self.given_power_limit_w = n_test, power_limit_w
        self.n_rows = len(self.table)
        self.header = [str(name) for name in self.table.columns]
        self.key = tuple(key)
        self._numbers: dict[str, FloatArray] = {}
        self._codes: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._models = [str(name) for name in self.table[self.columns.model]]
        setting = self.columns.setting
        labels = known_texts(self.table[setting]) if setting else pd.Series(["all"] * self.n_rows)
        self.setting_code, names = pd.factorize(labels, sort=True)
        self.settings = [str(name) for name in names]

    def role(self, role: str) -> FloatArray | None:
        """The numbers of a role [rows], NaN where missing; None where the table has no such column."""
        name = getattr(self.columns, role)
        return None if name is None else self.floats(name)

    def floats(self, name: str) -> FloatArray:
        """A column as numbers [rows], NaN where it is not one."""
        if name not in self._numbers:
            column = pd.to_numeric(self.table[name], errors="coerce")
            factor = self.columns.factors.get(name, 1.0)
            self._numbers[name] = column.to_numpy(np.float64, na_value=np.nan) * factor
        return self._numbers[name]

    @cached_property
    def performance(self) -> FloatArray:
        """Accuracies [rows, columns]; the last column is the final one."""
        names = self.columns.performance
        return (
            np.stack([self.floats(name) for name in names], axis=1) if names else np.empty((self.n_rows, 0))
        )

    @cached_property
    def n_test(self) -> FloatArray:
        """Test images that each row's accuracies count [rows]; NaN where neither given nor evident."""
        if self.given_n_test is not None:
            return np.full(self.n_rows, float(self.given_n_test))
        given = self.role("n_test")
        if given is not None:
            return given
        inferred = [float(n) if (n := infer_n_test(values)) else np.nan for values in self._by_setting()]
        return np.array(inferred)[self.setting_code] if inferred else np.empty(0)

    @cached_property
    def off_lattice(self) -> BoolArray:
        """True [rows, columns] where an accuracy is not k/n for the row's n, as far as its digits tell."""
        return off_lattice(self.performance, self.n_test[:, None])

    @cached_property
    def class_rates(self) -> list[set[float]]:
        """For every setting, accuracies that a predictor of one class would have, as far as evident."""
        return class_rates(self)

    @cached_property
    def at_class_rate(self) -> BoolArray:
        """True [rows, columns] where an accuracy is one of its setting's class rates."""
        return is_one_of(self, self.class_rates)

    @cached_property
    def majority(self) -> FloatArray:
        """Share of the largest class in each row's test set [rows]; NaN where not evident."""
        given = self.role("majority_rate")
        if given is not None:
            return given
        rates = np.array([largest_rate(rates) for rates in self.class_rates])
        return rates[self.setting_code] if len(rates) else np.empty(0)

    @cached_property
    def power(self) -> FloatArray | None:
        """Energy over time [rows], in W; None without either, NaN where either is missing or zero."""
        energy, time = self.role("energy"), self.role("time")
        if energy is None or time is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            power = energy * JOULES_PER_KWH / (time * self.columns.time_factor)
        return np.where((energy > 0) & (time > 0), power, np.nan)

    @cached_property
    def intensity(self) -> FloatArray | None:
        """Carbon over energy [rows], in g per kWh; None without either, NaN where one is missing or zero."""
        energy, carbon = self.role("energy"), self.role("carbon")
        if energy is None or carbon is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((energy > 0) & (carbon > 0), carbon / energy, np.nan)

    def texts(self, role: str) -> list[str] | None:
        """The cells of a role as text, missing ones empty; None where the table has no such column."""
        name = getattr(self.columns, role)
        if name is None:
            return None
        cells = [str(cell).strip() for cell in self.table[name]]
        return ["" if cell.lower() in MISSING else cell for cell in cells]

    def codes_of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """A number [rows] for every combination of the cells of those `names` that the table has."""
        present = tuple(columns_named(self.header, names))
        if present not in self._codes:
            cells = {name: _alike(self.table[name]) for name in present}
            grouped = pd.DataFrame(cells).groupby(list(present), dropna=False, sort=False) if cells else None
            none = np.zeros(self.n_rows, dtype=np.int64)
            self._codes[present] = none if grouped is None else grouped.ngroup().to_numpy()
        return self._codes[present]

    @cached_property
    def work_code(self) -> NDArray[np.int64]:
        """Which model, with which data and settings, each row is of [rows]: runs of one work are alike."""
        chosen = [name for name in self.key if not is_named(name, REPEATS)]
        return self.codes_of((self.columns.model, *SIZE_NAMES, *chosen))

    @cached_property
    def machine_code(self) -> NDArray[np.int64]:
        """Which machine each row is of [rows], as far as columns tell."""
        return self.codes_of(MACHINE_NAMES)

    @cached_property
    def model_code(self) -> NDArray[np.int64]:
        """Which model on which machine each row is of [rows]."""
        return self.codes_of((self.columns.model, *MACHINE_NAMES))

    @cached_property
    def shared_energy(self) -> BoolArray:
        return self.repeated("energy")

    def repeated(self, role: str) -> BoolArray:
        """True [rows] where a role's value is another row's too, though its digits make chance unlikely: in
        the unit that it is written in and, of an energy, in joules."""
        values, name = self.role(role), getattr(self.columns, role)
        found = shared(values, self.n_rows)
        if found.any():
            found &= shared(values / self.columns.factors.get(name, 1.0), self.n_rows)
        if found.any() and role == "energy":
            found &= shared(values * JOULES_PER_KWH, self.n_rows)
        return found

    @cached_property
    def assumed_powers(self) -> list[tuple[Rows, float]]:
        """Rows whose energy is a constant times their time, with the constant in W."""
        return assumed_powers(self)

    @cached_property
    def assumed(self) -> BoolArray:
        """True [rows] where the energy is a constant times the time: equal times then have equal energies."""
        found = np.zeros(self.n_rows, dtype=bool)
        for rows, _ in self.assumed_powers:
            found[rows] = True
        return found

    @cached_property
    def copied_rows(self) -> NDArray[np.int64]:
        """Group number [rows] of rows whose measurements are all identical; -1 for the others."""
        return copied_rows(self)

    @cached_property
    def fitted_energy(self) -> FloatArray:
        """Energy that a row's time implies [rows, kWh], by the line of its setting; NaN without a line.

        Lines are fitted to rows whose energy no other row has; a setting with few of them borrows the
        line of all settings together.
        """
        return self._energy_line[0]

    @cached_property
    def energy_deviation(self) -> FloatArray:
        """(energy - fitted) / (slope x time) [rows]: 0 on the line, 1 for about twice the energy."""
        return self._energy_line[1]

    @cached_property
    def energy_tolerance(self) -> FloatArray:
        """How far from its line a sound row may lie [rows], in units of `energy_deviation`."""
        return self._energy_line[2]

    @cached_property
    def _energy_line(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        return energy_lines(self)

    @cached_property
    def off_line(self) -> list[int]:
        """Rows far from their setting's line, where it has many rows, that are not as their siblings are."""
        return off_line(self)

    @cached_property
    def rows_by_setting(self) -> list[NDArray[np.int64]]:
        """The rows of each setting, by its code."""
        order = np.argsort(self.setting_code, kind="stable")
        edges = np.searchsorted(self.setting_code[order], np.arange(1, len(self.settings)))
        return np.split(order, edges) if len(self.settings) else []

    def _by_setting(self) -> Iterable[FloatArray]:
        return (self.performance[rows].ravel() for rows in self.rows_by_setting)

    def findings(
        self,
        rows: Iterable[int],
        severity: str | Callable[[int], str],
        columns: Sequence[str | None] | Callable[[int], Sequence[str]],
        value: FloatArray | Callable[[int], Any],
        explanation: str | Callable[[int], str],
        expected: FloatArray | Callable[[int], Any] | float | None = None,
        cause: Callable[[int], str] | None = None,
    ) -> list[Finding]:
        """One finding for each of `rows`; whatever is a function is asked with the row's number, and of an
        array, which is of the table's rows, the row's is taken. Columns that the table lacks are left out."""
        return [
            Finding(
                severity(row) if callable(severity) else severity,
                self.setting_of(row),
                self._models[row],
                [name for name in (columns(row) if callable(columns) else columns) if name],
                plain(_at(row, value)),
                plain(_at(row, expected)),
                explanation(row) if callable(explanation) else explanation,
                cause=cause(row) if cause else None,
                which=self.which_of(row),
            )
            for row in (int(row) for row in rows)
        ]

    def setting_of(self, row: int) -> str | None:
        return self.settings[self.setting_code[row]] if self.columns.setting else None

    def model_of(self, row: int) -> str:
        return self._models[row]

    def which_of(self, row: int) -> str | None:
        """What tells a row from others of its model and setting, such as `seed 1`; None where it is the only
        one, or nothing does."""
        if self._alone[row]:
            return None
        cells = {name: self.table[name].iloc[row] for name in self._telling}
        words = {
            name: f"{cell:.15g}" if isinstance(cell, float) else str(cell) for name, cell in cells.items()
        }
        return (
            ", ".join(f"{name} {cell}" for name, cell in words.items() if cell.lower() not in MISSING) or None
        )

    @cached_property
    def _alone(self) -> BoolArray:
        """Whether each row [rows] is the only one of its model and setting."""
        named = pd.factorize(pd.Series(self._models))[0] * len(self.settings) + self.setting_code
        return ~pd.Series(named).duplicated(keep=False).to_numpy()

    @property
    def _naming(self) -> list[str]:
        return [name for name in (self.columns.model, self.columns.setting) if name]

    @cached_property
    def _telling(self) -> list[str]:
        """What tells rows of one model and setting apart: the first column that does by itself, else all."""
        named = self._naming
        names = (*self.key, *SEED_NAMES, *KEY_COLUMNS, *SIZE_NAMES, *MACHINE_NAMES, RUN)
        present = columns_named(self.header, names)
        present = [name for name in present if name not in named]
        alone = [name for name in present if len(np.unique(self.codes_of((*named, name)))) == self.n_rows]
        return alone[:1] or [name for name in present if self.table[name].nunique() > 1]


def all_ended_well(status: pd.Series) -> pd.Series:
    """Whether each run's status does not say that it ended otherwise."""
    words = known_texts(status)
    return words.map({word: ended_well(word) for word in words.unique()}).astype(bool)


def known_texts(column: pd.Series) -> pd.Series:
    """A column's cells as text, empty where one of the spellings of a missing value."""
    words = map(str, column)
    cells = ["" if word.lower() in MISSING else word for word in words]
    return pd.Series(cells, index=column.index, dtype=object)


def _alike(column: pd.Series) -> pd.Series:
    """A column in which all spellings of a missing value are one."""
    return column if pd.api.types.is_numeric_dtype(column) else known_texts(column)


def _trimmed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with no blanks around its texts, which are no part of a name."""
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{str(name): table[name].map(_without_blanks) for name in texts}) if texts else table


def _without_blanks(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell


def _at(row: int, known: Any) -> Any:
    """What is known of a row by a function, an array of the table's rows, or a value that all rows have."""
    if callable(known):
        return known(row)
    return known[row] if isinstance(known, np.ndarray) else known


def plain(value: Any) -> Any:
    """A value as JSON knows it: numpy scalars unwrapped, NaN as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
