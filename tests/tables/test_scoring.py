"""What a score is worth, which rows are one, and what is no resource: rules of `pepr score`."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pepr.errors import InputError
from pepr.tables.commands import Request, score_command
from pepr.tables.dialect import Options
from pepr.tables.naming import meaning, more_is_better
from pepr.tables.scoring import score_table


def scored(tmp_path: Path, text: str, *resources: str, **more: object) -> tuple[list[dict], list[str]]:
    """Scored rows of a table, and what was said of it."""
    path = tmp_path / "table.csv"
    path.write_text(text)
    output, said = io.StringIO(), []
    options = Options(**more.pop("options", {}))
    resources = list(resources) or ["kwh"]
    score_table(path, output, "acc", resources, as_json=True, options=options, say=said.append, **more)
    return json.loads(output.getvalue()), said


SEEDS = "model,seed,acc,kwh\nant,0,0.90,1.0\nant,1,0.92,1.2\nbee,0,0.80,2.0\nbee,1,0.84,2.2\nbee,2,0.82,2.1\n"


def test_a_resource_of_zero_is_not_measured(tmp_path):
    rows, said = scored(tmp_path, "model,acc,kwh\nant,0.62,0\nbee,0.90,0.004\ncicada,0.85,0.002\n")
    assert rows[0]["pepr_kwh"] is None and rows[0]["kwh"] == 0
    assert [row["kwh_norm"] for row in rows] == [None, 1.0, 0.0]
    assert said == ["a kwh of 0 is read as not measured, and has no score: row 1"]


def test_a_group_is_one_whatever_blanks_are_around_its_name(tmp_path):
    text = "net,site,acc,kwh\nant,north,0.80,1\nbee, north ,0.90,3\ncicada,north,0.70,2\n"
    rows, _ = scored(tmp_path, text, groups=["site"])
    assert rows[1]["pepr_kwh"] == pytest.approx(0.45)


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b", "\ufeff", " \u200e "])
def test_a_name_with_a_blank_behind_it_is_that_name(tmp_path, blank):
    with pytest.raises(InputError, match="model=ant is already that of row 1"):
        scored(tmp_path, f"model,acc,kwh\nant,0.80,1\nant{blank},0.90,3\n")


def test_a_repeated_key_names_the_column_that_tells_rows_apart(tmp_path):
    text = "model,n_rows,acc,kwh\nant,100,0.8,0.01\nant,1000,0.9,0.1\n"
    with pytest.raises(InputError, match="--key model --key n_rows"):
        scored(tmp_path, text)
    rows, _ = scored(tmp_path, text, options={"key": ("model", "n_rows")})
    assert [row["kwh_norm"] for row in rows] == [0.0, 1.0]


def test_a_model_in_two_groups_is_two_rows_and_its_seeds_are_averaged_in_each(tmp_path):
    text = (
        "run_id,model,site,seed,acc,kwh\n"
        "a,ant,north,0,0.8,1\nb,ant,north,1,0.9,1\nc,bee,north,0,0.7,2\n"
        "d,ant,south,0,0.6,1\ne,bee,south,0,0.5,2\n"
    )
    rows, said = scored(tmp_path, text, groups=["site"], options={"key": ("model",)})
    assert [(row["model"], row["site"], row["acc"]) for row in rows] == [
        ("ant", "north", pytest.approx(0.85)),
        ("bee", "north", 0.7),
        ("ant", "south", 0.6),
        ("bee", "south", 0.5),
    ]
    assert [row["pepr_kwh"] for row in rows] == pytest.approx([0.85, 0.35, 0.6, 0.25])
    assert any("averaged over seed: 5 rows are 4 of model, site" in line for line in said)


def test_a_missing_run_leaves_the_row_to_its_model(tmp_path):
    rows, _ = scored(tmp_path, "run_id,model,acc,kwh\nNone,ant,0.8,0.0102\nNone,bee,0.85,0.0201\n")
    assert len(rows) == 2
    with pytest.raises(InputError, match="model=ant"):
        scored(tmp_path, "run_id,model,acc,kwh\nNone,ant,0.8,0.0102\n,ant,0.85,0.0201\n")


def test_of_cumulative_rows_the_last_may_be_kept(tmp_path):
    text = "run_id,model,acc,kwh\nr1,ant,0.8,0.01\nr1,ant,0.85,0.02\nr2,bee,0.7,0.03\n"
    with pytest.raises(InputError, match="keep the last: --keep-last"):
        scored(tmp_path, text)
    rows, said = scored(tmp_path, text, options={"keep_last": True})
    assert [(row["model"], row["kwh"]) for row in rows] == [("ant", 0.02), ("bee", 0.03)]
    assert any("left out" in line for line in said)


def test_means_that_the_order_of_their_seeds_alone_tells_apart_cost_alike(tmp_path):
    """0.1 + 0.2 + 0.3 is not quite 0.3 + 0.2 + 0.1: one of two equals would lose half of its score."""
    ant, bee = ("0.1", "0.2", "0.3"), ("0.3", "0.2", "0.1")
    seeds = [(model, *one) for model, of in (("ant", ant), ("bee", bee)) for one in enumerate(of)]
    lines = [f"{model},{seed},0.9,{kwh}" for model, seed, kwh in seeds]
    rows, said = scored(tmp_path, "\n".join(["model,seed,acc,kwh", *lines, ""]))
    assert [row["pepr_kwh"] for row in rows] == pytest.approx([0.9, 0.9])
    assert any("every kwh is 0.2, so the score is the performance" in line for line in said)


def test_seeds_are_averaged_with_their_number_beside(tmp_path):
    rows, said = scored(tmp_path, SEEDS)
    assert [(row["model"], row["seeds"]) for row in rows] == [("ant", 2), ("bee", 3)]
    assert rows[0]["acc"] == pytest.approx(0.91) and rows[1]["kwh"] == pytest.approx(2.1)
    assert rows[1]["pepr_kwh"] == pytest.approx(0.41)
    assert any("averaged over seed: 5 rows are 2 of model" in line for line in said)


def test_seeds_that_the_key_names_stay_apart(tmp_path):
    rows, _ = scored(tmp_path, SEEDS, options={"key": ("model", "seed")})
    assert len(rows) == 5 and "seeds" not in rows[0]


def test_a_seed_without_energy_is_left_out_of_the_mean(tmp_path):
    rows, _ = scored(tmp_path, "model,seed,acc,kwh\nant,0,0.9,1\nant,1,0.8,0\nbee,0,0.7,2\nbee,1,0.7,2\n")
    assert rows[0]["kwh"] == 1.0 and rows[0]["acc"] == pytest.approx(0.85)


def test_one_seed_twice_is_a_repeated_key(tmp_path):
    with pytest.raises(InputError, match="model=ant, seed=0"):
        scored(tmp_path, "model,seed,acc,kwh\nant,0,0.9,1\nant,0,0.8,2\n")


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        ("model,acc,kwh\nant,0.9,1\nbee,0.8,2\n", {"resource_range": (5, 9)}, "below the range"),
        ("model,acc,kwh\nant,0.9,1\n", {}, "nothing to compare"),
        ("model,acc,kwh\nant,0.9,1\nbee,0.8,1\n", {}, "every kwh is 1"),
        ("model,acc,kwh\nant,0.9,\nbee,,1\n", {}, "no row has both"),
        ("model,g,acc,kwh\na,x,0.9,1\nb,x,0.8,2\nc,y,0.9,1\n", {"groups": ["g"]}, "in 1 of 2 groups (y)"),
    ],
)
def test_a_score_that_says_nothing_is_given_and_said(tmp_path, text, more, told):
    rows, said = scored(tmp_path, text, **more)
    assert rows and len(said) == 1 and told in said[0]


def test_a_resource_that_is_named_twice_is_scored_once(tmp_path):
    rows, _ = scored(tmp_path, "model,acc,kwh\nant,0.9,1\nbee,0.8,2\n", "kwh", "kwh")
    assert list(rows[0]) == ["model", "acc", "kwh", "pepr_kwh", "kwh_norm"]


@pytest.mark.parametrize(
    "name",
    [
        "images_per_s",
        "samples_per_second",
        "throughput",
        "img/s",
        "it_s",
        "tokens_per_joule",
        "train_fps",
        "accuracy",
        "top1",
        "val_auroc",
        "gpu_efficiency",
        "speedup",
        "F1",
        "requests_per_minute",
        "epochs/hour",
    ],
)
def test_a_column_of_which_more_is_better_is_no_resource(tmp_path, name):
    assert more_is_better(name)
    with pytest.raises(InputError, match=r"more of .* is better.*inverse"):
        scored(tmp_path, f"model,acc,{name}\nslow,0.8,0.1\nfast,0.8,0.9\n", name)


@pytest.mark.parametrize(
    "name",
    [
        "kwh",
        "energy_kwh",
        "train_time_s",
        "seconds_per_image",
        "ms/step",
        "joules_per_token",
        "gco2_per_query",
        "peak_memory_bytes",
        "params",
        "gmacs",
        "latency",
        "image_size",
        "step_time",
        "error",
        "test_loss",
        "kwh_per_epoch",
        "cost_usd_per_hour",
        "watts",
        "energy_per_accuracy",
        "carbon_intensity_g_per_kwh",
        "performance_cost",
    ],
)
def test_a_cost_stays_a_cost(name):
    assert not more_is_better(name)


def test_json_keeps_names_and_knows_missing_numbers(tmp_path):
    rows, _ = scored(tmp_path, "model,run,acc,kwh\nant,0012,0.9,1\nbee,12e3,NaN,2\n")
    assert [row["acc"] for row in rows] == [0.9, None]
    assert [row["run"] for row in rows] == ["0012", "12e3"]
    rows, _ = scored(tmp_path, "model,run,n,acc,kwh\nant,7,,0.9,1\nbee,12,1e3,0.8,2\n")
    assert [(row["run"], row["n"]) for row in rows] == [(7, None), (12, 1000.0)]


@pytest.mark.parametrize("name", ["Run ID", "runId", "run-id", "git.commit"])
def test_a_name_keeps_its_digits_however_its_column_is_spelled(tmp_path, name):
    rows, _ = scored(tmp_path, f"model,{name},acc,kwh\nant,12e3,0.9,1\nbee,47e1,0.8,2\n")
    assert [row[name] for row in rows] == ["12e3", "47e1"]
    rows, _ = scored(tmp_path, "model,run_time_s,acc,kwh\nant,12e3,0.9,1\nbee,4.5,0.8,2\n")
    assert [row["run_time_s"] for row in rows] == [12000.0, 4.5]


def test_names_that_are_close_are_offered(tmp_path):
    with pytest.raises(InputError, match="'kwh' is missing; did you mean 'energy_kwh'"):
        scored(tmp_path, "model,acc,energy_kwh\nant,0.9,1\n")


def test_a_tools_own_name_and_the_studys_are_one_column(tmp_path):
    text = (
        "project_name,duration,emissions,energy_consumed,acc\nant,10,0.001,0.01,0.9\nbee,20,0.002,0.03,0.8\n"
    )
    rows, said = scored(tmp_path, text, "emissions", "co2eq_g")
    assert rows[1]["pepr_emissions"] == rows[1]["pepr_co2eq_g"] == 0.4
    assert [row["co2eq_g"] for row in rows] == [1.0, 2.0]
    assert len([line for line in said if "CodeCarbon" in line]) == 1


def test_a_tools_file_without_a_performance_says_whose_it_is_and_how_to_add_one(tmp_path):
    text = "project_name,duration,emissions,energy_consumed\nant,10,0.001,0.01\n"
    with pytest.raises(InputError, match=r"'acc' is missing.*CodeCarbon.*emissions x 1000.*--join"):
        scored(tmp_path, text, "energy_consumed")


def curve(tmp_path: Path, text: str, **more: object) -> tuple[list[dict], str, list[str]]:
    path = tmp_path / "table.csv"
    path.write_text(text)
    request, said = Request((path,), "acc", ("kwh",), **more), []
    as_json, as_text = io.StringIO(), io.StringIO()
    score_command(request, as_json, said.append, curve=True, as_json=True)
    score_command(request, as_text, lambda _: None, curve=True)
    return json.loads(as_json.getvalue()), as_text.getvalue(), said


def test_the_peak_has_an_interval_where_there_are_seeds(tmp_path):
    (entry,), text, _ = curve(tmp_path, SEEDS)
    assert (entry["model"], entry["models"], entry["seeds"]) == ("ant", 2, 3)
    assert entry["low"] < entry["resource"] < entry["high"] and entry["resource"] == pytest.approx(1.1)
    assert max(point["score"] for point in entry["curve"]) == pytest.approx(entry["score"])
    assert "95% interval" in text and "peaks at ant" in text


def test_without_seeds_the_peak_has_no_interval(tmp_path):
    (entry,), text, _ = curve(tmp_path, "model,acc,kwh\nant,0.9,1\nbee,0.95,2\n")
    assert entry["low"] is None and "cannot be told" in text


def test_an_interval_covers_as_often_as_it_says(tmp_path):
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(40):
        lines = ["model,seed,acc,kwh"]
        for model, accuracy, energy in (("ant", 0.9, 1.0), ("bee", 0.91, 3.0), ("cicada", 0.6, 0.5)):
            for seed in range(3):
                values = accuracy + rng.normal(0, 0.01), energy * np.exp(rng.normal(0, 0.05))
                lines.append(f"{model},{seed},{values[0]:.6f},{values[1]:.6f}")
        (entry,), _, _ = curve(tmp_path, "\n".join(lines) + "\n", resource_range=(0.0, 4.0))
        inside += entry["low"] <= 1.0 <= entry["high"]
    assert inside >= 34


def test_the_curve_is_drawn(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(SEEDS)
    said: list[str] = []
    output = io.StringIO()
    score_command(Request((path,), "acc", ("kwh",)), output, said.append, plot=tmp_path / "out.svg")
    drawing = (tmp_path / "out.svg").read_text()
    assert "its PePR" in drawing and "95% interval" in drawing and "ant" in drawing
    assert output.getvalue().startswith("model,acc,kwh,seeds")
    with pytest.raises(InputError, match=r"name it out\.svg"):
        score_command(Request((path,), "acc", ("kwh",)), output, said.append, plot=tmp_path / "out.png")


GUESSERS = "model,acc,kwh\nant,0.5,1\nbee,0.8,2\nwasp,0.4,3\n"


def test_with_a_chance_the_performance_above_it_is_scored(tmp_path):
    rows, said = scored(tmp_path, GUESSERS, chance=0.5)
    assert [row["acc_above_chance"] for row in rows] == pytest.approx([0.0, 0.6, -0.2])
    assert [row["pepr_kwh"] for row in rows] == pytest.approx([0.0, 0.4, 0.0])
    assert [row["acc"] for row in rows] == [0.5, 0.8, 0.4] and [row["kwh_norm"] for row in rows] == [
        0,
        0.5,
        1,
    ]
    assert said == ["2 rows are no better than chance, and scored 0"]


def test_percentages_have_a_chance_that_is_a_fraction(tmp_path):
    hundredths = GUESSERS.replace("0.5", "50").replace("0.8", "80").replace("0.4", "40")
    rows, _ = scored(tmp_path, hundredths, chance=0.5, options={"percent": True})
    assert [row["acc_above_chance"] for row in rows] == pytest.approx([0.0, 0.6, -0.2])


@pytest.mark.parametrize("chance", [-0.1, 1.0, 50.0, float("nan")])
def test_a_chance_that_leaves_nothing_to_earn_is_refused(tmp_path, chance):
    with pytest.raises(InputError, match=r"table\.csv: --chance .*: expected what a guesser would have"):
        scored(tmp_path, GUESSERS, chance=chance)


def test_seeds_that_guess_are_averaged_before_they_are_scored(tmp_path):
    text = "model,seed,acc,kwh\nant,0,0.4,1\nant,1,0.6,1\nbee,0,0.9,2\nbee,1,0.9,2\n"
    rows, _ = scored(tmp_path, text, chance=0.5)
    assert [row["acc_above_chance"] for row in rows] == pytest.approx([0.0, 0.8])
    assert list(rows[0])[-4:] == ["seeds", "acc_above_chance", "pepr_kwh", "kwh_norm"]


def test_above_chance_the_peak_is_another_where_the_cheapest_guesses(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(GUESSERS)
    peaks = []
    for chance in (None, 0.5):
        output = io.StringIO()
        request = Request((path,), "acc", ("kwh",), chance=chance)
        score_command(request, output, lambda _: None, curve=True)
        peaks.append(output.getvalue())
    assert "peaks at bee: acc_above_chance 0.6" in peaks[1] and "peaks at bee: acc 0.8" in peaks[0]
    text = GUESSERS.replace("bee,0.8,2", "bee,0.7,2")
    path.write_text(text)
    (entry,), _, _ = curve(tmp_path, text)
    (above,), _, _ = curve(tmp_path, text, chance=0.5)
    assert (entry["model"], above["model"]) == ("ant", "bee")


def test_the_command_takes_a_chance(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(GUESSERS)
    command = [sys.executable, "-m", "pepr.cli", "score", str(path), "--performance", "acc"]
    command += ["--resource", "kwh", "--chance", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "model,acc,kwh,acc_above_chance,pepr_kwh,kwh_norm"
    assert done.stderr == "pepr: 2 rows are no better than chance, and scored 0\n"


def test_a_join_without_its_column_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(SEEDS)
    for join, on in ((path, []), (None, ["model"])):
        with pytest.raises(InputError, match="--on"):
            score_command(Request((path,), "acc", ("kwh",)), io.StringIO(), print, join=join, on=on)


def test_the_command_says_on_stderr_what_it_did(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model;acc;kwh\nant;91,5;0\nbee;80;2,5\nwasp;85;3,5\n")
    command = [
        sys.executable,
        "-m",
        "pepr.cli",
        "score",
        str(path),
        "--performance",
        "acc",
        "--resource",
        "kwh",
    ]
    done = subprocess.run([*command, "--percent", "--json"], capture_output=True, text=True, check=True)
    assert [row["pepr_kwh"] for row in json.loads(done.stdout)] == [None, 0.8, 0.425]
    assert all(line.startswith("pepr: ") for line in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "quantity", "factor"),
    [
        ("kwh", "energy", 1.0),
        ("Energy (J)", "energy", 1 / 3.6e6),
        ("energy_wh", "energy", 1e-3),
        ("total MWh", None, None),
        ("energy [mWh]", "energy", 1e-6),
        ("energy_mwh", "energy", None),
        ("co2_kg", "carbon", 1e3),
        ("CO2eq (g)", "carbon", 1.0),
        ("train_hours", "time", 3600.0),
        ("Training (minutes)", "time", 60.0),
        ("wall_s", "time", 1.0),
        ("labelling_hours", None, None),
        ("model_s", None, None),
        ("run", None, None),
        ("s", None, None),
        ("duration_min", "time", None),
        ("duration (minutes)", "time", 60.0),
        ("runtime_ms", "time", 1e-3),
        ("accuracy", None, None),
    ],
)
def test_a_name_says_quantity_and_unit_where_it_does(name, quantity, factor):
    found = meaning(name)
    assert (found and found.quantity) == quantity
    if quantity:
        assert found.factor == factor


@pytest.mark.parametrize(
    "name", ["gpu_energy", "idle_power_w", "carbon_intensity", "inference_time_s", "start_time"]
)
def test_a_part_a_rate_or_another_phase_is_not_the_runs_total(name):
    assert not meaning(name).total


@pytest.mark.parametrize("name", ["status", "Status", "STATUS"])
def test_a_failed_run_has_no_score_and_sets_no_range_however_status_is_spelled(tmp_path, name):
    text = f"Model,{name},acc,kwh\nant,Failed,0.10,0.001\nbee,ok,0.90,0.004\ncow,ok,0.85,0.002\n"
    rows, said = scored(tmp_path, text)
    assert [row["pepr_kwh"] for row in rows] == [None, 0.45, 0.85]
    others = "'Model' as model" + (f", {name!r} as status" if name != "status" else "")
    assert said == [
        f"columns are known in any spelling: {others}",
        "runs whose status is not ok, finished or the like have no score",
    ]


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (("91%", "105%"), "row 2 (line 3), column 'acc_pct': 105% is no percentage"),
        (("91", "925"), "row 2 (line 3), column 'acc_pct': 925 is no percentage"),
        (("-1%", "90%"), "row 1 (line 2), column 'acc_pct': -1% is no percentage"),
    ],
)
def test_what_is_no_percentage_is_refused_with_its_place(tmp_path, cells, told):
    path = tmp_path / "table.csv"
    path.write_text(f"model,acc_pct,kwh\nant,{cells[0]},1\nbee,{cells[1]},2\n")
    with pytest.raises(InputError) as caught:
        score_table(path, io.StringIO(), "acc_pct", ["kwh"])
    assert told in str(caught.value)
    command = [sys.executable, "-m", "pepr.cli", "score", str(path), "--performance", "acc_pct"]
    done = subprocess.run([*command, "--resource", "kwh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and told in done.stderr


def test_a_failed_run_may_have_any_percentage(tmp_path):
    path, output = tmp_path / "table.csv", io.StringIO()
    path.write_text("model,status,acc_pct,kwh\nant,failed,-1,1\nbee,ok,90,2\ncow,ok,80,4\n")
    score_table(path, output, "acc_pct", ["kwh"], as_json=True)
    assert [row["pepr_kwh"] for row in json.loads(output.getvalue())] == [None, 0.9, 0.4]
