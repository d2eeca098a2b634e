"""The notebooks: parameterised, committed without outputs, at home in an empty folder with only the wheel."""

import ast
import contextlib
import functools
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from pepr.errors import InputError
from pepr.runs.results import reference_folder
from pepr.runs.spec import RunSpec
from pepr.study import verification
from pepr.study.notebooks import execute_notebook
from pepr.training.loop import PRECISIONS

CHECKOUT = Path(__file__).parents[1]
PARAMETERS = {
    "01_data": {"dataset", "image_size", "seed", "split"},
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
        "split",
        "shuffled",
        "init_from",
        "profile",
    },
    "03_energy": {"profile", "country"},
    "04_pepr": {"profile", "measure"},
    "05_published": {"source"},
    "06_costs": {"source"},
    "07_sets": {"profile"},
}
NEED_TABLES = ("05_published", "06_costs")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_notebook_has_its_parameters_and_no_outputs(name):
    path = CHECKOUT / "notebooks" / f"{name}.ipynb"
    assert set(papermill.inspect_notebook(path)) == PARAMETERS[name]
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.metadata.get("tags") for cell in code[:2]] == [["install", "remove-cell"], ["parameters"]]
    assert all(cell.execution_count is None and cell.outputs == [] for cell in code)
    # The cell that installs on Colab is hidden and the same everywhere; a form has a line a parameter.
    assert max(len(cell.source.splitlines()) for cell in code[2:]) <= 14
    assert len(code[0].source.splitlines()) <= 25


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_are_a_form_and_what_papermill_injects_replaces_them(name):
    notebook = load_notebook_node(str(CHECKOUT / "notebooks" / f"{name}.ipynb"))
    (form,) = [cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"]]
    lines = form.source.splitlines()
    assert {line.split(" = ")[0] for line in lines} == PARAMETERS[name]
    assert all("# @param " in line for line in lines)
    injected = parameterize_notebook(notebook, dict.fromkeys(PARAMETERS[name], "seen"))
    tags = [cell.metadata.get("tags") for cell in injected.cells]
    after = injected.cells[tags.index(["parameters"]) + 1]
    assert after.metadata.tags == ["injected-parameters"]
    assert all(f'{parameter} = "seen"' in after.source for parameter in PARAMETERS[name])


INSTALL = '%pip install --quiet --constraint "{kept.name}" "pepr[pocket] @ git+{repository}"'


def first_cell(name: str) -> str:
    """The source of the cell that installs, with a call in place of pip."""
    notebook = nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code").source
    assert INSTALL in cell
    return cell.replace(INSTALL, "install(repository, kept.name)")


def test_the_first_cell_is_the_same_in_every_notebook():
    assert len({first_cell(name) for name in PARAMETERS}) == 1


def test_the_first_cell_installs_only_where_the_package_is_missing(monkeypatch):
    """The cell is run with the package there, with none, and with none and the address of a repository."""
    code = first_cell("01_data")
    installed: list[str] = []
    known = {"install": lambda repository, kept: installed.append(repository)}
    exec(code, dict(known))
    assert installed == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="address"):
        exec(code, dict(known))
    exec(code.replace('repository = ""', 'repository = "https://a.b/c"'), dict(known))
    assert installed == ["https://a.b/c"]


def test_what_the_first_cell_keeps_does_not_bind_the_build_and_failing_is_an_error(monkeypatch):
    """pip hands its variables on to the pip that fetches what a package is built with, its options not."""
    code = first_cell("01_data").replace('repository = ""', 'repository = "https://a.b/c"')
    kept_lines: list[list[str]] = []

    def install(repository, kept):
        assert not [name for name in os.environ if name.startswith("PIP_CONSTRAINT")]
        kept_lines.append(Path(kept).read_text().splitlines())

    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(code, {"install": install})
    (lines,) = kept_lines
    assert f"numpy=={metadata.version('numpy')}" in lines and f"torch=={metadata.version('torch')}" in lines
    assert not [line for line in lines if line.startswith("psutil==")]
    monkeypatch.setattr("importlib.metadata.packages_distributions", dict)
    with pytest.raises(ModuleNotFoundError, match="pip did not install the package"):
        exec(code, {"install": install})


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_notebook_ends_with_things_to_try_and_describes_its_figures(name):
    notebook = nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert notebook.cells[-1].source.startswith("## Try this")
    assert notebook.cells[-1].source.lower().count("expect") >= 3
    drawn = [cell for cell in notebook.cells if re.search(r"^figure = ", cell.source, re.MULTILINE)]
    assert drawn or name == "02_finetune"
    for cell in drawn:
        assert len(cell.metadata.mystnb.image.alt) > 30, cell.source


@pytest.mark.parametrize("name", PARAMETERS)
def test_what_a_notebook_says_to_try_is_there_by_that_name(name):
    notebook = nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells[:-1] if cell.cell_type == "code"]
    tried = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", notebook.cells[-1].source)]
    tried = [span for span in tried if re.match(r"from |[\w.]+\(", span)]
    known: dict[str, object] = {}
    for source in [*cells[2:], *tried]:  # after the installation and the form
        tree = ast.parse(re.sub(r"^%.*", "", source, flags=re.MULTILINE))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), name, "exec"), known)
    called = [node.func for span in tried for node in ast.walk(ast.parse(span)) if isinstance(node, ast.Call)]
    assert all(callable(eval(ast.unparse(function), known)) for function in called)
    assert bool(called) == (name in ("02_finetune", "05_published", "06_costs"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_cell_gives_a_parameter_of_the_form_another_meaning(name):
    notebook = nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"][2:]
    assigned = set()
    for source in code:
        for node in ast.walk(ast.parse(re.sub(r"^%.*", "", source, flags=re.MULTILINE))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assigned.add(node.id)
    assert assigned & PARAMETERS[name] == ({"device"} if name == "02_finetune" else set())  # what `auto` is


def test_a_precision_of_the_form_is_one_that_a_run_can_have():
    source = (CHECKOUT / "notebooks" / "02_finetune.ipynb").read_text()
    offered = re.search(r"precision = [^#]*# @param \[(.*?)\]", source)[1]
    assert re.findall(r"\w+(?=\\\")", offered) == list(PRECISIONS)


def test_runs_that_ship_are_not_said_to_be_still_to_come():
    assert (reference_folder("medical") / "results.csv").exists()
    assert "once its runs are at hand" not in (CHECKOUT / "notebooks" / "07_sets.ipynb").read_text()


def test_a_measure_that_there_is_none_of_is_refused_before_anything_is_worked_out():
    notebook = nbformat.read(CHECKOUT / "notebooks" / "04_pepr.ipynb", as_version=4)
    first = [cell.source for cell in notebook.cells if cell.cell_type == "code"][2]
    with pytest.raises(InputError, match="measure 'aurocs': expected one of accuracy"):
        exec(re.sub(r"^%.*", "", first, flags=re.MULTILINE), {"profile": "pocket", "measure": "aurocs"})


def test_what_papermill_injects_are_the_fields_of_a_run():
    assert set(RunSpec("m", "d", "s").as_dict()) == PARAMETERS["02_finetune"] - {"profile"}


@functools.cache
def cut_off() -> tuple[str, ...]:
    """What to put before a command so that it sees no network but the machine's own loopback.

    Empty where the system does not allow it; there, a proxy that does not exist keeps downloads away.
    """
    alone = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    with contextlib.suppress(OSError):
        if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0:
            return alone
    return ()


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
    """A fresh kernel, an empty folder and home, no network, the notebook's defaults, no PEPR variable set."""
    (tmp_path / "work").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PEPR_")}
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    environment |= {"PYTHONPATH": str(wheel), "HOME": str(tmp_path / "home"), **nowhere}
    if name in NEED_TABLES and "PEPR_DATA" in os.environ:
        environment["PEPR_DATA"] = os.environ["PEPR_DATA"]
    script = (
        "import nbclient, nbformat, sys\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "notebook.cells.append(nbformat.v4.new_code_cell('import pepr; print(pepr.__file__)'))\n"
        "nbclient.NotebookClient(notebook, kernel_name='python3').execute()\n"
        "print(notebook.cells[-1].outputs[0].text)\n"
    )
    done = subprocess.run(
        [*cut_off(), sys.executable, "-c", script, CHECKOUT / "notebooks" / f"{name}.ipynb"],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if name in NEED_TABLES and "PEPR_DATA" not in environment and done.returncode:
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
    done = verification.Verification(synthetic_results)
    verification.compare_analysis(done, synthetic_results.table)
    assert {"numbers of 03_energy", "numbers of 04_pepr", "cells of standings.csv"} <= set(done.compared)
    assert done.mismatches == []
