"""What is measured is not below 0, and how many cards a name says."""

import pytest
from test_any_table import audited, named

from pepr.audit import audit_file
from pepr.audit.power import ceiling_w

GOOD = {"energy_kwh": "0.01", "co2eq_g": "3.0", "train_time_s": "1800", "peak_memory_bytes": "1000000"}


@pytest.mark.parametrize(
    ("column", "value", "check", "told"),
    [
        ("train_time_s", "-1800", "zero_measured", "The time is below 0"),
        ("co2eq_g", "-3.0", "zero_measured", "The carbon is below 0"),
        ("peak_memory_bytes", "-1", "zero_measured", "The memory is below 0"),
        ("energy_kwh", "-0.01", "missing_energy", "An energy below 0 is recorded"),
    ],
)
def test_what_is_below_zero_is_an_error_in_its_own_words(tmp_path, column, value, check, told):
    lines = [
        ",".join(["model", *GOOD]),
        ",".join(["ant", *{**GOOD, column: value}.values()]),
        "bee,0.0121,3.63,2100,1200000",
        "cow,0.0093,2.79,1500,1100000",
    ]
    found = [finding for finding in audited(tmp_path, "\n".join(lines) + "\n") if finding.model == "ant"]
    assert [(finding.check, finding.severity) for finding in found] == [(check, "error")]
    assert told in found[0].explanation and found[0].columns == [column]
    lines[1] = ",".join(["ant", *GOOD.values()])
    assert audited(tmp_path, "\n".join(lines) + "\n") == []


@pytest.mark.parametrize(
    "name",
    [
        *("8 x NVIDIA A100", "NVIDIA A100 (x8)", "8 A100", "8 NVIDIA A100-SXM4-80GB"),
        *("a100:8", "A100*8", "8*A100", "gres/gpu:a100=8", "gpu:a100:8(S:0-7)"),
    ],
)
def test_eight_cards_are_eight_however_they_are_written(name):
    assert ceiling_w("", name) == ceiling_w("", "8 x A100")


@pytest.mark.parametrize(
    "name", ["A100", "40 GB A100", "NVIDIA A100-SXM4-80GB", "A100 80GB", "1 A100", "A100:1"]
)
def test_one_card_is_one_whatever_its_memory(name):
    assert ceiling_w("", name) == ceiling_w("", "1 x A100")


def test_a_column_of_gpus_may_hold_their_names(tmp_path):
    text = "model,gpus,acc,energy_kwh,train_time_s\nant,cuda:0,0.8,0.05,1800\nbee,cuda:1,0.9,0.06,2100\n"
    said = []
    (tmp_path / "t.csv").write_text(text)
    assert audit_file(tmp_path / "t.csv", say=said.append) == []
    assert said == ["gpus holds no numbers, so it was left out"]


@pytest.mark.parametrize("name", ["8 A100", "a100:8", "gres/gpu:a100=8", "A100*8"])
def test_eight_cards_that_draw_as_much_are_not_accused(tmp_path, name):
    text = f"model,gpu,energy_kwh,train_time_s\nant,{name},3.1,3600\nbee,{name},2.6,3300\n"
    assert audited(tmp_path, text) == []
    assert named(audited(tmp_path, text.replace(name, "A100"))) == {
        ("beyond_named_hardware", "ant"),
        ("beyond_named_hardware", "bee"),
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [("2 x NVIDIA GeForce GTX 1650", None), ("2 x NVIDIA GeForce GTX 1650", 2), ("GeForce GTX 1650", 2)],
)
def test_cards_that_a_name_and_a_column_both_count_are_counted_once(tmp_path, name, count):
    head = "model,gpu_model,gpu_count,energy_kwh,train_time_s"
    energies = (("ant", 0.95), ("bee", 0.94))
    rows = "".join(f"{model},{name},{count or ''},{kwh},3600\n" for model, kwh in energies)
    found = audited(tmp_path, f"{head}\n{rows}")
    assert named(found) == {("beyond_named_hardware", "ant"), ("beyond_named_hardware", "bee")}
    assert found[0].expected == pytest.approx(ceiling_w("", "2 x GTX 1650")[0])
    four = rows.replace(f"{name},{count or ''},", f"{name},4,")
    assert audited(tmp_path, f"{head}\n{four}") == []
