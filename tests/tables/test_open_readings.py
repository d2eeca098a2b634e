"""What a table leaves open is read in one way and said, or refused with a way on."""

import io

import pytest
from test_dialect import refused, scored as scored_bytes
from test_scoring import curve, scored

from pepr.errors import InputError
from pepr.tables.dialect import Options
from pepr.tables.naming import columns_named, is_cost, meaning, more_is_better
from pepr.tables.reader import Reader
from pepr.tables.scoring import score_table

ALL_BELOW = "model,acc,kwh\nant,0.9,1\nbee,0.8,2\ncow,0.7,4\n"


@pytest.mark.parametrize(
    ("name", "quantity", "factor"),
    [
        ("kWh", "energy", 1.0),
        ("energy_kWh", "energy", 1.0),
        ("Energy (kWh)", "energy", 1.0),
        ("totalEnergykWh", "energy", 1.0),
        ("totalEnergyWh", "energy", 1e-3),
        ("energy_mWh", "energy", 1e-6),
        ("emissions_tCO2e", "carbon", 1e6),
        ("trainTime", "time", 1.0),
    ],
)
def test_words_start_at_capitals_but_not_within_a_unit(name, quantity, factor):
    found = meaning(name)
    assert (found.quantity, found.factor) == (quantity, factor)


def test_a_budget_is_no_time_that_was_taken():
    assert not meaning("time_budget").total and meaning("time").total


def test_columns_are_found_in_any_spelling_their_own_first():
    assert columns_named(["Model", "Train Time", "seed"], ["seed", "model", "train_time", "host"]) == [
        "seed",
        "Model",
        "Train Time",
    ]
    assert columns_named(["MODEL", "model"], ["model"]) == ["model"]


@pytest.mark.parametrize(
    "name",
    [
        "images_per_kWh",
        "images_per_gpu_hour",
        "samples/GPU-hour",
        "accuracy_per_kWh",
        "pepr_kwh",
        "images_par_seconde",
        "imagenes_por_segundo",
        "tps",
    ],
)
def test_a_rate_is_no_resource_in_any_unit(tmp_path, name):
    with pytest.raises(InputError, match=r"more of .* is better"):
        scored(tmp_path, f"model,acc,{name}\nslow,0.8,10\nfast,0.8,900\n", name)


@pytest.mark.parametrize(
    "name", ["kWh", "gpu_hours_per_epoch", "time_par_image", "per_image_time", "memory_per_gpu", "par_time"]
)
def test_a_cost_in_other_words_stays_a_cost(name):
    assert not more_is_better(name)


def test_what_a_study_chose_is_no_cost():
    assert not any(map(is_cost, ("weight_decay", "dropout", "width", "fold", "learning_rate", "f1")))
    assert all(map(is_cost, ("memT", "infer_time", "gpu_energy", "peak_rss", "vram_gb", "co2")))


@pytest.mark.parametrize("name", ["test_error", "top1_err", "val_loss", "wer", "train_time_s", "energy_kwh"])
def test_a_column_of_which_less_is_better_is_no_performance(tmp_path, name):
    path = tmp_path / "table.csv"
    path.write_text(f"model,{name},kwh\na,0.2,1\nb,0.4,2\n")
    with pytest.raises(InputError, match=f"less of '{name}' is better"):
        score_table(path, io.StringIO(), name, ["kwh"])


@pytest.mark.parametrize(
    ("column", "one", "two"),
    [("lr", "0.001", "0.0001"), ("weight_decay", "0.0005", "0.00005"), ("prompt", "short", "long")],
)
def test_a_setting_of_many_digits_may_tell_rows_apart(tmp_path, column, one, two):
    text = (
        f"model,val_loss,top5,{column},acc,kwh\nant,0.341,0.95,{one},0.8,0.01\nant,0.322,0.96,{two},0.9,0.1\n"
    )
    with pytest.raises(InputError, match=f"--key model --key {column}"):
        scored(tmp_path, text)


def test_a_model_is_one_whatever_its_column_is_spelled(tmp_path):
    with pytest.raises(InputError, match="Model=ant is already that of row 1"):
        scored(tmp_path, "Model,acc,kwh\nant,0.80,1\nant ,0.90,3\n")
    rows, _ = scored(tmp_path, "Model,Seed,acc,kwh\nant,0,0.8,1\nant,1,0.9,3\nbee,0,0.7,2\n")
    assert [(row["Model"], row["seeds"]) for row in rows] == [("ant", 2), ("bee", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "run_id,acc,kwh\nNone,0.8,0.0102\nnan,0.85,0.0201\n",
        "model,acc,kwh\n,0.8,1\n,0.9,2\n",
        "model,dataset,acc,kwh\n,leaves,0.8,1\nNone,leaves,0.9,2\n",
    ],
)
def test_rows_without_a_name_are_no_repeats(tmp_path, text):
    assert len(scored(tmp_path, text)[0]) == 2


def test_two_spellings_of_a_missing_seed_are_not_two_seeds(tmp_path):
    with pytest.raises(InputError, match="model=ant is already that of row 1"):
        scored(tmp_path, "model,seed,acc,kwh\nant,None,0.8,1\nant,,0.9,3\n")


def test_keep_last_needs_a_name_to_keep_the_last_of(tmp_path):
    with pytest.raises(InputError, match="give --key COLUMN"):
        scored(tmp_path, "net,acc,kwh\na,0.8,0.01\na,0.85,0.02\n", options={"keep_last": True})


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        ("model,acc,kwh\nant,0.62,0\nbee,0.90,4\ncow,0.85,2\n", {}, "a kwh of 0 is read as not measured"),
        ("model,acc,kwh\nant,0.9,1\n", {}, "nothing to compare"),
        ("model,acc,kwh\nant,0.9,1\nbee,0.8,1\n", {}, "every kwh is 1"),
        (ALL_BELOW, {"resource_range": (5, 9)}, "every kwh is below the range"),
        (ALL_BELOW, {"resource_range": (1.5, 9)}, "one row has a kwh below the range"),
        (ALL_BELOW, {"chance": 0.7}, "one row is no better than chance"),
    ],
)
def test_a_curve_says_what_the_scores_would(tmp_path, text, more, told):
    _, _, said = curve(tmp_path, text, **more)
    assert len(said) == 1 and told in said[0]
    assert scored(tmp_path, text, **more)[1] == said


@pytest.mark.parametrize("name", ["Total", "Summe:", "average"])
def test_a_row_that_may_sum_up_others_is_said(tmp_path, name):
    _, said = scored(tmp_path, f"model,acc,kwh\nant,0.9,1\nbee,0.8,2\n{name},0.85,3\n")
    assert said == [f"{name!r} is read as a model: take the row out if it sums up others"]


def test_a_column_is_not_both_performance_and_resource(tmp_path):
    (tmp_path / "table.csv").write_text("model,y\nant,0.9\nbee,0.8\n")
    with pytest.raises(InputError, match="'y' is both the performance and a resource"):
        score_table(tmp_path / "table.csv", io.StringIO(), "y", ["y"])


def test_rows_within_a_range_need_no_word(tmp_path):
    assert scored(tmp_path, ALL_BELOW, resource_range=(1, 9))[1] == []


def test_fractions_that_are_divided_by_a_hundred_are_said(tmp_path):
    _, said = scored(tmp_path, ALL_BELOW, options={"percent": True})
    assert said == ["acc: divided by 100, as --percent says, though no value is above 1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model acc kwh\nant 0.91 1.2\nbee 0.9 1.3\n", "blanks"),
        ("  model   acc  kwh\n    ant  0,91  1,2\n    bee   0,9  1,3\n", "blanks"),
        ("\n\nmodel,acc,kwh\nant,0.91,1.2\nbee,0.9,1.3\n", ""),
        ("# made by x\n# on a day\nmodel,acc,kwh\nant,0.91,1.2\nbee,0.9,1.3\n", "begin with #"),
        ("#model,acc,kwh\nant,0.91,1.2\nbee,0.9,1.3\n", ""),
        ("model;acc;kwh;;\nant;0,91;1,2;;\nbee;0,9;1,3;;\n", "semicolons"),
        ("| model | acc | kwh |\n|:---|---:|-|\n| ant | 0.91 | 1.2 |\n| bee | 0.9 | 1.3 |\n", "bars"),
        ("SEP=;\nmodel;acc;kwh\nant;0,91;1,2\nbee;0,9;1,3\n", "semicolons"),
        ("All runs of May\n\nmodel,acc,kwh\nant,0.91,1.2\nbee,0.9,1.3\n", "'All runs of May' stands above"),
        ("Table 2;;\nmodel;acc;kwh\nant;0,91;1,2\nbee;0,9;1,3\n", "'Table 2' stands above the header"),
    ],
    ids=[
        *("blanks", "aligned", "empty lines", "remarks", "# header", "empty columns", "Markdown", "SEP="),
        *("title", "title in a cell"),
    ],
)
def test_a_dialect_is_read_and_said(tmp_path, text, words):
    rows, said = scored_bytes(tmp_path, text)
    assert [row["kwh"] for row in rows] == [1.2, 1.3] and [row["acc"] for row in rows] == [0.91, 0.9]
    assert not words or any(words in line for line in said)


@pytest.mark.parametrize(
    "text",
    ["kwh\n0,91\n0,9\n", "kwh,\n0.91,x\n0.9,y\n", "sep=,\nkwh,acc\n0.91,1\n", "acc,kwh\nant,oak\n0.9,1\n"],
)
def test_a_header_of_one_name_or_of_two_is_no_title(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert "kwh" in Reader(tmp_path / "t.csv").header


def test_a_separator_that_is_not_known_is_asked_for(tmp_path):
    assert "give --separator" in refused(tmp_path, "model:acc:kwh\nant:0.91:1.2\n")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook"),
        (b"SQLite format 3", "a database"),
        (b"\x89HDF\r\n", "an HDF5 file"),
    ],
)
def test_a_file_with_nul_bytes_of_its_own_is_no_torn_write(tmp_path, head, kind):
    assert kind in refused(tmp_path, head + b"\0" * 900)


def test_json_has_one_idea_of_a_number_in_all_columns(tmp_path):
    rows, _ = scored(tmp_path, "model;loss;run;acc;kwh\nant;0,35;007;0,9;1\nbee;0,25;8;0,8;2,5\n")
    assert [row["loss"] for row in rows] == [0.35, 0.25] and [row["run"] for row in rows] == ["007", "8"]
    rows, _ = scored(tmp_path, 'model,n,x,acc,kwh\nant,"1,014.5",.5,0.9,1\nbee,12,5.,0.8,2\n')
    assert [(row["n"], row["x"]) for row in rows] == [(1014.5, 0.5), (12, 5.0)]


def test_a_number_that_would_lose_digits_stays_text_in_json(tmp_path):
    rows, _ = scored(tmp_path, "model,id,y,acc,kwh\nant,12345678901234567890,1e400,0.9,1\nbee,7,2,0.8,2\n")
    assert (rows[0]["id"], rows[0]["y"]) == ("12345678901234567890", "1e400")


@pytest.mark.parametrize("cell", ["0b1", "0o7", "1e_5", "1__0", "٣.٥", "½"])
def test_other_spellings_of_numbers_are_none(tmp_path, cell):
    assert "is not a number" in refused(tmp_path, f"model,acc,kwh\nant,0.9,{cell}\n")


def test_a_column_of_numbers_that_nobody_asked_for_is_read_by_its_own_marks(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model;acc;note\nant;0,91;1.5\n")
    reader = Reader(path, options=Options())
    assert (reader.plain("acc", "0,91"), reader.plain("note", "1.5"), reader.plain("model", "a,b")) == (
        "0.91",
        "1.5",
        "a,b",
    )


def test_in_a_framed_table_a_row_of_dashes_is_one_of_missing_values(tmp_path):
    rows, _ = scored_bytes(tmp_path, "|model|acc|kwh|\n|-|-|-|\n|ant|0.9|1|\n|bee|-|-|\n")
    assert [(row["acc"], row["kwh"]) for row in rows] == [(0.9, 1), (None, None)]


def test_two_spellings_of_a_missing_group_are_one_group(tmp_path):
    text = "model,site,acc,kwh\nant,NA,0.80,1\nbee,,0.90,3\ncow,north,0.9,7\ndog,north,0.9,9\n"
    rows, _ = scored(tmp_path, text, groups=["site"])
    assert [row["kwh_norm"] for row in rows] == [0, 1, 0, 1]


def test_a_status_in_other_words_is_said_and_one_that_tells_of_no_end_has_no_score(tmp_path):
    text = (
        "model,status,acc,kwh\nant,trained,0.8,1\nbee,OUT_OF_MEMORY,0.9,3\n"
        "cow,Early stopping,0.9,7\ndog,PRUNED,0.9,9\n"
    )
    rows, said = scored(tmp_path, text)
    assert [row["kwh_norm"] for row in rows] == [0, None, 1, None]
    assert said == [
        "runs whose status is not ok, finished or the like have no score",
        "the status 'early stopping' is taken for that of a run that ended well",
        "the status 'trained' is taken for that of a run that ended well",
    ]
