"""Files that tools of this field wrote themselves are recognised, with their units and their rows."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pepr.errors import InputError
from pepr.tables.dialect import Options
from pepr.tables.formats import FORMATS, format_of
from pepr.tables.join import Joined
from pepr.tables.reader import Reader
from pepr.tables.scoring import score_table

FILES = Path(__file__).parent / "files"


def rows_of(*names: str | Path) -> tuple[list[dict[str, str]], Reader]:
    """The rows of files as they are read, and their reader."""
    paths = [FILES / name if isinstance(name, str) else name for name in names]
    reader = Reader(paths, recognise=True)
    return [dict(zip(reader.header, line.cells, strict=True)) for line in reader.rows()], reader


def write(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["codecarbon2.csv", "codecarbon32.csv", "codecarbon33.csv"])
def test_a_file_of_codecarbon_is_in_kwh_grams_and_seconds(name):
    rows, reader = rows_of(name)
    assert [row["model"] for row in rows] == ["ant", "bee"]
    for row in rows:
        assert float(row["energy_kwh"]) == float(row["energy_consumed"])
        assert float(row["co2eq_g"]) == pytest.approx(1000 * float(row["emissions"]))
        assert float(row["train_time_s"]) == float(row["duration"])
        assert row["energy_gpu_kwh"] == "" and row["country"] == "NOR"
    assert any("CodeCarbon" in notice for notice in reader.notices)


@pytest.mark.parametrize("name", ["codecarbon32.csv", "codecarbon33.csv"])
def test_of_the_flushes_of_codecarbon_the_last_counts(name):
    rows, reader = rows_of(name)
    text = (FILES / name).read_text().splitlines()
    assert len(text) == 1 + 4 and len(rows) == 2
    assert rows[1]["duration"] in text[-1]
    assert "2 earlier rows of the same run_id left out: the last one counts" in reader.notices


def test_rows_that_codecarbon_wrote_without_empty_cells_keep_what_stands_before_them():
    rows, reader = rows_of("codecarbon32.csv")
    assert rows[1]["country_iso_code"] == "NOR" and rows[1]["cpu_model"] == ""
    assert any("lack their empty cells" in notice for notice in reader.notices)


def test_eco2ai_counts_in_kilograms_and_its_zeros_are_not_measured():
    rows, _ = rows_of("eco2ai.csv")
    assert [row["model"] for row in rows] == ["ant", "bee"]
    assert float(rows[0]["co2eq_g"]) == pytest.approx(1000 * float(rows[0]["CO2_emissions(kg)"]))
    assert rows[0]["run_id"] == rows[0]["id"]


def test_zeus_counts_in_joules_and_its_cards_are_added():
    rows, _ = rows_of("zeus.csv")
    assert [row["model"] for row in rows] == ["ant", "bee"]
    assert float(rows[0]["energy_kwh"]) == pytest.approx(150 / 3.6e6, rel=0.01)


def test_two_cards_of_zeus_are_one_energy(tmp_path):
    text = "start_time,window_name,elapsed_time,gpu0_energy,gpu1_energy\n1,ant,2.0,3600000,1800000\n"
    rows, _ = rows_of(write(tmp_path, text))
    assert float(rows[0]["energy_kwh"]) == pytest.approx(1.5)


def test_runs_of_mlflow_have_their_names_metrics_and_parameters():
    rows, _ = rows_of("mlflow.csv")
    assert {row["model"]: row["test_accuracy"] for row in rows} == {
        "ant": "0.9",
        "bee": "0.875",
        "cicada": "",
    }
    assert rows[0]["seed"] == "1"


def test_the_log_of_lightning_is_one_training_by_its_last_values(tmp_path):
    folder = tmp_path / "ant" / "version_0"
    folder.mkdir(parents=True)
    path = folder / "metrics.csv"
    path.write_bytes((FILES / "lightning.csv").read_bytes())
    (row,), _ = rows_of(path)
    assert (row["model"], row["test_acc"], row["epochs"]) == ("ant", "0.953125", "3")


def test_the_log_of_keras_is_one_training_by_its_last_epoch():
    (row,), _ = rows_of("keras.csv")
    last = (FILES / "keras.csv").read_text().splitlines()[-1].split(",")
    assert (row["model"], row["epochs"], row["val_accuracy"]) == ("keras", "3", last[3])


CARBONTRACKER = json.loads((FILES / "ant_carbontracker_parser.json").read_text())
"""What carbontracker's own parser reads in the log."""


@pytest.fixture(params=["its own parser", "no parser"])
def reader(request, monkeypatch):
    """Who reads a log: a stand-in that answers as carbontracker's parser did, or, without it, the pattern."""
    parser = None
    if request.param == "its own parser":
        parser = ModuleType("carbontracker.parser")
        parser.get_consumption = lambda text: tuple(
            CARBONTRACKER["ended" if "Actual consumption" in text else "cut off"].values()
        )
    monkeypatch.setitem(sys.modules, "carbontracker", ModuleType("carbontracker"))
    monkeypatch.setitem(sys.modules, "carbontracker.parser", parser)
    return request.param


def as_read(found, epochs):
    columns = {
        "train_time_s": "duration (s)",
        "energy_kwh": "energy (kWh)",
        "co2eq_g": "co2eq (g)",
    }
    return [{"model": "ant", "epochs": epochs, **{name: repr(found[key]) for name, key in columns.items()}}]


def test_the_log_of_carbontracker_is_what_was_consumed_whoever_reads_it(reader):
    rows, said = rows_of("ant_carbontracker_output.log")
    assert rows == as_read(CARBONTRACKER["ended"]["actual"], "2")
    assert any("what was consumed" in notice for notice in said.notices)
    assert any("by its own parser" in notice for notice in said.notices) is (reader == "its own parser")


def test_a_training_that_did_not_end_is_what_carbontracker_predicted_whoever_reads_it(reader, tmp_path):
    text = (FILES / "ant_carbontracker_output.log").read_text().split("Actual consumption")[0]
    rows, said = rows_of(write(tmp_path, text, "ant_output.log"))
    assert rows == [{**as_read(CARBONTRACKER["cut off"]["predicted"], "2")[0], "model": "ant_output"}]
    assert any("predicted" in notice for notice in said.notices)


def test_carbontrackers_parser_is_not_believed_about_epochs():
    assert CARBONTRACKER["ended"]["actual"]["epochs"] == 1


@pytest.mark.parametrize("answer", [(None, None), ({"duration (s)": None}, None)])
def test_a_log_that_carbontrackers_parser_does_not_know_is_read_as_it_is_written(monkeypatch, answer):
    parser = ModuleType("carbontracker.parser")
    parser.get_consumption = lambda text: answer
    monkeypatch.setitem(sys.modules, "carbontracker", ModuleType("carbontracker"))
    monkeypatch.setitem(sys.modules, "carbontracker.parser", parser)
    rows, _ = rows_of("ant_carbontracker_output.log")
    assert rows == as_read(CARBONTRACKER["ended"]["actual"], "2")


def test_a_model_card_states_its_emissions_in_grams():
    rows, _ = rows_of("model_card.md")
    assert rows == [
        {
            "model": "ant",
            "co2eq_g": "12.5",
            "country": "Norway",
            "hardware": "1 x NVIDIA GeForce RTX 3090",
            "accuracy": "0.9125",
        }
    ]


def test_several_logs_are_one_table():
    rows, _ = rows_of("ant_carbontracker_output.log", "model_card.md")
    assert len(rows) == 2 and rows[1]["energy_kwh"] == "" and rows[0]["accuracy"] == ""


def test_results_of_timm_are_percentages_and_millions(tmp_path):
    text = (
        "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation\n"
        'giant,90.054,9.946,99.056,0.944,"1,014.45",336,1.0,bicubic\ntiny,72.1,27.9,91.0,9.0,1.30,224,0.9,bicubic\n'
    )
    rows, _ = rows_of(write(tmp_path, text))
    assert float(rows[0]["test_accuracy"]) == pytest.approx(0.90054)
    assert float(rows[0]["num_params"]) == pytest.approx(1_014_450_000)


def test_a_benchmark_of_timm_is_milliseconds_and_its_throughput_no_resource(tmp_path):
    text = (
        "model,infer_samples_per_sec,infer_step_time,infer_batch_size,infer_img_size,param_count\n"
        "tinynet_e,72737.62,14.068,1024,106,2.04\nresnet18,12000.5,85.3,1024,224,11.69\n"
    )
    path = write(tmp_path, text)
    rows, _ = rows_of(path)
    assert float(rows[0]["inference_step_time_s"]) == pytest.approx(0.014068)
    with pytest.raises(InputError, match="more of 'infer_samples_per_sec' is better"):
        score_table(path, io.StringIO(), "infer_step_time", ["infer_samples_per_sec"])


def test_the_leaderboard_of_ml_energy_counts_in_joules(tmp_path):
    text = "model,batch_size,throughput,response_length,latency,energy\nllama,1,30.0,379.5,12.98,3050.1\n"
    rows, _ = rows_of(write(tmp_path, text))
    assert float(rows[0]["energy_kwh"]) == pytest.approx(3050.1 / 3.6e6)


def test_the_ai_energy_score_counts_kwh_of_a_thousand_queries(tmp_path):
    rows, reader = rows_of(write(tmp_path, "model,total_gpu_energy,class\nllama,1.72,C\n"))
    assert float(rows[0]["energy_kwh"]) == pytest.approx(1.72)
    assert any("1,000 queries" in notice for notice in reader.notices)


def test_a_table_of_the_leaderboard_of_the_ai_energy_score_is_audited_and_scored_by_its_own_names(tmp_path):
    """Its stars are no resource; the model's name has the state of its reasoning."""
    text = (
        "model,total_gpu_energy,energy_score,class,test date\n"
        "openai/gpt-oss-20b (low),1.7212134,4,B,Oct 2025\n"
        "ibm-granite/granite-4.0-micro,0.186811914,5,A,Oct 2025\n"
    )
    rows, _ = rows_of(write(tmp_path, text))
    assert [row["model"] for row in rows] == ["openai/gpt-oss-20b (low)", "ibm-granite/granite-4.0-micro"]
    assert [float(row["energy_kwh"]) for row in rows] == [1.7212134, 0.186811914]


BATCH = (
    "model_name,model_class,task,reasoning_state,total_prompts,successful_prompts,failed_prompts,"
    "total_duration_seconds,avg_latency_seconds,total_tokens,total_prompt_tokens,total_completion_tokens,"
    "throughput_tokens_per_second,gpu_energy_wh,co2_emissions_g,tokens_per_joule,avg_energy_per_prompt_wh,"
    "timestamp,error_message\n"
    "a/ant,B,text_gen,On (High),10,10,0,30.50,3.0500,1500,500,1000,49.18,25.4000,12.3000,0.0164,2.5400,"
    "2026-01-01T10:00:00.000001,\n"
    "a/ant,B,text_gen,Off,10,10,0,12.00,1.2000,600,500,100,50.00,9.5000,4.6000,0.0175,0.9500,"
    "2026-01-01T10:01:00.000001,\n"
    "a/bee,A,text_gen,Off,0,0,0,5.00,0.0000,0,0,0,0.00,0.0000,0.0000,0.0000,0.0000,"
    "2026-01-01T10:02:00.000001,Model not found\n"
)
"""What the batch runner of the AI Energy Score writes: a model of which nothing was measured has zeros."""


def test_a_batch_of_the_ai_energy_score_counts_wh_and_a_failed_model_was_not_measured(tmp_path):
    rows, reader = rows_of(write(tmp_path, BATCH))
    assert [row["model"] for row in rows] == ["a/ant", "a/ant", "a/bee"]
    assert [row["energy_kwh"] and float(row["energy_kwh"]) for row in rows] == [0.0254, 0.0095, ""]
    assert [row["co2eq_g"] for row in rows] == ["12.3", "4.6", ""]
    assert any("Wh of the GPU" in notice for notice in reader.notices)


def test_what_tells_the_runs_of_a_batch_apart_is_named(tmp_path):
    path = write(
        tmp_path,
        BATCH.replace("total_tokens,", "accuracy,", 1).replace(",1500,", ",0.9,").replace(",600,", ",0.8,"),
    )
    with pytest.raises(InputError, match="--key model --key reasoning_state"):
        score_table(path, io.StringIO(), "accuracy", ["energy_kwh"])
    output = io.StringIO()
    options = Options(key=("model", "reasoning_state"))
    score_table(path, output, "accuracy", ["energy_kwh"], as_json=True, options=options)
    assert [row["pepr_energy_kwh"] for row in json.loads(output.getvalue())] == [0.45, 0.8, None]


def test_a_runs_table_of_weights_and_biases_has_names_states_and_seconds(tmp_path):
    text = (
        '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","seed","test_acc","kwh"\n'
        '"ant","finished","-","ada","","2026-01-01T10:00:00.000Z","93","","1","0.9","0.01"\n'
        '"bee","crashed","-","ada","","2026-01-01T11:00:00.000Z","12","","1","0.4","0.001"\n'
        '"cicada","finished","-","ada","","2026-01-01T12:00:00.000Z","99","","1","0.8","0.02"\n'
    )
    output, said = io.StringIO(), []
    score_table(write(tmp_path, text), output, "test_acc", ["kwh"], as_json=True, say=said.append)
    rows = {row["model"]: row for row in json.loads(output.getvalue())}
    assert rows["bee"]["pepr_kwh"] is None and rows["ant"]["pepr_kwh"] == 0.9
    assert rows["ant"]["train_time_s"] == 93 and any("status" in line for line in said)


def test_an_offline_run_of_weights_and_biases_is_its_settings_and_last_values():
    (row,), reader = rows_of("wandb_offline.wandb")
    assert float(row.pop("train_time_s")) > 0
    assert row == {
        "model": "ant",
        "status": "finished",
        "seed": "1",
        "optimiser": '{"name": "adam", "learning_rate": 0.0005}',
        "test_acc": "0.9",
        "energy_kwh": "0.012",
    }
    assert any("offline run of Weights & Biases" in notice for notice in reader.notices)


def test_an_offline_run_that_was_killed_has_crashed_and_no_score(tmp_path):
    """Its file ends in the middle of a record."""
    path, whole = tmp_path / "run-1.wandb", (FILES / "wandb_offline.wandb").read_bytes()
    end = whole.rindex(b"test_acc") + 4
    path.write_bytes(whole[:end])
    (row,), _ = rows_of(path)
    assert (row["model"], row["status"]) == ("ant", "crashed")
    assert row["test_acc"] in ("0.8", "0.9")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b":W&B\xe1\xbe\x00", "without a run in it"),
        (b":W&B\xe1\xbe\x00" + bytes(4) + b"\x02\x00\x01\x0f\xff", "that can be read"),
    ],
)
def test_a_file_that_only_begins_as_an_offline_run_is_refused(tmp_path, content, said):
    path = tmp_path / "run-1.wandb"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"run-1.wandb: .*{said}"):
        rows_of(path)


def test_a_runs_table_of_a_sweep_has_an_agent_dotted_settings_and_empty_cells(tmp_path):
    """As the web page exports it: every cell in quotes, `-` for no notes, settings before what was logged."""
    text = (
        '"Name","Agent","State","Notes","User","Tags","Created","Runtime","Sweep","batch_size","parameters.lr",'
        '"artifact/name","eval/acc","energy_kwh"\n'
        '"ant_1763027298","","failed","-","","","2025-11-13T09:48:11.000Z","9910","1wfhjnkh","8","","ant_best",'
        '"0.41","0.31"\n'
        '"bee_1763026462","","finished","-","","","2025-11-13T09:34:15.000Z","5902","1wfhjnkh","8","0.0001","",'
        '"0.92","0.18"\n'
        '"cicada_1763025703","","finished","-","","","2025-11-13T09:21:36.000Z","10308","1wfhjnkh","8","","",'
        '"0.95",""\n'
    )
    output = io.StringIO()
    score_table(write(tmp_path, text), output, "eval/acc", ["energy_kwh", "train_time_s"], as_json=True)
    ant, bee, cicada = json.loads(output.getvalue())
    assert (ant["model"], ant["status"], ant["pepr_energy_kwh"]) == ("ant_1763027298", "failed", None)
    assert (bee["train_time_s"], bee["pepr_energy_kwh"], bee["parameters.lr"]) == (5902, 0.92, 0.0001)
    assert cicada["pepr_energy_kwh"] is None and cicada["pepr_train_time_s"] == pytest.approx(0.475)


def test_a_panel_over_another_axis_has_steps_beside_its_metrics_and_may_be_of_groups(tmp_path):
    text = (
        '"Relative Time (Process)","Group: ant - _step","Group: ant - _step__MIN","Group: ant - _step__MAX",'
        '"Group: ant - train/loss","Group: ant - train/loss__MIN","Group: ant - train/loss__MAX"\n'
        '"10.5","1","1","1","0.75","0.7","0.8"\n"21.5","2","2","2","0.5","0.4","0.6"\n'
    )
    rows, reader = rows_of(write(tmp_path, text))
    assert rows == [{"model": "ant", "train/loss": "0.5"}]
    assert any("its last value by 'Relative Time (Process)'" in notice for notice in reader.notices)


def test_a_panel_of_weights_and_biases_is_one_row_a_run(tmp_path):
    text = (
        '"Step","ant - test_acc","ant - test_acc__MIN","ant - test_acc__MAX","bee - test_acc",'
        '"bee - test_acc__MIN","bee - test_acc__MAX"\n'
        '"0","0.5","0.5","0.5","0.4","0.4","0.4"\n"1","0.9","0.9","0.9","","",""\n'
    )
    rows, _ = rows_of(write(tmp_path, text))
    assert rows == [{"model": "ant", "test_acc": "0.9"}, {"model": "bee", "test_acc": "0.4"}]


def test_a_table_of_ones_own_is_taken_for_no_tools():
    assert format_of(["model", "accuracy", "energy_kwh", "epoch"]) is None
    assert format_of(["model", "duration", "emissions"]) is None


def test_no_two_formats_claim_the_same_header():
    for known in FORMATS:
        assert format_of(sorted(known.needs)) is known


def test_performances_of_one_file_meet_resources_of_another(tmp_path):
    path = write(tmp_path, "net,acc\nant,0.9\nbee,0.8\ncicada,0.7\n")
    output, said = io.StringIO(), []
    joined = Joined(Reader(FILES / "codecarbon33.csv", recognise=True), (("net", "model"),))
    score_table(path, output, "acc", ["energy_kwh"], as_json=True, joined=joined, say=said.append)
    rows = json.loads(output.getvalue())
    assert [row["net"] for row in rows] == ["ant", "bee", "cicada"]
    assert rows[0]["pepr_energy_kwh"] == 0.9 and rows[2]["pepr_energy_kwh"] is None
    assert "2 of 3 rows have a partner in codecarbon33.csv by net=model" in said


def test_a_join_that_would_multiply_rows_is_refused(tmp_path):
    path = write(tmp_path, "model,kwh\nant,1\nant,2\n")
    with pytest.raises(InputError, match=r"row 2 .*model=ant would multiply rows.*--on"):
        Joined(Reader(path), (("model", "model"),))


def test_a_join_without_any_partner_is_refused(tmp_path):
    first = write(tmp_path, "model,acc\nant,0.9\n", "first.csv")
    joined = Joined(Reader(write(tmp_path, "model,kwh\nwasp,1\n")), (("model", "model"),))
    with pytest.raises(InputError, match="no row has a partner"):
        Reader(first, joined=joined)
