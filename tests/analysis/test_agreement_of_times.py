"""Training times beside a timing of the same models in turn: how far they differ is the error of a time."""

import numpy as np
import pandas as pd
import pytest
from conftest import SCRATCH_MODELS, simulated_run

from pepr.analysis import numbers
from pepr.analysis.ranked import (
    CLOCK_ERROR,
    NORMAL_95,
    agreement,
    as_ranked,
    resource_errors,
    training_steps,
)
from pepr.runs import as_table
from pepr.runs.timing import COLUMNS

MODELS = list(SCRATCH_MODELS)[:5]
PACE = {model: 0.1 + 0.05 * place for place, model in enumerate(MODELS)}
OFF = dict(zip(MODELS, (-0.1, 0.0, 0.1, 0.04, -0.04), strict=True))
"""By how much, as a logarithm, the training of each model was slower than its steps."""


def trained(off=None, splits=5, **changes):
    """Runs of one thread with a probe, each as long as its steps at the model's pace, times 1.2."""
    records = []
    for model in MODELS:
        for split in range(splits):
            record = simulated_run(model, "elpv", split)[0]
            steps = record["epochs"] * (record["n_train"] - (record["n_train"] % 32 == 1)) / 32
            seconds = 1.2 * steps * PACE[model] * np.exp((off or {}).get(model, 0.0))
            seen = {"train_cpu_time_s": seconds, "train_time_s": 3 * seconds, "speed_probe_s": 0.125}
            records.append(record | seen | {"threads": 1} | changes)
    return as_ranked(as_table(records))


def timed(models=MODELS, noise=0.0, rounds=6, **changes):
    """A timing with the pace of each model, a little off from round to round."""
    rng = np.random.default_rng(1)
    row = dict.fromkeys(COLUMNS) | {"device": "cpu", "image_size": 64, "batch_size": 32, "precision": "fp32"}
    rows = [
        row
        | {"model": model, "round": number, "hardware": "simulated CPU, 2 cores"}
        | {"step_time_s": 2 * PACE[model], "step_cpu_time_s": PACE[model] * np.exp(rng.normal(0, noise))}
        | changes
        for number in range(rounds)
        for model in models
    ]
    return pd.DataFrame(rows)


def test_steps_are_those_of_the_loop():
    rows = pd.DataFrame({"n_train": [64, 65, 80], "batch_size": [32, 32, 32], "epochs": [1, 2, 3]})
    assert training_steps(rows).tolist() == [2.0, 4.0, 7.5], "a last batch of one image is left out"


def test_times_that_follow_the_steps_agree_whatever_the_overhead_of_a_run():
    found = agreement(trained(), timed())
    assert found.ratio == pytest.approx(1.2) and found.error == pytest.approx(0, abs=1e-9)
    assert found.rank_correlation == pytest.approx(1) and (found.rounds, len(found.ratios)) == (6, 5)


def test_the_error_of_a_time_is_how_far_models_differ_from_their_steps():
    found = agreement(trained(OFF), timed())
    assert found.error == pytest.approx(np.std(list(OFF.values()), ddof=1))
    errors = resource_errors(trained(OFF), "T", timed())
    assert errors.tolist() == pytest.approx([found.error] * 5)
    for letter in ("E", "C"):
        assert resource_errors(trained(OFF), letter, timed()).tolist() == pytest.approx([found.error] * 5)


def test_repeats_that_scatter_more_are_the_error_though_the_means_agree():
    rows = trained()
    factor = np.tile([0.5, 1.5, 1.0, 0.7, 1.3], len(MODELS))
    errors = resource_errors(rows.assign(train_time_s=rows["train_time_s"] * factor), "T", timed())
    assert (errors > 0.1).all()


def test_the_scatter_of_baselines_that_take_milliseconds_is_no_error_of_a_network():
    rows = trained()
    factor = np.tile([0.5, 1.5, 1.0, 0.7, 1.3], len(MODELS))
    fits = rows.assign(train_time_s=1e-3 * rows["train_time_s"] * factor, model="pca_svm").iloc[:5]
    errors = resource_errors(pd.concat([rows, fits]), "T", timed())
    assert errors["pca_svm"] > 0.1 and (errors.drop("pca_svm") < 1e-9).all()


def test_without_a_timing_the_bound_of_the_clock_holds_and_memory_never_had_one():
    rows, bound = trained(OFF), CLOCK_ERROR / NORMAL_95 / np.sqrt(5)
    assert resource_errors(rows, "T").tolist() == pytest.approx([bound] * 5)
    memory = resource_errors(rows, "M")
    pd.testing.assert_series_equal(resource_errors(rows, "M", timed()), memory)


def test_a_model_that_was_not_timed_and_a_run_whose_clock_drifted_keep_their_bound():
    errors = resource_errors(trained(), "T", timed(MODELS[:4]))
    assert errors[MODELS[4]] == pytest.approx(CLOCK_ERROR / NORMAL_95 / np.sqrt(5))
    assert errors[MODELS[0]] < 1e-9
    rows = trained()
    drifted = rows.assign(train_time_error=rows["train_time_error"].where(rows["model"] != MODELS[0], 0.3))
    assert resource_errors(drifted, "T", timed())[MODELS[0]] == pytest.approx(0.3 / NORMAL_95 / np.sqrt(5))


@pytest.mark.parametrize(
    "other",
    [
        {"hardware": "another"},
        {"image_size": 32},
        {"batch_size": 16},
        {"precision": "bf16"},
        {"device": "cuda"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_timing_under_other_conditions_says_nothing(other):
    assert agreement(trained(), timed(**other)) is None


def test_fewer_than_three_models_say_nothing():
    assert agreement(trained(), timed(MODELS[:2])) is None
    assert agreement(trained(), None) is None
    assert agreement(trained().iloc[:0], timed()) is None


def test_on_a_gpu_the_clock_on_the_wall_counts_and_a_set_may_name_its_meter():
    on_gpu = {"device": "cuda", "hardware": "a GPU"}
    rows = trained(**on_gpu).assign(hardware="a GPU; meter: codecarbon 3")
    found = agreement(rows, timed(**on_gpu))
    assert found.ratio == pytest.approx(1.2 * 3 / 2) and found.rank_correlation == pytest.approx(1)


def test_prose_says_how_times_are_known_with_a_timing_and_without():
    without = numbers.timing_numbers(trained(), None)
    assert "were not timed in turn" in without.pop("timing_words")["text"] and not without
    found = numbers.timing_numbers(trained(OFF), timed(noise=0.02))
    assert found["timing_models"]["value"] == 5
    assert found["timing_rank_correlation"]["value"] == pytest.approx(1)
    assert 0 < found["timing_step_error"]["value"] < 0.02 < found["timing_error"]["value"]
    for key in ("timing_ratio", "timing_error", "timing_rank_correlation", "timing_rounds"):
        assert found[key]["text"] in found["timing_words"]["text"]
