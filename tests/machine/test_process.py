"""This process, on systems with other units and other modules."""

import importlib.util
import sys
from types import SimpleNamespace

import psutil
import pytest

from pepr.machine import process


@pytest.mark.parametrize(("platform", "told"), [("linux", 600_000), ("darwin", 600_000 * 1024)])
def test_the_peak_is_in_bytes_whatever_unit_the_system_has(platform, told, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "Path", lambda name: tmp_path / "none")
    monkeypatch.setattr(process, "MAXRSS_BYTES", 1 if platform == "darwin" else 1024)
    monkeypatch.setattr(process.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=told))
    assert process.peak_memory_bytes() == 600_000 * 1024


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_the_unit_is_that_of_the_system(platform, unit, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    spec = importlib.util.spec_from_file_location("loaded_there", process.__file__)
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    assert unit == there.MAXRSS_BYTES


def test_without_the_modules_of_unix_the_process_is_asked_of_psutil(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "resource", None)
    monkeypatch.setattr(process, "Path", lambda name: tmp_path / "none")
    assert process.cpu_time_s() == pytest.approx(sum(psutil.Process().cpu_times()[:4]), abs=0.5)
    memory = SimpleNamespace(peak_wset=123)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: memory)
    assert process.peak_memory_bytes() == 123
