"""What is measured is not below 0, and how many cards a name says."""

import pytest
from test_any_table import audited

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
