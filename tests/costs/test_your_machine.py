"""Another machine beside the authors': the same accuracies, other costs, and what models are made of."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from recordings import needs_tables

from pepr import published
from pepr.costs import figures, numbers, swept, your_machine
from pepr.costs.swept import Conditions, Sweep
from pepr.published.tables import SETTINGS


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("resnet18d", "dense"),
        ("mobilenetv2_050", "depthwise"),
        ("resnext50d_32x4d", "grouped"),
        ("convmixer_768_32", "large_depthwise"),
        ("twins_pcpvt_base", "attention"),
        ("sequencer2d_l", "recurrent"),
    ],
)
def test_a_model_is_of_the_kind_that_its_operations_are(model, kind):
    assert your_machine.operators(model) == kind
    assert kind in your_machine.CLASSES


@pytest.fixture(scope="module")
def runs():
    from pepr.published.versions import of

    return of(published.load())


@pytest.fixture(scope="module")
def as_theirs(runs):
    """A machine on which every step takes a tenth longer than on the authors'."""
    lidc = runs.published.query("dataset == 'lidc'")
    rows = {
        run.model: {
            "model": run.model,
            "status": "ok",
            "device": "cuda",
            "hardware": "a machine",
            "energy_source": "gpu:counter",
            "step_time_s": 1.1 * run.train_time / 300,
            "step_energy_wh": 1.1 * run.energy / 3,
            "eval_time_s": 0.0,
            "eval_energy_wh": 0.0,
            "peak_memory_bytes": 1.1e9 * run.memR,
        }
        for run in lidc.itertuples()
    }
    rows["vgg11"] |= {"status": "failed"}
    return Sweep(Conditions("cuda", 256), rows)


@needs_tables
def test_where_all_costs_are_in_proportion_nothing_changes(as_theirs, runs):
    table = your_machine.both(as_theirs, runs)
    assert len(table) == 130 and "vgg11" not in set(table["model"])
    assert list(table["ratio"]) == pytest.approx([1.0] * 130)
    row = table.set_index("model").loc["resnet18d"]
    published_time = runs.published.query("dataset == 'lidc' and model == 'resnet18d'")["train_time"].iloc[0]
    assert row["here_s"] == pytest.approx(1.1 * published_time / 300)
    assert 0.8 < row["there_s"] / (published_time / 300) < 1.1  # the test passes are taken out
    found = your_machine.rankings(table, runs)
    assert len(found) == 3 * len(SETTINGS) and (found["spearman"] > 0.999).all()
    assert (found["best_there"] == found["best_here"]).all() and (found["top_ten_overlap"] == 1).all()


@needs_tables
def test_what_a_machine_is_bad_at_loses(as_theirs, runs):
    factor = {name: 5 if your_machine.operators(name) == "depthwise" else 1 for name in as_theirs.rows}
    slow = {
        name: row | {"step_time_s": row["step_time_s"] * factor[name]} for name, row in as_theirs.rows.items()
    }
    table = your_machine.both(Sweep(as_theirs.conditions, slow), runs)
    kinds = your_machine.by_class(table).set_index("operators")
    assert kinds.loc["depthwise", "median"] == pytest.approx(5) and kinds.loc["dense", "median"] == 1
    assert kinds["models"].sum() == 130
    found = your_machine.rankings(table, runs).set_index(["setting", "score"])
    of_lidc = found.loc["lidc"]["resource_spearman"]
    assert of_lidc["T"] < 0.95 < of_lidc["M"]
    made = numbers.machine_numbers(as_theirs, table, found.reset_index())
    assert made["machine_hardware"]["text"] == "a machine" and made["machine_models"]["text"] == "130"
    assert made["machine_of_depthwise"]["text"] == "5.00" and made["machine_of_dense"]["text"] == "1.00"
    assert not made["machine_e_costs"]["estimate"] and not made["machine_t_costs"]["estimate"]
    modelled = {name: row | {"energy_source": "cpu:load_model"} for name, row in as_theirs.rows.items()}
    by_model = numbers.machine_numbers(Sweep(as_theirs.conditions, modelled), table, found.reset_index())
    assert by_model["machine_e_costs"]["estimate"] and not by_model["machine_t_costs"]["estimate"]
    assert "(5)" in made["machine_lose"]["text"] and "(5)" not in made["machine_gain"]["text"]
    for axes in figures.machine(table).axes[:2]:
        assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() != "None") == 130
    plt.close("all")


def test_the_chapter_shows_this_machine_before_a_shipped_one(monkeypatch):
    many = {str(count): {} for count in range(your_machine.FEWEST)}
    ours = Sweep(Conditions("cpu", 64), many)
    shipped = Sweep(Conditions("cpu", 64), many, shipped=True)
    monkeypatch.setattr(swept, "shipped_sweeps", lambda: (shipped,))
    monkeypatch.setattr(swept, "find", lambda size, batch, precision: ours if size == 64 else None)
    assert your_machine.at_hand() is ours
    few = Sweep(Conditions("cpu", 64), {"a": {}})
    monkeypatch.setattr(swept, "find", lambda *args: few)
    assert your_machine.at_hand() is shipped
    monkeypatch.setattr(swept, "shipped_sweeps", tuple)
    assert your_machine.at_hand() is None


def checked():
    return pd.DataFrame(
        {
            "model": ["slow", "fast"] * 3,
            "target": ["train_time_s"] * 2 + ["energy_wh"] * 2 + ["peak_memory_bytes"] * 2,
            "observed": [100.0, 10.0, 5.0, 0.5, 2e8, 1e8],
            "by_step": [104.0, 10.0, 5.0, 0.5, 2e8, 1.08e8],
            "by_shape": [140.0, 13.0, 6.0, 0.7, 3e8, 2e8],
            "pace": [1.1, 1.0, 1.0, 1.0, 1.0, 1.0],
        }
    )


def test_how_far_a_sweep_is_off_is_told_beside_the_cost_model_and_held_against_its_aims():
    from pepr.costs import swept_check

    table = swept_check.summary(checked())
    made = numbers.checked_numbers(table)
    assert made["sweep_time_by_step"]["text"] == "2.0%" and made["sweep_time_by_shape"]["text"] == "35.0%"
    assert made["sweep_time_at_pace"]["text"] == "7.2%"
    assert made["sweep_runs"]["text"] == made["sweep_run_models"]["text"] == "2"
    assert list(numbers.swept_met(table)["met"]) == ["yes", "yes", "no", "yes"]
    table.loc[table["target"] == "peak_memory_bytes", "by_step_median"] = 0.06
    assert list(numbers.swept_met(table)["met"]) == ["yes", "yes", "no", "no"]


def test_each_sweep_has_a_row_of_its_own_where_there_are_several():
    one, other = checked(), checked().assign(by_step=lambda table: 1.5 * table["observed"])
    assert numbers.checked_parts(one.assign(sweep="cpu-64px-b32-fp32")) == {}
    both = pd.concat([one.assign(sweep="cpu-64px-b32-fp32"), other.assign(sweep="cpu-32px-b32-fp32")])
    _, _, first, second = numbers.checked_parts(both)["sweep_parts_table"]["text"].strip().splitlines()
    assert first.startswith("| cpu-64px-b32-fp32 | 2 | 2 | 2.0% |")
    assert second.startswith("| cpu-32px-b32-fp32 | 2 | 2 | 50.0% |")


def test_whole_runs_are_drawn_by_model_the_slowest_last():
    left, right = figures.whole_runs(checked()).axes[:2]
    assert [text.get_text() for text in left.get_yticklabels()] == ["fast", "slow"]
    steps = next(line for line in left.lines if line.get_marker() == "o")
    assert list(steps.get_xdata()) == pytest.approx([1.04, 1.0]) and right.get_title("left") == "Peak memory"
    plt.close("all")


def test_machines_are_held_against_each_other_by_the_models_that_both_have(monkeypatch):
    def made(hardware, conditions, factor, count):
        rows = {
            str(place): {
                "status": "ok",
                "device": conditions.device,
                "hardware": hardware,
                "step_time_s": factor * (1 + place),
                "step_cpu_time_s": factor * (1 + place),
            }
            for place in range(count)
        }
        return Sweep(conditions, rows)

    here = made("ours", Conditions("cpu", 64), 2.0, 30)
    alike = made("ours", Conditions("cpu", 64), 2.0, 30)
    slow, few = made("slow", Conditions("cpu", 64), 6.0, 25), made("few", Conditions("cpu", 64), 1.0, 5)
    monkeypatch.setattr(swept, "shipped_sweeps", lambda: (alike, slow, few))
    table = your_machine.others(here)
    assert table["hardware"].tolist() == ["slow"] and table["conditions"].tolist() == ["cpu-64px-b32-fp32"]
    row = table.iloc[0]
    assert (row["models"], row["ratio"], row["spearman"]) == (25, 3.0, pytest.approx(1.0))
