"""What training settles for the whole process is as it was when it is over."""

import dataclasses
import gc
import sys

import pytest
import torch

from pepr import training
from pepr.machine.meter import Meter
from pepr.runs.spec import RunSpec
from pepr.training import process, steps, trial
from tests.training.test_training import fake_meter

SPEC = RunSpec("mobilenetv2_050", "noise", "noise", image_size=32, batch_size=8, epochs=1)


def state() -> dict[str, object]:
    """All of it."""
    return {
        "threads": torch.get_num_threads(),
        "denormals": process.flushes_denormals(),
        "random": torch.get_rng_state().tolist(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "frozen": gc.get_freeze_count() > 0,
    }


@pytest.fixture(autouse=True)
def a_process_of_its_own_kind():
    """Other threads, another seed, another precision, and denormal numbers, as none of it is in a run."""
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    torch.manual_seed(17)
    torch.backends.cudnn.allow_tf32 = True
    gc.unfreeze()
    yield
    torch.set_num_threads(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_a_run_is_settled_within_and_the_process_is_as_before_afterwards():
    before = state()
    with process.settled(SPEC):
        assert torch.get_num_threads() == 1
        assert process.flushes_denormals() and sys.float_info.min / 2 == 0
        assert torch.initial_seed() == SPEC.seed
        assert not torch.backends.cudnn.allow_tf32
        gc.freeze()
    assert state() == before
    assert sys.float_info.min / 2 > 0, "a denormal number is a number again"


def test_it_is_as_before_where_a_run_fails():
    before = state()
    with pytest.raises(ZeroDivisionError), process.settled(dataclasses.replace(SPEC, precision="tf32")):
        raise ZeroDivisionError
    assert state() == before


def test_what_was_flushed_or_frozen_before_stays_so():
    torch.set_flush_denormal(True)
    gc.freeze()
    try:
        with process.settled(SPEC):
            pass
        assert process.flushes_denormals() and gc.get_freeze_count() > 0
    finally:
        torch.set_flush_denormal(False)
        gc.unfreeze()


@pytest.mark.parametrize(
    "work",
    [
        lambda: steps.measure_steps(SPEC, Meter(None, {}), limit_s=0.0),
        lambda: steps.time_steps(SPEC, 1),
        lambda: trial.trained(dataclasses.replace(trial.SPEC, model="mobilenetv2_050", epochs=1)),
        lambda: trial.against_bare(SPEC, steps.noise(SPEC), 1, 0.0),
    ],
    ids=["steps", "turn", "trial", "bare"],
)
def test_whatever_trains_gives_the_process_back(work):
    before = state()
    work()
    assert state() == before


def test_a_run_gives_the_process_back(results):
    before = state()
    spec = dataclasses.replace(SPEC, dataset="elpv", setting="elpv", train_fraction=0.1)
    training.fine_tune(spec, meter=fake_meter(), progress=lambda line: None)
    assert state() == before
