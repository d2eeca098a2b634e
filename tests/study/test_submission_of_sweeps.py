"""Sweeps from other machines: sound ones are packed as a table a machine, others refused by name."""

import json

import pytest

from pepr.costs import swept
from pepr.costs.swept import Conditions
from pepr.errors import InputError
from pepr.models.space import model_space
from pepr.study import submission

CONDITIONS = Conditions("cuda", 256)
MODELS = list(model_space())[:25]
ROW = dict.fromkeys(swept.COLUMNS) | {
    "status": "ok",
    "device": "cuda",
    "image_size": 256,
    "batch_size": 32,
    "precision": "fp32",
    "hardware": "A GPU; a CPU; GPU cap 350 W",
    "software": "torch 2.14.1",
    "measured_at": "2026-11-27T12:00:00+00:00",
    "steps": 9,
    "step_time_s": 0.1,
    "step_energy_wh": 0.1 * 300 / 3600,
    "eval_time_s": 0.03,
    "eval_energy_wh": 0.03 * 250 / 3600,
    "energy_source": "gpu:counter",
    "peak_memory_bytes": 10**9,
}


def written(folder, changes=None, models=MODELS):
    """A folder as `pepr sweep` leaves it, with the first row changed."""
    rows = [{**ROW, "model": model} for model in models]
    rows[0] |= changes or {}
    folder.mkdir(exist_ok=True)
    path = swept.rows_path(CONDITIONS, folder)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_sound_sweep_becomes_a_table_of_its_machine(tmp_path):
    folder = written(tmp_path / "sweep", {"status": "failed", "failure": "out_of_memory"})
    (path,) = submission.submit(str(folder), tmp_path / "out")
    assert path.name == "a-gpu-a-cpu-gpu-cap-350-w.csv"
    assert submission.place_of(path) == f"pepr/reference/sweep/{path.name}"
    (found,) = swept.read_csv(path)
    assert found.conditions == CONDITIONS and list(found.rows) == MODELS
    assert found.row(MODELS[0]) is None and found.row(MODELS[1])["step_time_s"] == 0.1


def test_each_machine_of_a_folder_has_a_table_of_its_own(tmp_path):
    folder = written(tmp_path / "sweep")
    with swept.rows_path(CONDITIONS, folder).open("a") as stream:
        for model in list(model_space())[40:65]:
            stream.write(json.dumps({**ROW, "model": model, "hardware": "Another"}) + "\n")
    names = [path.name for path in submission.submit(str(folder), tmp_path / "out")]
    assert names == ["a-gpu-a-cpu-gpu-cap-350-w.csv", "another.csv"]


def test_machines_that_measured_the_same_models_are_packed_with_all_their_rows(tmp_path):
    folder = written(tmp_path / "sweep")
    with swept.rows_path(CONDITIONS, folder).open("a") as stream:
        for model in MODELS:
            row = {**ROW, "model": model, "hardware": "Another", "step_time_s": 0.2}
            stream.write(json.dumps(row) + "\n")
    tables = [swept.read_csv(path)[0] for path in submission.submit(str(folder), tmp_path / "out")]
    assert [list(one.rows) for one in tables] == [MODELS, MODELS]
    assert [{row["step_time_s"] for row in one.rows.values()} for one in tables] == [{0.1}, {0.2}]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "resnet"}, "(resnet, model)"),
        ({"image_size": 64}, "image_size"),
        ({"software": None}, "software): None, expected what it was measured on"),
        ({"step_time_s": 0.0}, "step_time_s): 0.0, expected above 0"),
        ({"peak_memory_bytes": None}, "peak_memory_bytes): None"),
        ({"step_energy_wh": 1.0}, "below 2000 W over 0.1 s, which is 0.0556 Wh"),
        ({"eval_energy_wh": 0.0}, "eval_energy_wh): 0.0, expected a power above 0"),
        ({"step_energy_wh": None}, "a value where an energy source is named"),
        ({"status": "failed", "failure": "tired"}, "failure): 'tired', expected one of out_of_memory"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused_with_its_column(tmp_path, changes, said):
    folder = written(tmp_path / "sweep", changes)
    if "image_size" in changes:  # the first row says what the conditions are
        rows = swept.rows_path(CONDITIONS, folder).read_text().splitlines()
        swept.rows_path(CONDITIONS, folder).write_text("\n".join([*rows[1:], rows[0]]) + "\n")
    with pytest.raises(InputError) as caught:
        submission.submit(str(folder), tmp_path / "out")
    assert said in str(caught.value) and not (tmp_path / "out").exists()


def test_energy_that_nothing_metered_is_empty_and_accepted(tmp_path):
    empty = {"step_energy_wh": None, "eval_energy_wh": None, "energy_source": None}
    assert submission.submit(str(written(tmp_path / "sweep", empty)), tmp_path / "out")


def test_a_sweep_of_a_few_models_is_refused(tmp_path):
    folder = written(tmp_path / "sweep", models=MODELS[:3])
    with pytest.raises(InputError, match="3 models measured under cuda-256px-b32-fp32, expected at least 20"):
        submission.submit(str(folder), tmp_path / "out")
