"""What names a row of a table, and which rows are one run."""

import pytest
from test_scoring import scored

from pepr.audit import audit_file, exit_status
from pepr.errors import InputError
from pepr.tables.reader import Reader

TASKS = (
    "task_name,run_id,project_name,duration,emissions,energy_consumed,acc\n"
    "ant,r1,study,100,0.001,0.010,0.9\nbee,r1,study,200,0.0025,0.025,0.8\ncow,r1,study,150,0.002,0.020,0.7\n"
)
"""CodeCarbon's file of tasks: all that one tracker measured have its run_id."""


@pytest.mark.parametrize("keep_last", [False, True])
def test_every_task_of_a_tracker_is_a_row(tmp_path, keep_last):
    rows, _ = scored(tmp_path, TASKS, "energy_kwh", options={"keep_last": keep_last})
    assert [row["model"] for row in rows] == ["ant", "bee", "cow"]
    assert [row["pepr_energy_kwh"] for row in rows] == pytest.approx([0.9, 0.4, 0.7 / (1 + 10 / 15)])
    assert exit_status(audit_file(tmp_path / "table.csv")) == 0


def test_a_task_that_is_there_twice_is_refused_or_its_last_row_kept(tmp_path):
    text = TASKS + "bee,r1,study,300,0.004,0.040,0.85\n"
    with pytest.raises(InputError, match="run_id=r1, task_name=bee is already that of row 2"):
        scored(tmp_path, text, "energy_kwh")
    rows, _ = scored(tmp_path, text, "energy_kwh", options={"keep_last": True})
    found = [(row["model"], row["energy_kwh"]) for row in rows]
    assert found == [("ant", 0.01), ("cow", 0.02), ("bee", 0.04)]


def test_the_tasks_of_a_run_stay_beside_the_last_row_of_the_run_itself(tmp_path):
    whole, tasks = tmp_path / "emissions.csv", tmp_path / "tasks.csv"
    lines = ("study,r1,100,0.001,0.010", "study,r1,450,0.0055,0.055")
    whole.write_text("\n".join(["project_name,run_id,duration,emissions,energy_consumed", *lines, ""]))
    tasks.write_text(TASKS)
    reader = Reader([whole, tasks], recognise=True)
    at = reader.position("model"), reader.position("energy_kwh")
    found = [tuple(line.cells[i] for i in at) for line in reader.rows()]
    assert found == [("study", "0.055"), ("ant", "0.01"), ("bee", "0.025"), ("cow", "0.02")]
