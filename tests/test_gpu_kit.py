"""The kit for a GPU: with only what a bare machine has, it runs to its end and writes as it goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pepr.costs import swept

CHECKOUT = Path(__file__).parents[1]
LACKING = (
    "codecarbon",
    "pandas",
    "scipy",
    "sklearn",
    "typer",
    "snakemake",
    "papermill",
    "elpv_dataset",
    "jsonschema",
)
WITHOUT = f"""
import importlib.machinery, sys
class Nowhere:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {LACKING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nowhere)
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name.partition(".")[0] in {LACKING!r} else found(name, package)
importlib.util.find_spec = find_spec
"""


@pytest.mark.scale
def test_the_kit_runs_to_its_end_with_what_a_bare_machine_has(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "site"),
        "OUT": str(tmp_path / "out"),
        "DEVICE": "cpu",
        "IMAGE_SIZE": "32",
        "BATCH_SIZE": "4",
        "MODELS": "dla46_c,mobilenetv2_050",
        "MINUTES": "20",
    }
    done = subprocess.run(
        ["bash", str(CHECKOUT / "benchmarks" / "gpu_kit.sh")], env=environment, capture_output=True, text=True
    )
    told = (tmp_path / "out" / "gpu-check.txt").read_text()
    assert "not checkable  the study `smoke`" in told and "pass           torch can use the device" in told
    assert "everything took" in done.stdout and "FAIL" not in told, told
    assert (tmp_path / "out" / "loops.jsonl").read_text().count("loop_vs_authors") >= 1
    rows = swept.read_rows(swept.rows_path(swept.Conditions("cpu", 32, 4), tmp_path / "out" / "sweep"))
    assert {row["status"] for row in rows.values()} == {"ok"} and len(rows) == 2
    assert {row["step_energy_wh"] for row in rows.values()} == {None}, "nothing metered it"
    assert done.returncode == 0, done.stderr[-2000:]
