"""Anyone's CSV: one clear line where it cannot be used; scores that are right; bounded memory."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pepr.errors import InputError
from pepr.score import pepr
from pepr.tables.reader import Reader, read_table
from pepr.tables.scoring import score_table

GOOD = "model,setting,acc,energy,note\na,x,0.5,1,slow\nb,x,0.8,3,\na,y,0.9,10,\nb,y,,20,failed\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def scored(path: Path, as_json: bool = True, **options: object) -> list[dict]:
    output = io.StringIO()
    options = {"performance": "acc", "resources": ["energy"], "groups": ["setting"], **options}
    score_table(path, output, as_json=as_json, **options)
    return json.loads(output.getvalue()) if as_json else list(output.getvalue().splitlines())


def test_every_row_keeps_its_keys_and_gets_its_score(tmp_path):
    rows = scored(write(tmp_path, GOOD))
    assert [row["model"] for row in rows] == ["a", "b", "a", "b"]
    assert rows[0] == {
        "model": "a",
        "setting": "x",
        "acc": 0.5,
        "energy": 1,
        "note": "slow",
        "pepr_energy": 0.5,
        "energy_norm": 0.0,
    }
    assert rows[1]["pepr_energy"] == pytest.approx(0.4)
    assert rows[1]["note"] is None


def test_a_row_without_performance_has_no_score_and_sets_no_range(tmp_path):
    rows = scored(write(tmp_path, GOOD))
    assert rows[3]["pepr_energy"] is None
    assert rows[2]["energy_norm"] == 0.0


def test_several_resources_and_a_frozen_range(tmp_path):
    path = write(tmp_path, "model,acc,energy,time\na,0.5,1,2\nb,0.8,3,1\n")
    both = scored(path, groups=[], resources=["energy", "time"])
    assert set(both[0]) >= {"pepr_energy", "energy_norm", "pepr_time", "time_norm"}
    assert both[0]["pepr_time"] == pytest.approx(0.25)
    frozen = scored(path, groups=[], resource_range=(0.0, 4.0))
    assert frozen[0]["energy_norm"] == pytest.approx(0.25)
    with pytest.raises(InputError, match="one resource"):
        scored(path, groups=[], resources=["energy", "time"], resource_range=(0.0, 4.0))


def test_csv_output_keeps_the_cells_as_they_were(tmp_path):
    lines = scored(write(tmp_path, GOOD), as_json=False)
    assert lines[0] == "model,setting,acc,energy,note,pepr_energy,energy_norm"
    assert lines[1] == "a,x,0.5,1,slow,0.5,0.0"
    assert lines[4] == "b,y,,20,failed,,"


def test_blocks_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "model": [f"m{i}" for i in range(101)],
            "setting": rng.choice(["x", "y"], 101),
            "acc": rng.random(101),
            "energy": rng.random(101),
        }
    )
    path = tmp_path / "many.csv"
    table.to_csv(path, index=False)
    monkeypatch.setattr(Reader.blocks, "__defaults__", (7,))
    rows = pd.DataFrame(scored(path))
    for _, group in rows.groupby("setting"):
        assert np.allclose(group["pepr_energy"], pepr(group["acc"], group["energy"]), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["row 0", "empty"]),
        ("model,acc,energy\n", ["row 1", "no rows"]),
        ("model,acc\na,0.5\n", ["row 0", "'energy'", "missing"]),
        ("model,acc,acc,energy\na,1,1,1\n", ["'acc'", "twice"]),
        ("model,acc,energy\na,0.5,1\nb,good,2\n", ["row 2 (line 3)", "'acc'", "'good'", "not a number"]),
        ("model,acc,energy\na,0.5,1\nb,87,2\n", ["row 2", "'acc'", "87", "between 0 and 1", "percentage"]),
        ("model,acc,energy\na,0.5,-1\n", ["row 1", "'energy'", "-1"]),
        ("model,acc,energy\na,0.5,inf\n", ["row 1", "'energy'", "finite"]),
        ("model,acc,energy\na,0.5\n", ["row 1", "'energy'", "2 cells"]),
        ("model,acc,energy\na,0.5,1,9\n", ["row 1", "4 cells"]),
        ("model,acc,energy\na,0.5,1\nb,0.4,1\na,0.6,2\n", ["row 3", "'model'", "model=a", "row 1"]),
        (b"model,acc,energy\na,0.5,1\n\xfc,0.5,1\n", ["row 2 (line 3)", "column 1", "UTF-8"]),
        (b'model,acc,energy\n"a,0.5,1\n', ["not a CSV"]),
    ],
)
def test_malformed_input_is_one_line_that_says_where_and_nothing_is_written(tmp_path, text, told):
    path, output = write(tmp_path, text), io.StringIO()
    with pytest.raises(InputError) as raised:
        score_table(path, output, "acc", ["energy"])
    message = str(raised.value)
    assert "\n" not in message and str(path) in message
    assert [part for part in told if part not in message] == []
    assert output.getvalue() == ""


def test_the_command_ends_with_status_2_and_one_line(tmp_path):
    path = write(tmp_path, "model,acc,energy\na,87,1\n")
    command = [
        sys.executable,
        "-m",
        "pepr.cli",
        "score",
        str(path),
        "--performance",
        "acc",
        "--resource",
        "energy",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "column 'acc'" in done.stderr


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert scored(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()))[0]["model"] == "a"


def test_a_column_of_numbers_and_text_stays_text(tmp_path):
    table = read_table(write(tmp_path, "model,n,mixed\na,1,2\nb,,x\n"))
    assert np.isnan(table["n"][1]) and table["mixed"].tolist() == ["2", "x"]


@pytest.mark.scale
def test_300_megabytes_are_scored_in_bounded_memory(tmp_path):
    path = tmp_path / "large.csv"
    with path.open("w") as stream:
        stream.write("model,acc,energy,filler\n")
        for i in range(600_000):
            stream.write(f"m{i},0.{i % 97:02d},{1 + i % 1013},{'x' * 490}\n")
    assert path.stat().st_size > 300e6
    code = (
        "import pathlib, re, sys; from pepr.tables.scoring import score_table\n"
        "score_table(sys.argv[1], open('/dev/null', 'w'), 'acc', ['energy'])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 400e6
