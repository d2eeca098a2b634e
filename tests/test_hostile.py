"""A study where everything around it is against it gives the results of a plain one."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from pepr import runs

CHECKOUT = Path(__file__).parents[1]
OF_THE_MACHINE = (
    "energy",
    "power",
    "co2eq",
    "time_s",
    "memory",
    "contended",
    "hardware",
    "runs_at_once",
    "threads",
    "speed_probe",
    "water",
    "carbon",
)
"""Parts of the names of columns that hold energy, time, and what the machine was."""


def columns_that_must_agree() -> list[str]:
    return [name for name in runs.COLUMNS if not any(part in name for part in OF_THE_MACHINE)]


def study(
    checkout: Path, results: Path, within: tuple[str, ...] = (), **environment: str
) -> tuple[pd.DataFrame, str]:
    """The table of a study, and what it said; its command is an argument of the command `within`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PEPR_", "LC_"))}
    kept |= {name: os.environ[name] for name in ("PEPR_DATA",) if name in os.environ}
    hooks = environment.pop("hooks", "")
    done = subprocess.run(
        [*within, sys.executable, "-m", "pepr.cli", "reproduce", "--profile", "smoke"],
        cwd=checkout,
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join(filter(None, [hooks, str(checkout)])),
            "PEPR_RESULTS": str(results),
            "PEPR_DEVICE": "cpu",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return runs.read_table(results / "smoke" / "results.csv"), done.stdout


def copy_of_the_checkout(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("pepr", "workflow", "notebooks", "book"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_toc.yml", "_config.yml", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder)
    return folder


def half_a_core(folder: Path) -> Path:
    """A folder of hooks by which every Python finds itself in a control group with half a core."""
    groups = folder / "cgroup"
    groups.mkdir(parents=True)
    (groups / "cpu.max").write_text("50000 100000\n")
    (groups / "membership").write_text("0::/\n")
    (folder / "sitecustomize.py").write_text(
        "from pathlib import Path\n"
        "from pepr.machine import cores\n"
        f"cores.CGROUPS = Path({str(groups)!r})\n"
        f"cores.MEMBERSHIP = cores.CGROUPS / 'membership'\n"
    )
    return folder


def cannot_write(folder: Path) -> tuple[str, ...]:
    """What runs a command for which a folder is read-only: its rights, or, since root may do all, a mount."""
    folder.chmod(0o555)
    if os.geteuid():
        return ()
    readonly = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", readonly, str(folder))


def german(folder: Path) -> dict[str, str]:
    """A locale with decimal commas, made here where the system has the means, since few systems ship it."""
    names = {"LC_ALL": "de_DE.UTF-8", "LC_NUMERIC": "de_DE.UTF-8"}
    if shutil.which("localedef"):
        folder.mkdir()
        made = [*("localedef", "--no-archive", "-i", "de_DE", "-f", "UTF-8"), str(folder / "de_DE.UTF-8")]
        if subprocess.run(made, check=False, capture_output=True).returncode == 0:
            names["LOCPATH"] = str(folder)
    ask = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.localeconv()['decimal_point'])"
    told = subprocess.run(
        [sys.executable, "-c", ask], env={**os.environ, **names}, capture_output=True, text=True, check=False
    )
    if told.stdout.strip() != ",":
        warnings.warn("no German locale could be made here: decimal commas are not tried", stacklevel=2)
    return names


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The table of a study that nothing is against, and the commands of its processes that loaded torch."""
    folder = tmp_path_factory.mktemp("plain")
    hooks, noted = folder / "hooks", folder / "loaded torch"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(
        "import sys\n"
        "def note(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'torch':\n"
        f"        with open({str(noted)!r}, 'a') as file:\n"
        "            print(*sys.orig_argv, file=file)\n"
        "sys.addaudithook(note)\n"
    )
    table, _ = study(CHECKOUT, folder / "results", hooks=str(hooks))
    return table, noted.read_text().splitlines()


@pytest.mark.slow
def test_no_process_outside_a_runs_kernel_loads_torch(plain):
    """Runs' kernels are copies of the one process that loads it."""
    _, commands = plain
    assert len(commands) == 1 and "-m pepr.training.warm" in commands[0]


@pytest.mark.slow
def test_everything_at_once_against_a_study_changes_no_result(tmp_path, plain):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".codecarbon.config").write_text("[codecarbon]\npue = 3\nforce_cpu_power = 500\n")
    hostile, told = study(
        copy_of_the_checkout(tmp_path / "One {Drive} #1" / 'it\'s "my" $study ä'),
        tmp_path / "One {Drive} #1" / "my #2: {results}'",
        within=cannot_write(home),
        hooks=str(half_a_core(tmp_path / "hooks")),
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        SLURM_JOB_ID="1",
        CODECARBON_PUE="2",
        **german(tmp_path / "locales"),
    )
    agree = columns_that_must_agree()
    pd.testing.assert_frame_equal(hostile[agree], plain[0][agree])
    assert set(hostile["status"]) == {"ok"} and all("0.5 cores" in name for name in hostile["hardware"])
    assert "pue (CODECARBON_PUE)" in told and str(home / ".codecarbon.config") in told
