"""Kernels that are copies of a loaded process: their own from the first cell on, gone with whoever asked."""

import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import psutil
import pytest

from pepr.machine import cores
from pepr.study import kernels
from pepr.study.notebooks import execute_notebook


@pytest.fixture(scope="module")
def warm():
    with kernels.loaded({**os.environ, "OMP_NUM_THREADS": "1"}) as (told, _):
        yield told[kernels.ADDRESS]


@pytest.fixture
def run(tmp_path, monkeypatch, warm):
    """Executes cells in a kernel of the loaded process; what they printed."""
    monkeypatch.setenv(kernels.ADDRESS, warm)

    def execute(*cells, name="n", manager=kernels.Manager, **options):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        output = tmp_path / f"{name}.out.ipynb"
        execute_notebook(tmp_path / f"{name}.ipynb", output, {}, manager=manager, **options)
        done = nbformat.read(output, as_version=4)
        outputs = [out for cell in done.cells if cell.cell_type == "code" for out in cell.outputs]
        return "".join(out.get("text", "") for out in outputs)

    return execute


LOADED = "import sys; print(all(name in sys.modules for name in ('torch', 'timm', 'pepr.training.loop')))"


def test_its_libraries_are_loaded_and_its_folder_environment_and_process_are_its_own(
    run, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINE", "yes")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = run(
        LOADED,
        "import os, torch; print(os.getcwd(), os.environ['MINE'], os.getpid(), torch.get_num_threads())",
        cwd=tmp_path,
    )
    loaded, facts = told.splitlines()
    assert loaded == "True" and facts.startswith(f"{tmp_path} yes ") and facts.endswith(" 1")
    assert int(facts.split()[2]) != os.getpid() and not psutil.pid_exists(int(facts.split()[2]))


def test_the_processors_name_is_known_before_a_kernel_is_made(run):
    """A process of its own asks for it, which takes as long as half the rest of a start."""
    assert (
        run("from codecarbon.core import util; print(util.detect_cpu_model.cache_info().currsize)") == "1\n"
    )


def test_two_at_once_share_no_variable_no_chance_and_no_output(run):
    told = {}

    def execute(name):
        told[name] = run(
            f"import torch, os, time; torch.manual_seed({ord(name)}); os.environ['WHO'] = '{name}'",
            "time.sleep(1); print(os.environ['WHO'], torch.rand(1).item(), os.getpid())",
            name=name,
        ).split()

    both = [threading.Thread(target=execute, args=(name,)) for name in "ab"]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [told[name][0] for name in "ab"] == ["a", "b"] and len(
        {tuple(value) for value in told.values()}
    ) == 2
    again = run(f"import torch; torch.manual_seed({ord('a')}); print(torch.rand(1).item())")
    assert again.strip() == told["a"][1] != told["b"][1]


def test_one_that_is_killed_or_hangs_is_a_failure_of_its_run_alone(run):
    with pytest.raises(Exception, match="Kernel died"):
        run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(Exception, match="timed out"):
        run("import time; time.sleep(600)", timeout_s=3)
    assert run(LOADED).strip() == "True"


ASK = """
import sys, time
from pathlib import Path
from tests.study.test_kernels import *
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(sys.argv[2])])
nbformat.write(notebook, sys.argv[1] + "/asked.ipynb")
here = Path(sys.argv[1])
execute_notebook(here / "asked.ipynb", here / "out.ipynb", {}, manager=kernels.Manager)
"""


def test_it_ends_with_whoever_asked_for_it(tmp_path, monkeypatch, warm):
    monkeypatch.setenv(kernels.ADDRESS, warm)
    cell = (
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(600)"
    )
    asker = subprocess.Popen([sys.executable, "-c", ASK, str(tmp_path), cell])
    deadline = time.monotonic() + 120
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith(" "):
        assert time.monotonic() < deadline and asker.poll() is None
        time.sleep(0.1)
    kernel = psutil.Process(int((tmp_path / "pid").read_text()))
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    psutil.wait_procs([kernel], timeout=30)
    assert not kernel.is_running()


def test_the_processor_time_of_one_that_has_ended_stays_with_the_study(run):
    before = cores.study_time()
    run("import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass")
    time.sleep(0.5)
    assert cores.study_time() - before > 1.5


def test_where_nobody_answers_it_starts_in_jupyters_own_way(run, monkeypatch, tmp_path):
    monkeypatch.setenv(kernels.ADDRESS, str(tmp_path / "nobody"))
    assert run(LOADED).strip() == "False"


def test_the_loaded_process_ends_with_the_last_that_holds_it():
    before = set(psutil.Process().children())
    with kernels.loaded(dict(os.environ)):
        (process,) = set(psutil.Process().children()) - before
        assert "pepr.training.warm" in process.cmdline()
    assert not process.is_running()
