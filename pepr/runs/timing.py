"""The interleaved timing of a study's models: its table, one row a turn of a model, and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pepr.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FILE = "timing.csv"
"""Beside `results.csv`, in a results folder or a shipped reference."""
CONDITIONS = ("device", "image_size", "batch_size", "precision", "hardware")
"""What a timed step shares with the runs that it is compared with."""
MEASURED = ("step_time_s", "step_cpu_time_s")
COLUMNS = (
    "model",
    *CONDITIONS,
    "round",
    "place",
    "process",
    "steps",
    *MEASURED,
    "runs_at_once",
    "software",
    "measured_at",
)
"""`place` is the model's in the random order of its `round`, which is of one `process`; times are of one
step, in seconds, the mean of `steps`, processor time in `step_cpu_time_s`. A model that failed in all of its
turns has one row, of 0 steps, without times."""


def read(folder: Path, with_failed: bool = False) -> pd.DataFrame | None:
    """The timing beside some results, `with_failed` the rows of models that could not be timed as well; None
    where none was made.

    Raises InputError that names the file and the columns that are missing, or the row and the column of a
    step that took no time.
    """
    import pandas as pd

    path = folder / FILE
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise InputError(f"{path}: no table: {error}; `pepr step time-models` makes it anew") from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise InputError(f"{path}: columns missing: {', '.join(missing)}")
    no_steps = pd.to_numeric(table["steps"], errors="coerce") == 0
    failed = no_steps & table[list(MEASURED)].isna().all(axis=1)
    for column in MEASURED:
        seconds = pd.to_numeric(table[column], errors="coerce")
        for row, value in table.loc[~(seconds > 0) & ~failed, column].items():
            raise InputError(
                f"{path}: row {row + 2}, {column}: {value!r} is no time of a step; delete the row"
            )
    return table if with_failed else table[~failed]
