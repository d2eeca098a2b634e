"""What an audit reads of a table before it checks anything: units, clocks, percentages."""

from pepr.audit import audit_file


def test_a_clock_is_in_seconds_whatever_unit_its_column_names(tmp_path):
    path, said = tmp_path / "table.csv", []
    path.write_text("Model,acc,energy_kwh,Train time (h)\nant,0.9,0.4,1:33:00\nbee,0.8,0.6,2:05:30\n")
    assert audit_file(path, say=said.append) == []
    assert said == ["Train time (h): hours, minutes and seconds, read as seconds"]
    path.write_text("Model,acc,energy_kwh,Train time (h)\nant,0.9,0.4,1.55\nbee,0.8,0.6,2.1\n")
    assert audit_file(path) == []
