"""The table of an interleaved timing: there or not, whole or one clear error."""

import pandas as pd
import pytest

from pepr.errors import InputError
from pepr.runs import timing


def write(folder, **changes):
    row = dict.fromkeys(timing.COLUMNS, "x") | {"step_time_s": 0.2, "step_cpu_time_s": 0.1}
    table = pd.DataFrame([row, row | changes])
    table.to_csv(folder / timing.FILE, index=False)


def test_a_timing_is_read_where_there_is_one(tmp_path):
    assert timing.read(tmp_path) is None
    write(tmp_path)
    assert list(timing.read(tmp_path)["step_cpu_time_s"]) == [0.1, 0.1]


@pytest.mark.parametrize("value", [0, -1.0, "", "fast"])
def test_a_step_that_took_no_time_is_named_by_row_and_column(tmp_path, value):
    write(tmp_path, step_cpu_time_s=value)
    with pytest.raises(InputError, match=r"timing.csv: row 3, step_cpu_time_s: .* delete the row"):
        timing.read(tmp_path)


FAILED = {"step_time_s": None, "step_cpu_time_s": None}


def test_a_model_that_could_not_be_timed_is_left_out_unless_it_is_asked_for(tmp_path):
    write(tmp_path, model="y", steps=0, **FAILED)
    assert list(timing.read(tmp_path)["model"]) == ["x"]
    assert list(timing.read(tmp_path, with_failed=True)["model"]) == ["x", "y"]


def test_a_row_without_times_that_tells_of_steps_is_named(tmp_path):
    write(tmp_path, steps=2, **FAILED)
    with pytest.raises(InputError, match=r"timing.csv: row 3, step_time_s: .* delete the row"):
        timing.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"), [("", "no table"), ("model,round\na,1\n", "columns missing: device")]
)
def test_what_is_no_timing_says_so(tmp_path, text, told):
    (tmp_path / timing.FILE).write_text(text)
    with pytest.raises(InputError, match=told):
        timing.read(tmp_path)
