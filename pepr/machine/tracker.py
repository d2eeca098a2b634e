"""CodeCarbon, opened so that no setting, file or program outside this study decides a number of it."""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import inspect
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pepr.machine import description

Setting = bool | int | float | str | list | None
SETTINGS: dict[str, Setting] = {
    "allow_multiple_runs": True,
    "api_call_interval": -1,
    "api_endpoint": None,
    "api_key": None,
    "cloud_provider": None,
    "cloud_region": None,
    "country_2letter_iso_code": None,
    "country_iso_code": "DNK",  # required; grid intensity is applied afterwards, see `pepr.grids`
    "electricitymaps_api_token": None,
    "emissions_endpoint": None,
    "experiment_id": None,
    "experiment_name": None,
    "force_carbon_intensity_g_co2e_kwh": None,
    "force_cpu_power": None,
    "force_mode_cpu_load": False,
    "force_ram_power": None,
    "gpu_ids": [],  # NVML is read by `pepr.machine.gpu`
    "log_level": "critical",
    "logger_preamble": "",
    "logging_logger": None,
    "measure_power_secs": 1,
    "metadata": None,
    "on_csv_write": "append",
    "output_dir": None,
    "output_file": "emissions.csv",
    "output_handlers": [],
    "output_methods": [],
    "project_name": "pepr",
    "prometheus_url": None,
    "pue": 1.0,
    "rapl_include_dram": False,
    "rapl_prefer_psys": False,
    "region": None,
    "tracking_mode": "machine",
    "wue": 0.0,
}
"""Every setting of CodeCarbon with the value that this study gives it. `output_dir` is the folder of
temporary files, where nothing is written. What is not here is an older name of something that is."""

CONFIGURATION = ".codecarbon.config"
PREFIX = "codecarbon_"


def stray_settings() -> list[str]:
    """The settings that another project left where CodeCarbon would take them from, each with its place in
    brackets: environment variables, and a file in the home folder or the working folder. None is used."""
    names = [name for name in sorted(os.environ) if name.lower().startswith(PREFIX)]
    found = [f"{name.lower().removeprefix(PREFIX)} ({name})" for name in names]
    for path in dict.fromkeys(folder / CONFIGURATION for folder in (*_home(), Path.cwd())):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError):
            found.append(f"settings that cannot be read ({path})")
            continue
        names = parser["codecarbon"] if parser.has_section("codecarbon") else ()
        found += [f"{name} ({path})" for name in names]
    return found


def _home() -> list[Path]:
    """The home folder; none where the user has no name, as in many a container."""
    try:
        return [Path.home()]
    except RuntimeError:
        return []


def warning() -> str | None:
    """One sentence on what is ignored; None where there is nothing."""
    found = stray_settings()
    if not found:
        return None
    return f"Settings of CodeCarbon that are not this study's are ignored: {', '.join(found)}."


def is_installed() -> bool:
    """Whether CodeCarbon is there: a checkout on a machine that has no more than torch is without it."""
    return importlib.util.find_spec("codecarbon") is not None


def open_tracker() -> Any:
    """CodeCarbon in offline mode for CPU and memory: nothing written, no network, no program needed.

    Where it estimates a CPU's power, that of one socket counts as often as there are sockets that a program
    can see (`sockets`), and the watts that it gives each thread of an unknown CPU once.
    """
    logger = logging.getLogger("codecarbon")
    before, logger.disabled = logger.disabled, True  # until it knows the level that `SETTINGS` ask for
    try:
        from codecarbon import OfflineEmissionsTracker

        with _nothing_from_outside():
            tracker = OfflineEmissionsTracker(**known_settings(OfflineEmissionsTracker))
            tracker._ensure_hardware_ready()
    finally:
        logger.disabled = before
    for part in tracker._hardware:
        if type(part).__name__ == "CPU" and part._mode in ("cpu_load", "constant"):
            part._tdp = rated_power().watts
    return tracker


def known_settings(tracker: type) -> dict[str, Setting]:
    """Those of `SETTINGS` that the installed version knows."""
    known = {name for kind in tracker.__mro__ for name in inspect.signature(kind.__init__).parameters}
    return {
        name: tempfile.gettempdir() if name == "output_dir" else value
        for name, value in SETTINGS.items()
        if name in known
    }


@contextlib.contextmanager
def _nothing_from_outside() -> Iterator[None]:
    """CodeCarbon without its configuration files, which would stop it where they are damaged, and without
    Slurm: it asks `scontrol`, which a container may not have, for a part of what it then reads of the whole
    machine."""
    from codecarbon import emissions_tracker
    from codecarbon.core import util
    from codecarbon.external import ram

    ours = (
        (emissions_tracker, "get_hierarchical_config", dict),
        (util, "SLURM_JOB_ID", None),
        (ram, "SLURM_JOB_ID", None),
    )
    os.environ.setdefault("PATH", os.defpath)  # without one, what asks for the processor's name gives up
    before = [(module, name, getattr(module, name)) for module, name, _ in ours]
    for module, name, value in ours:
        setattr(module, name, value)
    try:
        yield
    finally:
        setattr(*before[0])  # Slurm stays out: memory is asked for its power again and again


@dataclass(frozen=True)
class RatedPower:
    """The power in watts that a load model takes for the machine's CPU at full load, of `sockets` sockets,
    and in words where it comes from."""

    watts: float
    sockets: int
    source: str


def rated_power() -> RatedPower:
    """CodeCarbon's rating of this machine's CPU: by name for each socket, else by thread for all of them."""
    from codecarbon.core import cpu
    from codecarbon.core.hardware_cache import get_cached_tdp

    with _nothing_from_outside():
        tdp = get_cached_tdp(cpu)
        by_name = tdp._get_cpu_power_from_registry(tdp.model)
    if by_name:
        count = description.sockets()
        return RatedPower(by_name * count, count, f"TDP of {tdp.model} in CodeCarbon's table")
    threads = os.cpu_count() or 1
    watts = cpu.DEFAULT_POWER_PER_CORE * threads
    return RatedPower(
        watts,
        1,
        f"{cpu.DEFAULT_POWER_PER_CORE} W for each of {threads} threads: {tdp.model} is not in the table",
    )


def power_limit_w() -> float:
    """The most that CPU and memory may draw in watts, worked out without the tracker whose numbers it
    guards: the limits that the CPU itself keeps to where they can be read, else its rated power; and
    CodeCarbon's model of the memory."""
    limits = description.cpu_power_limits_w()
    return (sum(limits) if limits else rated_power().watts) + _memory_power_w()


def _memory_power_w() -> float:
    from codecarbon.external.ram import RAM

    with _nothing_from_outside():
        return RAM(tracking_mode="machine").total_power().W


def assumptions() -> dict[str, Setting]:
    """What an estimate of energy rests on, for a record: watts, sockets, their source, what is ignored."""
    rated = rated_power()
    return {
        "cpu_rated_power_w": rated.watts,
        "cpu_sockets": rated.sockets,
        "cpu_power_source": rated.source,
        "memory_power_w": _memory_power_w(),
        "memory_power_source": "CodeCarbon's model of memory modules by the size of the memory",
        "pue": SETTINGS["pue"],
        "settings_ignored": stray_settings(),
    }
