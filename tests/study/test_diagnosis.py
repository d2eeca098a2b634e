"""The doctor, for machines of every kind: what is there, what is missing, and what would happen."""

import sys

import pytest
from fake_nvml import FakeGpu, FakeNvml

from pepr import datasets, study
from pepr.datasets import at_hand, downloads
from pepr.machine import cores, description, gpu
from pepr.study import diagnosis


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without GPU, counters, network, data, and results."""
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(driver=False))
    monkeypatch.setattr(description, "RAPL", tmp_path / "no-rapl")
    monkeypatch.setattr(at_hand, "answers", lambda url: False)
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    for name in ("PEPR_DATA", "PEPR_DEVICE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "usable", lambda: 2.0)
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: None)
    description.gpu_names.cache_clear()
    yield tmp_path
    description.gpu_names.cache_clear()


def add_gpus(monkeypatch, *gpus):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*gpus))
    description.gpu_names.cache_clear()


def add_counter(monkeypatch, folder):
    (folder / "intel-rapl:0").mkdir(parents=True)
    (folder / "intel-rapl:0" / "energy_uj").write_text("1")
    monkeypatch.setattr(description, "RAPL", folder)


def test_a_place_where_no_results_can_be_written_is_told(bare, monkeypatch):
    assert f"+ results go to {bare / 'results'}" in diagnosis.report()
    (bare / "file").write_text("")
    monkeypatch.setenv("PEPR_RESULTS", str(bare / "file" / "results"))
    assert f"- results cannot be written to {bare / 'file' / 'results'}: name a folder" in diagnosis.report()


def test_a_bare_machine_runs_pocket_and_needs_no_network_for_it(bare):
    told = diagnosis.report()
    assert "`make reproduce` would run profile pocket: no CUDA device here." in told
    assert (
        "- no NVIDIA GPU" in told and "- no CPU energy counter" in told and "- PEPR_DATA is not set" in told
    )
    assert (
        "- huggingface.co not reached (pretrained weights): pocket does not need it; else bring a cache"
        in told
    )
    assert (
        "- zenodo.org not reached (medical images): pocket does not need it; else put files into $PEPR_DATA"
        in told
    )
    fetched = "Images: breastmnist, retinamnist, pneumoniamnist: downloaded, where there is a network"
    supplied = "ham10000, ham10000_by_image: put into $PEPR_DATA (PEPR_DATA is not set): ham10000/"
    assert f"{fetched}; {supplied}" in told
    count = len(study.grid(study.load("pocket")))
    assert (
        f"  {count} runs on " in told
        and "  2 runs at once, each with one thread on a core of its own." in told
    )
    assert "All runs added up: about" in told
    assert "estimate" in told
    assert "of the CPU estimated from its load, of the memory assumed. PePR-T leads" in told
    assert "none needs a network" in told and f"Images: elpv, {count} runs: at hand." in told


def test_a_gpu_without_network_and_data_is_told_which_rows_would_be_empty(bare, monkeypatch):
    add_gpus(monkeypatch, FakeGpu(name="Fake 3090"))
    told = diagnosis.report()
    assert (
        "would run profile paper: this machine has a GPU (Fake 3090)." in told and "+ GPU: Fake 3090" in told
    )
    assert "  1048 runs on Fake 3090; " in told and "One run at a time, with 2 threads." in told
    assert "of the GPU measured by its counter, of the CPU estimated" in told
    assert "917 need weights from a host that is not reached" in told and "`model_unavailable`" in told
    for dataset, runs in (("dermamnist", 524), ("lidc", 262), ("pneumoniamnist", 262)):
        assert f"Images: {dataset}, {runs} runs: not at hand: {runs} runs become rows" in told


def test_a_gpu_that_torch_cannot_use_is_said_to_be_unused_with_the_reason_and_pocket_runs(bare, monkeypatch):
    add_gpus(monkeypatch, FakeGpu(name="Fake 3090"))
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: "built without CUDA")
    told = diagnosis.report()
    assert "+ GPU: Fake 3090" in told and "- torch cannot use the GPU (built without CUDA): install" in told
    assert "`make reproduce` would run profile pocket: its GPU is not used." in told
    assert "Energy: of the CPU estimated" in told and "of the GPU" not in told


def test_a_gpu_that_was_asked_for_and_torch_cannot_use_is_a_refusal(bare, monkeypatch):
    add_gpus(monkeypatch, FakeGpu(name="Fake 3090"))
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: "built without CUDA")
    monkeypatch.setenv("PEPR_DEVICE", "cuda")
    told = diagnosis.report()
    assert "`make reproduce` would be refused here: device cuda: torch cannot use it (built without" in told
    assert "would run profile" not in told and "runs are done on the processor" not in told


@pytest.mark.parametrize("asked", [None, "cpu"])
@pytest.mark.parametrize("how", ["mode", "container", "order"])
def test_gpus_that_cannot_be_used_are_told_of_and_the_way_on_is_open(bare, monkeypatch, how, asked):
    """Slices, or numbers that mean other cards to CUDA: refused, but where the processor is asked for."""
    add_gpus(monkeypatch, FakeGpu("GPU-aaaa", mig=int(how == "mode")), FakeGpu("GPU-bbbb", name="Other"))
    if how == "container":
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "MIG-1234")
    if how == "order":
        monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    if asked:
        monkeypatch.setenv("PEPR_DEVICE", asked)
    told = diagnosis.report()
    assert ("slice of a GPU (MIG)" if how != "order" else "CUDA_DEVICE_ORDER") in told
    if asked:
        assert "would run profile pocket: its GPU is not used." in told
        assert diagnosis.default_profile() == ("pocket", "its GPU is not used")
    else:
        assert "`make reproduce` would be refused here: " in told


def test_a_card_of_another_kind_is_named_and_not_used(bare, monkeypatch):
    add_gpus(monkeypatch, FakeGpu("GPU-aaaa", name="Fake 3090"), FakeGpu("GPU-bbbb", name="Fake 4090"))
    told = diagnosis.report()
    assert "Fake 4090 (cap 350 W) (GPU-bbbb)" in told and "One run at a time" in told


def test_a_well_found_machine_is_told_what_it_will_measure_and_download(bare, monkeypatch):
    add_gpus(monkeypatch, FakeGpu("GPU-aaaa", counter=False), FakeGpu("GPU-bbbb", counter=False))
    add_counter(monkeypatch, bare / "rapl")
    monkeypatch.setattr(cores, "usable", lambda: 16.0)
    monkeypatch.setattr(at_hand, "answers", lambda url: True)
    for name in ("lidc/mine.npz", "medmnist/pneumoniamnist.npz"):
        (bare / name).parent.mkdir()
        (bare / name).touch()
    monkeypatch.setenv("PEPR_DATA", str(bare))
    told = diagnosis.report()
    assert "2 runs at once, each on a GPU of its own" in told and "+ CPU energy counter (RAPL)" in told
    assert "of the GPU measured by readings of its power, of the CPU measured by its counter" in told
    assert "917 download them" in told and "+ zenodo.org reached (medical images)" in told
    assert "Images: lidc, 262 runs: at hand." in told and "Images: pneumoniamnist, 262 runs: at hand." in told
    assert "Images: dermamnist, 524 runs: to be downloaded, and checked." in told
    assert "+ in PEPR_DATA: lidc/mine.npz, medmnist/pneumoniamnist.npz" in told


def test_a_counter_that_may_not_be_read_comes_with_the_command_that_opens_it(bare, monkeypatch):
    add_counter(monkeypatch, bare / "rapl")
    monkeypatch.setattr(description.os, "access", lambda path, mode: False)
    assert f"`sudo chmod a+r {bare / 'rapl'}/*/energy_uj`" in diagnosis.report()


def test_a_measured_cpu_is_ranked_by_energy(bare, monkeypatch):
    add_counter(monkeypatch, bare / "rapl")
    assert "of the CPU measured by its counter, of the memory assumed. PePR-E leads." in diagnosis.report()


def test_a_finished_download_is_at_hand(bare):
    derma = datasets.find("dermamnist")
    assert not derma.at_hand() and derma.downloadable
    corrected = datasets.find("dermamnist_c")
    assert not corrected.at_hand() and not corrected.downloadable
    (bare / "cache").mkdir()
    (bare / "cache" / "dermamnist_224.npz").touch()
    assert derma.at_hand()
