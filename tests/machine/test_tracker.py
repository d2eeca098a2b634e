"""The meter depends on nothing outside the study: settings, files and programs of others move no number."""

import inspect
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from codecarbon import OfflineEmissionsTracker
from codecarbon.external import hardware
from packaging.requirements import Requirement

from pepr.machine import description, meter as metering, tracker

OLDER_NAMES = {
    "co2_signal_api_token",
    "save_to_api",
    "save_to_file",
    "save_to_logfire",
    "save_to_logger",
    "save_to_prometheus",
}
HOSTILE = {
    "tracking_mode": "process",
    "rapl_include_dram": "True",
    "rapl_prefer_psys": "True",
    "force_mode_cpu_load": "True",
    "gpu_ids": "0,1",
    "output_dir": "/nowhere",
    "output_methods": "csv",
    "allow_multiple_runs": "False",
    "log_level": "debug",
}
"""What another project may have set; every other setting is 2."""
CHECKOUT = Path(__file__).parents[2]

MEASURE = """
import json, time
from pepr.machine import meter
opened = meter.open_meter("cpu")
with opened.window("train"):
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        sum(range(1000))
opened.check("train")
print(json.dumps({"limit": opened.power_limit_w, "source": opened.source, **opened.assumptions}))
"""


def settings_of_the_installed_version() -> set[str]:
    kinds = [kind for kind in OfflineEmissionsTracker.__mro__ if kind is not object]
    names = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters}
    return names - {"self", "args", "kwargs"} - OLDER_NAMES


def measured(tmp_path, **environment):
    """What a meter says of itself in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("CODECARBON_")}
    given = {**kept, "PYTHONPATH": str(CHECKOUT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={name: value for name, value in given.items() if value is not None},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("disabled", [False, True])
def test_the_log_of_codecarbon_is_given_back_as_it_was(monkeypatch, disabled):
    """A person's own tracker in the same process is to say what it says."""
    monkeypatch.setattr(logging.getLogger("codecarbon"), "disabled", disabled)
    tracker.open_tracker()
    assert logging.getLogger("codecarbon").disabled == disabled


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("plain"), HOME=str(tmp_path_factory.mktemp("home")))


def test_every_setting_of_the_installed_codecarbon_is_given_by_this_study():
    assert settings_of_the_installed_version() <= set(tracker.SETTINGS)


def test_the_installed_version_is_in_the_range_that_was_tested():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needs = {need.name: need.specifier for need in map(Requirement, project["dependencies"])}
    range_of = needs["codecarbon"]
    assert range_of.contains(metadata.version("codecarbon"))
    assert not range_of.contains("3.3.0") and not range_of.contains("3.4.0")


@pytest.mark.parametrize("setting", sorted(settings_of_the_installed_version()))
def test_no_setting_from_outside_reaches_the_tracker(setting, monkeypatch, tmp_path):
    monkeypatch.setenv(f"CODECARBON_{setting.upper()}", HOSTILE.get(setting, "2"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".codecarbon.config").write_text(f"[codecarbon]\n{setting} = {HOSTILE.get(setting, '2')}\n")
    opened = OfflineEmissionsTracker(**tracker.known_settings(OfflineEmissionsTracker))
    expected = tracker.known_settings(OfflineEmissionsTracker)[setting]
    assert opened._conf[setting] == expected
    assert f"{setting} (CODECARBON_{setting.upper()})" in tracker.stray_settings()
    assert f"{setting} (CODECARBON_{setting.upper()})" in tracker.warning()
    assert str(tmp_path / ".codecarbon.config") in tracker.warning()


@pytest.mark.parametrize(
    "content", ["[codecarbon]\npue = 3\nforce_cpu_power = 500\n", "no section\n", "\xff["]
)
def test_the_settings_of_another_project_move_no_number_and_are_named(plain, tmp_path, content):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".codecarbon.config").write_text(content, encoding="latin-1")
    hostile = measured(
        tmp_path,
        HOME=str(home),
        CODECARBON_PUE="2",
        CODECARBON_FORCE_CPU_POWER="500",
        codecarbon_force_ram_power="900",
    )
    ignored = hostile.pop("settings_ignored")
    assert "pue (CODECARBON_PUE)" in ignored and any(str(home) in place for place in ignored)
    assert hostile == {name: value for name, value in plain.items() if name != "settings_ignored"}


def test_a_user_without_a_name_and_a_home_has_no_settings_there(monkeypatch):
    def nameless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(tracker.Path, "home", staticmethod(nameless))
    monkeypatch.setenv("CODECARBON_PUE", "2")
    assert "pue (CODECARBON_PUE)" in tracker.stray_settings()


@pytest.mark.parametrize("job", ["SLURM_JOB_ID", "SLURM_JOBID"])
def test_a_meter_opens_in_a_job_of_slurm_without_its_programs(plain, tmp_path, job):
    assert measured(tmp_path, **{job: "7"}, PATH="") == plain


def test_a_processor_has_its_name_where_no_program_is_to_be_found_anywhere(plain, tmp_path):
    assert measured(tmp_path, PATH=None) == plain


def test_sockets_that_a_program_tells_do_not_multiply_the_watts_of_a_thread(plain, tmp_path):
    program = tmp_path / "lscpu"
    program.write_text("#!/bin/sh\necho 'Socket(s): 8'\n")
    program.chmod(0o755)
    told = measured(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert told == plain


def test_a_cpu_that_the_table_knows_is_rated_by_its_sockets_and_one_that_it_does_not_by_threads(monkeypatch):
    from codecarbon.core import cpu

    tdp = cpu.TDP.__new__(cpu.TDP)
    monkeypatch.setattr("codecarbon.core.hardware_cache._tdp", tdp)
    monkeypatch.setattr(description, "sockets", lambda: 2)
    tdp.model = "Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz"
    known = tracker.rated_power()
    assert (known.watts, known.sockets) == (2 * 125.0, 2) and "TDP of Intel" in known.source
    tdp.model = "A processor of nobody"
    unknown = tracker.rated_power()
    assert (unknown.watts, unknown.sockets) == (4 * (os.cpu_count() or 1), 1)


@pytest.mark.parametrize(
    ("mode", "load", "share"),
    [
        ("machine", 0.0, 0.1),
        ("machine", 0.5, 0.1 + 0.9 * 0.125),
        ("machine", 1.0, 1.0),
        ("process", 0.5, 0.5),
    ],
)
def test_codecarbons_own_load_model_is_what_the_chapter_on_the_protocol_says(mode, load, share, monkeypatch):
    """A machine by 0.1 + 0.9 load^3, a process in proportion and without a floor."""
    chapter = " ".join((CHECKOUT / "book/protocol.md").read_text().split())
    (pinned,) = re.findall(r"^codecarbon==(\S+)", (CHECKOUT / "requirements.lock").read_text(), re.MULTILINE)
    assert f"Version {pinned} charges a machine its rated power times 0.1 + 0.9 load" in chapter
    cpu = hardware.CPU("/nowhere", "cpu_load", "nobody's", tdp=100, tracking_mode=mode)
    # The first is asked by version 3.3.2, the second by 3.3.1.
    cpu._cpu_load_meter = SimpleNamespace(percent=lambda: 100 * load)
    monkeypatch.setattr("psutil.cpu_percent", lambda **asked: 100 * load)
    cpu._last_measurement_time, cpu._last_cpu_times = 0.0, {1: 0.0}
    monkeypatch.setattr(hardware.time, "time", lambda: 10.0)
    spent = SimpleNamespace(user=10.0 * load * cpu._cpu_count, system=0.0)
    cpu._process = SimpleNamespace(pid=1, cpu_times=lambda: spent, children=lambda recursive: [])
    watts = cpu._get_power_from_cpu_load().W
    assert watts == pytest.approx(100 * share)


def test_what_the_energy_rests_on_is_told_for_the_record():
    told = metering.open_meter("cpu").assumptions
    assert told["pue"] == 1.0 and told["cpu_rated_power_w"] > 0 and told["memory_power_w"] > 0
    assert told["cpu_sockets"] >= 1 and told["cpu_power_source"] and told["memory_power_source"]


def test_the_limits_of_a_counter_are_those_that_the_cpu_keeps_to(monkeypatch, tmp_path):
    for package, (long, short) in enumerate([(150, 190), (150, 190)]):
        folder = tmp_path / f"intel-rapl:{package}"
        folder.mkdir()
        (folder / "name").write_text(f"package-{package}\n")
        for constraint, watts in enumerate((long, short)):
            (folder / f"constraint_{constraint}_power_limit_uw").write_text(f"{watts}000000\n")
        (tmp_path / f"intel-rapl:{package}:0").mkdir()
    memory_w = tracker.power_limit_w() - tracker.rated_power().watts
    monkeypatch.setattr(description, "RAPL", tmp_path)
    assert tracker.power_limit_w() == pytest.approx(380 + memory_w)
    assert description.cpu_power_caps_w() == [150, 150]
    assert "cap 300 W" in description.hardware()
