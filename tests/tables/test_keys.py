"""What names a row of a table, and which rows are one run."""

import pytest
from test_scoring import scored

from pepr.audit import audit_file, exit_status
from pepr.errors import InputError
from pepr.tables.dialect import Options
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


def test_keep_last_keeps_the_last_of_a_model_without_a_run(tmp_path):
    text = "run_id,model,acc,kwh\nNone,ant,0.8,0.01\nNone,ant,0.85,0.02\n,bee,0.7,0.03\n"
    with pytest.raises(InputError, match=r"model=ant is already that of row 1.*keep the last: --keep-last"):
        scored(tmp_path, text)
    rows, said = scored(tmp_path, text, options={"keep_last": True})
    assert [(row["model"], row["kwh"]) for row in rows] == [("ant", 0.02), ("bee", 0.03)]
    assert "1 earlier rows of the same run_id, or model without one, left out: the last one counts" in said


def test_keep_last_keeps_every_seed_of_a_model_without_a_run_and_rows_that_have_no_name(tmp_path):
    rows = ",ant,0,0.8,1\n,ant,1,0.9,3\n,bee,0,0.7,2\n,,0,0.5,4\n,,0,0.5,5\n"
    text = f"run_id,model,random_seed,acc,kwh\n{rows}"
    rows, _ = scored(tmp_path, text, options={"keep_last": True})
    assert [row["kwh"] for row in rows] == [1, 3, 2, 4, 5]


@pytest.mark.parametrize("name", ["Run ID", "run-id", "runId", "RUN_ID", "RunID"])
def test_a_run_is_known_in_any_spelling_and_that_is_said(tmp_path, name):
    text = f"{name},model,acc,kwh\nr1,ant,0.8,1\nr2,ant,0.9,2\nr3,bee,0.7,4\n"
    rows, said = scored(tmp_path, text)
    assert [row["kwh_norm"] for row in rows] == pytest.approx([0, 1 / 3, 1])
    assert said == [f"columns are known in any spelling: {name!r} as run_id"]
    with pytest.raises(InputError, match=f"{name}=r1 is already that of row 1"):
        scored(tmp_path, text.replace("r2", "r1"))
    told = []
    assert audit_file(tmp_path / "table.csv", say=told.append)[0].check == "repeated_run"
    assert told == said
    assert audit_file(tmp_path / "table.csv", options=Options(keep_last=True)) == []


@pytest.mark.parametrize("name", ["Random Seed", "random-seed", "randomSeed", "RNG seed", "SEED"])
def test_seeds_are_known_in_any_spelling_and_averaged(tmp_path, name):
    known = {"RNG seed": "rng_seed", "SEED": "seed"}.get(name, "random_seed")
    text = f"model,{name},acc,kwh\nant,0,0.8,1\nant,1,0.9,3\nbee,0,0.7,5\nbee,1,0.7,5\n"
    rows, said = scored(tmp_path, text)
    assert [(row["model"], row["seeds"], row["kwh"]) for row in rows] == [("ant", 2, 2), ("bee", 2, 5)]
    assert f"columns are known in any spelling: {name!r} as {known}" in said
    assert "repeated_row" not in {found.check for found in audit_file(tmp_path / "table.csv")}


def test_a_name_that_an_option_spells_otherwise_is_offered(tmp_path):
    with pytest.raises(InputError, match="column 'run_id' is missing; did you mean 'Run ID'"):
        scored(tmp_path, "Run ID,model,acc,kwh\nr1,ant,0.8,1\n", options={"key": ("run_id",)})


def test_an_option_that_is_offered_can_be_typed(tmp_path):
    with pytest.raises(InputError, match="--key model --key 'n rows'"):
        scored(tmp_path, "model,n rows,acc,kwh\nant,100,0.8,0.01\nant,1000,0.9,0.1\n")
