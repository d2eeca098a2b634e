"""The notebooks: parameterised, committed without outputs, at home in an empty folder with only the wheel."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from pepr.execution import execute_notebook
from pepr.runs import RunSpec

CHECKOUT = Path(__file__).parents[1]
PARAMETERS = {
    "01_data": {"dataset", "image_size", "seed"},
    "02_finetune": {
        "model",
        "dataset",
        "setting",
        "fidelity",
        "pretrained",
        "train_fraction",
        "seed",
        "epochs",
        "batch_size",
        "learning_rate",
        "image_size",
        "precision",
        "device",
        "profile",
    },
    "03_energy": {"profile", "country"},
    "04_pepr": {"profile"},
    "05_published": {"source"},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_notebook_has_its_parameters_and_no_outputs(name):
    path = CHECKOUT / "notebooks" / f"{name}.ipynb"
    assert set(papermill.inspect_notebook(path)) == PARAMETERS[name]
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].metadata.tags == ["parameters"]
    assert all(cell.execution_count is None and cell.outputs == [] for cell in code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 14


def test_what_papermill_injects_are_the_fields_of_a_run():
    assert set(RunSpec("m", "d", "s").as_dict()) == PARAMETERS["02_finetune"] - {"profile"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as a wheel installs it, nothing of the checkout beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", folder, CHECKOUT], check=True, capture_output=True
    )
    (built,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", folder / "site", built], check=True, capture_output=True
    )
    return folder / "site"


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_notebook_runs_by_hand_in_an_empty_folder_with_only_the_wheel(name, wheel, tmp_path):
    """A fresh kernel, an empty working directory and home, the notebook's defaults, no PEPR variable set."""
    (tmp_path / "work").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PEPR_")}
    environment |= {"PYTHONPATH": str(wheel), "HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    if name == "05_published" and "PEPR_DATA" in os.environ:
        environment["PEPR_DATA"] = os.environ["PEPR_DATA"]
    script = (
        "import nbclient, nbformat, sys\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "notebook.cells.append(nbformat.v4.new_code_cell('import pepr; print(pepr.__file__)'))\n"
        "nbclient.NotebookClient(notebook, kernel_name='python3').execute()\n"
        "print(notebook.cells[-1].outputs[0].text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, CHECKOUT / "notebooks" / f"{name}.ipynb"],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if name == "05_published" and "PEPR_DATA" not in environment and done.returncode:
        assert "DataUnavailable: the published table" in done.stderr and "set PEPR_DATA" in done.stderr
        return
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().startswith(str(wheel))


@pytest.mark.slow
def test_the_pages_show_the_runs_that_failed(synthetic_results, tmp_path, monkeypatch):
    """One simulated run ran out of memory; the analysis goes on, and a reader sees which and why."""

    monkeypatch.setenv("PEPR_RESULTS", str(synthetic_results.folder.parent))
    for name in ("03_energy", "04_pepr"):
        page = tmp_path / f"{name}.ipynb"
        execute_notebook(CHECKOUT / "notebooks" / page.name, page, {}, cwd=tmp_path)
        shown = [
            output.data.get("text/html", "")
            for cell in nbformat.read(page, as_version=4).cells
            for output in cell.get("outputs", [])
            if "data" in output
        ]
        assert any("hardcorenas_a" in table and "out of memory" in table for table in shown), name
