"""The numbers of the chapter on speed: from the benchmark's report, goal by goal."""

import json
import time

import pytest
import yaml

from benchmarks import numbers, studies
from benchmarks.__main__ import GOALS, OF_STUDIES, PARTS, Report, kept
from pepr.errors import InputError


@pytest.fixture
def report():
    made = Report()
    for name, (relation, goal) in GOALS.items():
        made.add(name, [goal * (0.9 if relation == ">=" else 1.1)] * 3)
    made.add("loop_vs_bare", [0.97, 1.0, 1.1])
    made.leave_out("loop_vs_authors_bf16", "this processor has no AMX")
    made.details = {
        "took_seconds": {"loops": 600.0},
        "stolen_seconds": {"loops": 12.0},
        "made": {
            "loops": {
                "made_at": "2026-01-02T03:04:05+00:00",
                "hardware": "a machine",
                "software": "torch",
            }
        },
        "loop_vs_bare": {"resnet50, 64 px": [0.98, 0.99, 1.0], "resnet50, 128 px": [0.9, 1.0, 1.1]},
        "loop_vs_authors_fp32": {"resnet50": {"ours": [1.0, 1.0, 2.0], "authors": [1.5, 2.0, 5.0]}},
        "loss_difference": {
            "float32": {"resnet50": 0.5, "resnet18d": 0.1},
            "one_thread": {"resnet18d": 0.2},
            "float64": {"resnet50": 2e-13},
        },
        "memory_settings": {"ours": [1.0, 1.5, 2.0], "ours_without": [2.0, 1.0, 3.0]},
        "busiest": {
            "ours": {"resnet50, single": {"convolution": 0.75}},
            "authors": {"resnet50, bfloat16": {"convolution": 0.7, "normalisation": 0.2}},
        },
        "import_seconds": {"sys": 0.01, "torch": 1.5},
        "scoring": {
            name: {"131": {"seconds": [1e-4], "bytes": 5e3}, "1000000": {"seconds": seconds, "bytes": 4e7}}
            for name, seconds in (("pepr", [0.005, 0.001, 0.009]), ("pepr_curve", [0.14]))
        },
        "mended_seconds": {"notebooks": {"before": 2.0, "now": 0.5}},
        "startup_seconds": {"run": [9.0, 8.0, 11.5], "bare": [5.0, 6.0, 7.0]},
        "startup_phases": {
            "launch": [1.0, 2.0],
            "kernel": [0.5],
            "torch": [3.0],
            "training": [4.5, 3.5],
            "ending": [0.5],
        },
        "pocket": {
            "runs": 25,
            "hardware": "another machine",
            "startup_s": 9.0,
            "energy_wh": {"train": 6.0, "validation": 1.0, "inference": 1.0, "overhead_estimated": 2.0},
        },
    }
    return json.loads(json.dumps(made.as_dict()))


def test_each_measure_has_its_median_its_rounds_and_its_verdict(report):
    entries = numbers.numbers(report)
    assert entries["loop_vs_bare"]["value"] == 1.0
    lines = entries["table"]["text"].splitlines()
    assert len(lines) == 2 + len(GOALS)
    met, missing = (
        next(line for line in lines if numbers.WORDS[name] in line)
        for name in ("loop_vs_bare", "loop_vs_authors_bf16")
    )
    assert "| 1.00 times | at least 0.97 times: met | 0.97 times to 1.10 times |" in met
    assert "not measured" in missing and "no AMX" in missing
    assert entries["goals_met"]["value"] == 1 and entries["goals_missed"]["value"] == len(GOALS) - 2
    assert sum("**missed**" in line for line in lines) == len(GOALS) - 2


def test_a_missed_goal_says_by_how_much_and_why(report):
    report["loss_difference_fp32"], report["startup_share"] = 1.2, 0.21
    lines = numbers.numbers(report)["table"]["text"].splitlines()
    names = ("loss_difference_fp32", "startup_share", "book_build_seconds")
    loss, share, book = (next(line for line in lines if numbers.WORDS[name] in line) for name in names)
    assert "**missed**: 1,200 times the goal; rounding, amplified: [evidence](#equal-losses)" in loss
    assert "**missed** by 5%; the loading of libraries" in share
    assert "at most 60 s: **missed** by 10% |" in book


def test_the_limit_of_any_loop_follows_from_the_bare_one(report):
    report |= {"loop_vs_authors_fp32": 1.14, "loop_vs_bare": 0.95}
    entries = numbers.numbers(report)
    assert entries["limit_fp32"]["text"] == "1.20 times"
    assert entries["limit_bf16"]["value"] is None
    assert numbers.numbers({**report, "loop_vs_bare": 1.05})["limit_fp32"]["value"] == 1.14


def test_the_details_are_tables_and_what_is_estimated_says_so(report):
    entries = numbers.numbers(report)
    assert "| `resnet50` | 0.99 | 1.00 | 2.00 | – |" in entries["loops_table"]["text"]
    assert "| `resnet50` | 0.5 | – | 2e-13 |" in entries["losses_table"]["text"]
    assert "| `resnet18d` | 0.1 | 0.2 | – |" in entries["losses_table"]["text"]
    assert entries["startup_run"]["text"] == "9.5 s" and entries["stolen"]["text"] == "2.0%"
    assert "papermill opens the notebook | 1.5 s | 16% |" in entries["phases_table"]["text"]
    assert entries["scoring_table"]["text"].endswith("| 1,000,000 | 5 ms | 40 MB | 140 ms | 40 MB |")
    assert entries["pocket_hardware"]["text"] == "another machine"
    assert (entries["step_ours"]["text"], entries["step_ours_without"]["text"]) == ("1.50 s", "2.00 s")
    busiest = entries["busiest_table"]["text"].splitlines()
    assert busiest[2] == "| resnet50, single | `convolution` 75% |"
    assert busiest[3] == "| resnet50, bfloat16, the paper's way | `convolution` 70%, `normalisation` 20% |"
    assert entries["mended_table"]["text"].endswith("is compiled | 2.0 s | 0.5 s |")
    assert entries["pocket_energy_overhead"]["text"] == "2 Wh (20%)"
    assert entries["pocket_energy"]["estimate"] and not entries["loop_vs_bare"]["estimate"]


def test_a_report_of_before_a_measure_is_shown_without_it(report):
    entries = numbers.numbers(report)
    del report["goals"]["measure_overhead"], report["measure_overhead"]
    earlier = numbers.numbers(report)
    assert earlier["goals"]["value"] == entries["goals"]["value"] - 1
    assert numbers.WORDS["measure_overhead"] not in earlier["table"]["text"]


def test_what_a_wrapped_training_takes_is_told_by_the_clock_the_processor_and_the_energy(report):
    report["details"]["measure"] = {
        "bare_s": [60.0, 61.0, 62.0],
        "wrapped_s": [60.5, 61.5, 62.5],
        "training_s": [60.2, 61.0, 62.0],
        "bare_cpu_s": [60.0, 60.0, 60.0],
        "wrapped_cpu_s": [63.0, 63.0, 63.0],
        "training_cpu_s": [60.0, 60.0, 60.0],
        "bare_kwh": [1e-4, 1e-4, 1e-4],
        "recorded_kwh": [1e-4, 1.01e-4, 1.02e-4],
    }
    entries = numbers.numbers(report)
    texts = {name: entries[f"measure_{name}"]["text"] for name in ("clock", "processor", "energy", "bare_s")}
    assert texts == {"clock": "0.81%", "processor": "5%", "energy": "101.0%", "bare_s": "61.0 s"}
    assert entries["measure_energy"]["estimate"]


def test_parts_that_were_measured_elsewhere_or_on_another_day_say_so(report):
    assert numbers.numbers(report)["made"]["text"] == "on 2026-01-02, on a machine, with torch"
    here = report["details"]["made"]["loops"]
    report["details"]["made"]["measure_overhead"] = here | {"hardware": "another; 2 cores"}
    assert numbers.numbers(report)["made"]["text"] == (
        "the loop on 2026-01-02, on a machine, with torch; "
        "`pepr measure` on 2026-01-02, on another, 2 cores, with torch"
    )
    assert numbers.PART_WORDS.keys() == PARTS.keys()


def test_every_measure_has_words_and_a_goal():
    assert set(numbers.WORDS) == set(GOALS)


def test_a_benchmark_that_broke_off_or_had_other_goals_makes_no_numbers(report):
    assert numbers.numbers({**report, "goals": {"loop_vs_bare": ">= 0.97"}}) == {}
    del report["details"]["startup_seconds"]
    assert numbers.numbers(report) == {}


def test_no_report_makes_no_numbers_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "results.json"
    assert numbers.numbers(numbers.read(path)) == {}
    path.write_text("{")
    with pytest.raises(InputError, match=r"results\.json: not what `make bench` writes"):
        numbers.read(path)


def test_kinds_of_time_under_load_are_over_those_of_the_machine_alone_with_the_models_order():
    """Processor time stays, the wall doubles; the busy loop turns two of three models round."""

    def seconds(cpu, factor):
        return {"cpu_s": cpu, "corrected_s": cpu, "wall_s": cpu * factor, "wall_all_s": 10 * cpu * factor}

    quiet = {"a": seconds(1.0, 1), "b": seconds(2.0, 1), "c": seconds(3.0, 1)}
    busy = {"a": seconds(1.0, 2), "b": seconds(3.5, 2), "c": seconds(3.0, 2)}
    entries = numbers.contention_entries({"nothing": quiet, "one busy loop": busy})
    row = entries["contention_table"]["text"].splitlines()[-1]
    assert row == (
        "| one busy loop | 1.00 (at most 1.75) | 1.00 (at most 1.75) | 2.00 (at most 3.50) "
        "| 2.00 (at most 3.50) | 0.33 |"
    )
    assert entries["contention_models"]["text"] == "3" and entries["contention_order"]["value"] < 0.34


STUDIES = {
    "before": "abc1234",
    "now": "def5678",
    "part": {"MODELS": "a"},
    "cores": 2,
    "whole": {
        "before": {"wall_s": 600.0, "cpu_s": 900.0, "runs_s": 550.0, "learning_s": 300.0},
        "now": {"wall_s": 240.0, "cpu_s": 400.0, "runs_s": 450.0, "learning_s": 360.0},
    },
    "busy": {
        "now": {"wall_s": 60.0, "cpu_s": 100.0},
        "before": {"wall_s": 720.0, "cpu_s": 1400.0, "stopped": 1.0},
    },
    "start_cpu_s": {"before": 12.0, "now": 3.0},
}


def test_whole_studies_are_compared_with_an_earlier_commits_and_one_that_was_stopped_says_more_than():
    assert studies.ratios(STUDIES) == pytest.approx((0.4, 1 / 12, 0.25))
    table = numbers.study_entries(STUDIES)["studies_table"]["text"].splitlines()
    assert "| 10.0 min | 4.0 min |" in table[2]
    assert "| more than 12.0 min | 1.0 min |" in table[3]
    assert "| 5.0 min | 6.0 min |" in table[4]
    assert "| 12.0 s | 3.0 s |" in table[5]
    least = numbers.study_entries(STUDIES)["studies_least"]
    assert least["value"] == pytest.approx(360 / 2 / 600) and least["text"] == "0.30"


def test_a_whole_bench_keeps_what_only_a_call_by_name_measures(report):
    found = {"studies": STUDIES, "startup_seconds": {"run": [1.0]}}
    seconds = {name: {"studies": 9.0, "loops": 8.0} for name in ("took_seconds", "stolen_seconds", "made")}
    ratios = dict.fromkeys(OF_STUDIES, 0.4)
    spread = {name: [0.4, 0.4] for name in OF_STUDIES}
    earlier = {**ratios, "loop_vs_bare": 1.0, "spread": spread, "details": {**found, **seconds}}
    whole = kept(earlier, asked=[])
    assert whole["study_vs_before"] == 0.4 and "loop_vs_bare" not in whole
    assert whole["details"]["studies"] == STUDIES and "startup_seconds" not in whole["details"]
    assert whole["details"]["took_seconds"] == {"studies": 9.0}
    assert kept(earlier, asked=["loops"]) == earlier
    assert kept({}, asked=[]) == {}


def test_a_study_is_timed_stopped_when_it_takes_too_long_and_named_when_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "GRACE_S", 1.0)
    (tmp_path / "results").mkdir()
    (tmp_path / "Makefile").write_text("reproduce:\n\ttest ! -e results\n\techo $(PROFILE); $(DO)\n")
    build, profile = studies.Build(tmp_path), tmp_path / "few.yaml"
    took = build.study(profile, {"DO": "sleep 0.2"})
    assert 0.2 <= took["wall_s"] < 10 and took.keys() == {"wall_s", "cpu_s"}
    assert str(profile) in (tmp_path / "reproduce.log").read_text()
    began = time.monotonic()
    assert build.study(profile, {"DO": "sleep 60"}, limit_s=0.5)["stopped"] and time.monotonic() - began < 50
    with pytest.raises(RuntimeError, match="no-such-study"):
        build.study(profile, {"DO": "echo no-such-study; exit 3"})


def test_the_runs_of_a_study_are_added_up_and_a_start_is_that_of_one_network(tmp_path):
    folder = tmp_path / "results" / "pocket"
    folder.mkdir(parents=True)
    columns = "wall_time_s,train_time_s,validation_time_s,inference_time_s"
    (folder / "results.csv").write_text(f"{columns}\n20,10,2,1\n30,15,3,2\n9,,,\n")
    assert studies.Build(tmp_path).runs() == {"runs_s": 59.0, "learning_s": 33.0}
    few, many = (yaml.safe_load(path.read_text())["runs"] for path in studies.short_profiles(tmp_path))
    assert [len(runs[0]["seeds"]) for runs in (few, many)] == [1, studies.MOST_SEEDS]
    assert few[0]["models"] == many[0]["models"] == [studies.STARTED]
