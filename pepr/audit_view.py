"""What an audit sees of a results table: its columns by role, and what several checks infer from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepr.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ERROR, WARNING, NOTE = "error", "warning", "note"
EPOCH_COLUMN = re.compile(r"test_\d+")
ALIASES = {
    "model": ("model", "architecture"),
    "setting": ("setting", "dataset"),
    "train_accuracy": ("train_accuracy", "tr_acc"),
    "energy": ("energy_kwh", "energy"),
    "carbon": ("co2eq_g", "co2"),
    "time": ("train_time_s", "train_time"),
    "inference_time": ("inference_time_s", "inf_time"),
    "parameters": ("num_params", "num_param"),
    "n_test": ("n_test",),
    "power_limit": ("power_limit_w",),
    "idle_power": ("idle_power_w",),
    "majority_rate": ("test_majority_rate",),
    "constant_flag": ("constant_predictor",),
    "status": ("status",),
}
"""Names under which a role's column is found: this project's first, then the authors'."""
FINAL_ACCURACY = ("test_accuracy", "accuracy", "test_acc", "acc")
OTHER_ACCURACY = ("test_accuracy_last_epoch",)
MEMORY = ("memA", "memM", "peak_memory_bytes")
DECLARED = (
    "seed", "image_size", "batch_size", "epochs", "learning_rate", "train_fraction", "n_train", "n_val",
    "n_test", "best_epoch", "idle_power_w", "power_limit_w", "carbon_intensity_g_per_kwh",
    "test_majority_rate", "num_params", "num_param", "efficient",
)  # fmt: skip
"""Numbers that a study chooses or knows beforehand: they may well be constant, or zero."""

LATTICE_LIMIT = 20_000
MIN_DISTINCT = 8
SIGNIFICANT_DIGITS = 6
MIN_LINE_ROWS = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that cannot be so, or should not: where it stands, what is seen, what was expected.

    `severity`: `error` (cannot be so), `warning` (misleads if used as it is), `note` (worth knowing).
    `setting` and `model` are empty (None) where a finding is about a whole column or table.
    """

    check: str
    severity: str
    setting: str | None
    model: str | None
    columns: list[str]
    value: Any
    expected: Any
    explanation: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Columns:
    """Which column of a table plays which role; None where it has none.

    `performance` are test accuracies in [0, 1], by epoch where the table has every epoch; the last one is
    `final`, the one that results quote. `energy` (kWh) spans `time_factor` times `time` (s).
    """

    model: str
    setting: str | None
    performance: tuple[str, ...]
    memory: tuple[str, ...] = ()
    train_accuracy: str | None = None
    energy: str | None = None
    carbon: str | None = None
    time: str | None = None
    time_factor: float = 1.0
    inference_time: str | None = None
    parameters: str | None = None
    n_test: str | None = None
    power_limit: str | None = None
    idle_power: str | None = None
    majority_rate: str | None = None
    constant_flag: str | None = None
    status: str | None = None
    by_epoch: bool = False

    @property
    def final(self) -> str | None:
        return self.performance[-1] if self.performance else None


def columns_of(names: Sequence[str]) -> Columns:
    """Find the roles among a table's column names.

    With columns `test_00`, `test_01`, .. (one an epoch), `train_time` is read as the authors define it:
    seconds of the last epoch, while energy is that of all epochs. Raises InputError without a model
    column or without anything to check.
    """
    found = {role: next((a for a in aliases if a in names), None) for role, aliases in ALIASES.items()}
    epochs = tuple(sorted(name for name in names if EPOCH_COLUMN.fullmatch(name)))
    final = next((name for name in FINAL_ACCURACY if name in names), None)
    others = tuple(name for name in OTHER_ACCURACY if name in names)
    performance = epochs or ((*others, final) if final else ())
    if found["model"] is None:
        raise InputError(f"row 0 (the header): column 'model' is missing; it has {', '.join(names)}")
    if not performance and found["energy"] is None:
        raise InputError("row 0 (the header): nothing to audit: neither an accuracy nor an energy column")
    factor = float(len(epochs)) if epochs and found["time"] == "train_time" else 1.0
    memory = tuple(name for name in MEMORY if name in names)
    return Columns(
        performance=performance, memory=memory, time_factor=factor, by_epoch=len(epochs) >= 3, **found
    )


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
    ) -> None:
        self.columns = columns or columns_of([str(name) for name in table.columns])
        status = self.columns.status
        self.all_rows = table
        kept = table if status is None else table[table[status].astype(str) == "ok"]
        self.table = kept.reset_index(drop=True)
        self.given_n_test, self.given_power_limit_w = n_test, power_limit_w
        self.n_rows = len(self.table)
        self._numbers: dict[str, FloatArray] = {}
        self._models = [str(name) for name in self.table[self.columns.model]]
        setting = self.columns.setting
        labels = self.table[setting].astype(str) if setting else pd.Series(["all"] * self.n_rows)
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
            self._numbers[name] = column.to_numpy(np.float64, na_value=np.nan)
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
        """For every setting, accuracies that a predictor of one class would have, as far as evident.

        A rate is a value that several runs keep for at least half of their epochs, in any setting with
        the same test set (the same n).
        """
        if not self.columns.by_epoch:
            return [self._majority_of(code) for code in range(len(self.settings))]
        stuck = self._stuck_values()
        test_set = [float(self.n_test[rows[0]]) for rows in self.rows_by_setting]
        test_set = [n if np.isfinite(n) else -1e9 - code for code, n in enumerate(test_set)]
        rates: dict[float, set[float]] = {}
        for n in set(test_set):
            together = pd.concat([table for table, m in zip(stuck, test_set, strict=True) if m == n])
            together = together.groupby(level=0).sum()
            often = together[(together["half"] >= 2) | (together["some"] >= together["enough"])]
            rates[n] = _without_neighbours(often["some"], n)
        return [rates[n] for n in test_set]

    @cached_property
    def at_class_rate(self) -> BoolArray:
        """True [rows, columns] where an accuracy is one of its setting's class rates."""
        return self._is_one_of(self.class_rates)

    @cached_property
    def majority(self) -> FloatArray:
        """Share of the largest class in each row's test set [rows]; NaN where not evident."""
        given = self.role("majority_rate")
        if given is not None:
            return given
        rates = np.array([_largest(rates) for rates in self.class_rates])
        return rates[self.setting_code] if len(rates) else np.empty(0)

    @cached_property
    def shared_energy(self) -> BoolArray:
        return shared(self.role("energy"), self.n_rows)

    @cached_property
    def copied_rows(self) -> NDArray[np.int64]:
        """Group number [rows] of rows whose measurements are all identical; -1 for the others."""
        names = [self.columns.energy, self.columns.carbon, self.columns.time, self.columns.inference_time]
        present = [name for name in names if name is not None]
        if len(present) < 2:
            return np.full(self.n_rows, -1)
        candidates = np.ones(self.n_rows, dtype=bool)
        for name in present:
            candidates &= shared(self.floats(name), self.n_rows)
        rows = np.flatnonzero(candidates)
        groups = np.full(self.n_rows, -1)
        if rows.size:
            both = self.table.loc[rows, [*present, *self.columns.performance]]
            codes = both.groupby(list(both.columns), dropna=False, sort=False).ngroup().to_numpy()
            sizes = np.bincount(codes)
            groups[rows] = np.where(sizes[codes] > 1, codes, -1)
        return groups

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
        fitted, deviation, tolerance = (np.full(self.n_rows, np.nan) for _ in range(3))
        energy, time = self.role("energy"), self.role("time")
        if energy is None or time is None:
            return fitted, deviation, tolerance
        own = (energy > 0) & (time > 0) & ~self.shared_energy
        pooled = robust_line(time[own], energy[own]) if own.sum() >= MIN_LINE_ROWS else None
        for rows in self.rows_by_setting:
            clean = rows[own[rows]]
            enough = len(clean) >= MIN_LINE_ROWS
            line = robust_line(time[clean], energy[clean]) if enough else pooled
            if line is None:
                continue
            intercept, slope, spread = line
            fitted[rows] = intercept + slope * time[rows]
            with np.errstate(divide="ignore", invalid="ignore"):
                deviation[rows] = (energy[rows] - fitted[rows]) / (slope * time[rows])
            tolerance[rows] = max(0.15, 6 * spread)
        return fitted, deviation, tolerance

    @cached_property
    def rows_by_setting(self) -> list[NDArray[np.int64]]:
        """The rows of each setting, by its code."""
        order = np.argsort(self.setting_code, kind="stable")
        edges = np.searchsorted(self.setting_code[order], np.arange(1, len(self.settings)))
        return np.split(order, edges) if len(self.settings) else []

    def _by_setting(self) -> Iterable[FloatArray]:
        return (self.performance[rows].ravel() for rows in self.rows_by_setting)

    def _stuck_values(self) -> list[pd.DataFrame]:
        """Per setting, by accuracy: runs that keep it for half of their epochs (`half`), for three (`some`).

        `enough` of the latter, five or one run in a hundred, are more than chance.
        """
        values = np.sort(self.performance.round(9), axis=1)
        epochs = values.shape[1]
        new = np.diff(values, axis=1, prepend=-1.0) != 0
        run = np.cumsum(new.ravel()) - 1
        length = np.bincount(run)
        first = np.flatnonzero(new.ravel())
        long = np.flatnonzero(length >= 3)
        kept = pd.DataFrame(
            {
                "row": first[long] // epochs,
                "value": values.ravel()[first[long]],
                "half": (length[long] >= max(3, (epochs + 1) // 2)).astype(int),
                "some": 1,
            }
        )
        kept["setting"] = self.setting_code[kept["row"]]
        tables = []
        for code, rows in enumerate(self.rows_by_setting):
            counts = kept[kept["setting"] == code].groupby("value")[["half", "some"]].sum()
            tables.append(counts.assign(enough=max(5.0, 0.01 * len(rows))))
        return tables

    def _majority_of(self, code: int) -> set[float]:
        """The majority rate that the table states, else a final accuracy that a tenth of the runs share."""
        rows = self.rows_by_setting[code]
        given = self.role("majority_rate")
        if given is not None:
            known = given[rows][~np.isnan(given[rows])]
            return {round(float(value), 9) for value in np.unique(known)}
        if not self.performance.shape[1]:
            return set()
        counts = pd.Series(self.performance[rows, -1]).round(9).value_counts()
        return set(counts.index[counts >= max(5, 0.1 * len(rows))])

    def _is_one_of(self, rates: list[set[float]]) -> BoolArray:
        found = np.zeros(self.performance.shape, dtype=bool)
        for rows, values in zip(self.rows_by_setting, rates, strict=True):
            for value in values:
                found[rows] |= np.isclose(self.performance[rows], value, rtol=0, atol=1e-8)
        return found

    def findings(
        self,
        check: str,
        rows: Iterable[int],
        severity: str | Callable[[int], str],
        columns: Sequence[str] | Callable[[int], Sequence[str]],
        value: Callable[[int], Any],
        expected: Callable[[int], Any],
        explanation: str | Callable[[int], str],
    ) -> list[Finding]:
        """One finding for each of `rows`; whatever is a function is asked with the row's number."""
        return [
            Finding(
                check,
                severity(row) if callable(severity) else severity,
                self.setting_of(row),
                self._models[row],
                list(columns(row) if callable(columns) else columns),
                _plain(value(row)),
                _plain(expected(row)),
                explanation(row) if callable(explanation) else explanation,
            )
            for row in (int(row) for row in rows)
        ]

    def setting_of(self, row: int) -> str | None:
        return self.settings[self.setting_code[row]] if self.columns.setting else None

    def model_of(self, row: int) -> str:
        return self._models[row]


def _without_neighbours(counts: pd.Series, n: float) -> set[float]:
    """The accuracies in `counts` (runs by accuracy) but those one image away from one five times commoner."""
    values, runs = counts.index.to_numpy(np.float64), counts.to_numpy(np.float64)
    near = (np.abs(values[:, None] - values) < 1.5 / abs(n)) & (runs[None, :] > 5 * runs[:, None])
    return set(values[~near.any(axis=1)])


def _largest(rates: set[float]) -> float:
    """The largest class rate, unless it is a single one below a half, which is not that of a majority."""
    if not rates or (len(rates) == 1 and max(rates) < 0.5):
        return np.nan
    return max(rates)


def _plain(value: Any) -> Any:
    """A value as JSON knows it: numpy scalars unwrapped, NaN as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def shared(values: FloatArray | None, n_rows: int) -> BoolArray:
    """True [rows] where a value is identical to another row's, though its digits make chance unlikely.

    Zeros, missing values and numbers with at most six significant digits (rounded ones) do not count.
    """
    if values is None:
        return np.zeros(n_rows, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        mantissa = values * scale
        precise = (values > 0) & (np.abs(mantissa - np.round(mantissa)) > 1e-6)
    return precise & pd.Series(values).duplicated(keep=False).to_numpy()


def off_lattice(values: FloatArray, n: FloatArray) -> BoolArray:
    """True where an accuracy times n is not a whole number; False where n is NaN or digits are too few."""
    known = values[np.isfinite(values)]
    decimals = next((d for d in range(1, 8) if np.allclose(known, known.round(d), rtol=0, atol=1e-12)), None)
    with np.errstate(invalid="ignore"):
        tolerance = np.maximum(1e-3, 1e-7 * n) + (0.5 * 10.0**-decimals * n if decimals else 0.0)
        counts = values * n
        off = np.abs(counts - np.round(counts)) > tolerance
        return off & np.isfinite(counts) & (tolerance < 0.25)


def infer_n_test(values: FloatArray) -> int | None:
    """The smallest n for which at least eight in ten distinct accuracies are k/n; None when not evident.

    An n is evident when the accuracies carry enough digits and there are at least eight distinct ones.
    """
    distinct = np.unique(values[np.isfinite(values)].round(12))
    distinct = distinct[(distinct > 0) & (distinct < 1)]
    if len(distinct) < MIN_DISTINCT or np.allclose(distinct, distinct.round(6), rtol=0, atol=1e-12):
        return None
    candidates = np.arange(2, LATTICE_LIMIT + 1)
    for size in (MIN_DISTINCT, 40):
        sample = distinct[np.linspace(0, len(distinct) - 1, min(size, len(distinct))).astype(int)]
        candidates = candidates[_on_lattice(sample, candidates) >= 0.6]
    for n in candidates:
        if _on_lattice(distinct, np.array([n]))[0] >= 0.8:
            return int(n)
    return None


def _on_lattice(values: FloatArray, candidates: NDArray[np.int64]) -> FloatArray:
    """Share of values [m] that are k/n, for each n [candidates]."""
    counts = values[None, :] * candidates[:, None]
    return (np.abs(counts - np.round(counts)) <= np.maximum(1e-3, 1e-7 * candidates)[:, None]).mean(axis=1)


def robust_line(x: FloatArray, y: FloatArray, iterations: int = 30) -> tuple[float, float, float] | None:
    """Intercept, slope and spread of y over x [n], by weighted least squares with Tukey's biweight.

    Errors are relative to x; the spread is the scaled median of |residual| / (slope x). None when no line
    with a positive slope fits.
    """
    if len(x) < 3 or np.ptp(x) <= 0:
        return None
    design = np.stack([np.ones_like(x), x], axis=1) / x[:, None]
    target = y / x
    start = float(np.median(target))
    residual = target - start
    weights = np.ones_like(x)
    coefficients = np.array([0.0, start])
    for _ in range(iterations):
        scale = 1.4826 * np.median(np.abs(residual)) + 1e-12 * start
        weights = np.clip(1 - (residual / (6 * scale)) ** 2, 0, None)
        coefficients, *_ = np.linalg.lstsq(design * weights[:, None], target * weights, rcond=None)
        residual = target - design @ coefficients
    intercept, slope = (float(value) for value in coefficients)
    if not slope > 0:
        return None
    return intercept, slope, float(1.4826 * np.median(np.abs(residual)) / slope)
