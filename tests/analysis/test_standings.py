"""Which model is best and how sure: on the shipped runs, and on runs made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pepr import runs
from pepr.analysis import standings

SHIPPED = runs.Results("pocket", "reference", runs.reference_folder("pocket"))


class MadeByHand:
    """Results of one setting: probabilities of label 1 for each run, on twenty images of each label."""

    def __init__(self, models):
        labels = np.repeat([0, 1], 20)
        rows = []
        self._predictions = {}
        for position, (model, seed, scores, val_accuracy) in enumerate(models):
            run_id = f"run-{position}"
            probabilities = np.column_stack([1 - np.asarray(scores), scores])
            self._predictions[run_id] = (probabilities, labels)
            spec = runs.RunSpec(model, "pneumoniamnist", "pneumonia_scratch", seed=seed)
            rows.append(
                spec.as_dict()
                | {"run_id": run_id, "status": "ok", "hardware": "h", "val_accuracy": val_accuracy}
                | {"num_params": {"small": 10, "large": 99, "twin": 50}[model], "contended": False}
                | {"test_auroc": float(np.mean(np.subtract.outer(scores[20:], scores[:20]) > 0))}
                | {"test_accuracy": float(np.mean((np.asarray(scores) > 0.5) == labels))}
                | {"test_sensitivity": 0.5, "test_specificity": 0.25, "test_balanced_accuracy": 0.375}
                | {"train_time_s": 1.0 + position, "energy_kwh": 1.0 + position, "co2eq_g": 1.0}
                | {"peak_memory_bytes": 100 + position}
            )
        self.table = runs.as_table(rows)
        self.draws = {}

    def groups(self, run_id):
        return None

    def predictions(self, run_id):
        return self._predictions[run_id]


def scores(overlap, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0, 0.5 + overlap, 20), rng.uniform(0.5 - overlap, 1, 20)])


def test_a_model_that_always_wins_has_all_the_share_and_nobody_ties_with_it():
    found = standings.standings(
        MadeByHand([("large", 0, scores(0.0), 0.9), ("small", 0, scores(0.5), 0.8)]), n_resamples=500
    ).set_index("model")
    assert found.loc["large", "probability_best"] == 1 and found.loc["large", "auroc"] == 1
    assert list(found["tied"]) == [True, False] and found.index[0] == "large"
    assert found.loc["small", "low"] < found.loc["small", "auroc"] < found.loc["small", "high"]
    assert found.loc["small", "sensitivity"] == 0.5 and found.loc["small", "specificity"] == 0.25


def test_models_with_the_same_predictions_share_the_first_place_and_tie():
    same = scores(0.2)
    found = standings.standings(
        MadeByHand([("large", 0, same, 0.9), ("twin", 0, same, 0.9), ("small", 0, scores(0.5), 0.5)]),
        n_resamples=500,
    ).set_index("model")
    assert found.loc["large", "probability_best"] == pytest.approx(found.loc["twin", "probability_best"])
    assert found.loc["large", "tied"] and found.loc["twin", "tied"]


def test_the_choice_is_made_on_validation_and_judged_on_the_test_images():
    made = MadeByHand(
        [("large", 0, scores(0.3), 0.7), ("twin", 0, scores(0.0), 0.9), ("small", 0, scores(0.5), 0.8)]
    )
    found = standings.choice(made, n_resamples=500)
    assert (found.model, found.setting) == ("twin", "pneumonia_scratch")
    rows = made.table.set_index("model")["test_auroc"]
    assert found.auroc.estimate == pytest.approx(rows["twin"])


def test_each_dataset_has_a_choice_of_its_own_and_all_stand_in_one_table():
    made = MadeByHand([("large", 0, scores(0.3), 0.9), ("small", 0, scores(0.5), 0.8)])
    other = made.table.assign(dataset="retinamnist", val_accuracy=[0.1, 0.2])
    made.table = pd.concat([made.table, other.assign(run_id=other["run_id"] + "-other")], ignore_index=True)
    made._predictions |= {f"{name}-other": arrays for name, arrays in made._predictions.items()}
    chosen = standings.choices(made, n_resamples=50)
    assert [(found.dataset, found.model) for found in chosen] == [
        (made.table["dataset"].iloc[0], "large"),
        ("retinamnist", "small"),
    ]
    numbers = standings.selection_numbers(standings.standings(made, n_resamples=50), chosen, None)
    table = numbers["choices_table"]["text"].splitlines()
    assert len(table) == 4 and "small" in table[3]


def test_nobody_chooses_on_images_that_are_divided_to_show_a_leak():
    made = MadeByHand([("large", 0, scores(0.3), 0.9), ("small", 0, scores(0.5), 0.8)])
    other = made.table.assign(dataset="ham10000_by_image", run_id=made.table["run_id"] + "-other")
    own = made.table["dataset"].iloc[0]
    made.table = pd.concat([made.table, other], ignore_index=True)
    assert [found.dataset for found in standings.choices(made, n_resamples=50)] == [own]


def test_what_intervals_are_over_stands_in_the_head_of_a_table_whose_rows_are_alike():
    made = MadeByHand([("large", 0, scores(0.3), 0.9), ("small", 0, scores(0.5), 0.8)])
    rows = standings.standings(made, n_resamples=50)
    over = rows["over"].iloc[0]
    assert f"| 95% interval over {over} |" in standings.standings_table(rows)
    rows.loc[rows.index[0], "over"] = "5 splits"
    table = standings.standings_table(rows)
    assert "| 95% interval | Interval over |" in table and table.count("| 5 splits |") == 1


def test_a_table_has_no_column_of_a_measure_that_its_classes_do_not_have():
    rows = standings.standings(MadeByHand([("large", 0, scores(0.3), 0.9)]), n_resamples=50)
    both = standings.standings_table(rows.assign(sensitivity=0.9, specificity=0.8))
    none = standings.standings_table(rows.assign(sensitivity=None, specificity=None))
    assert "| Sensitivity | Specificity |" in both and "| 90.0% | 80.0% |" in both
    assert "Sensitivity" not in none and "Specificity" not in none and "| Accuracy |" in none


def test_an_equal_validation_accuracy_goes_to_the_smaller_model():
    made = MadeByHand([("large", 0, scores(0.0), 0.9), ("twin", 0, scores(0.2), 0.9)])
    assert standings.choice(made, n_resamples=100).model == "twin"


def test_agreement_is_the_rank_correlation_with_the_same_models_of_the_paper():
    made = MadeByHand(
        [("small", 0, scores(0.5), 0.5), ("twin", 0, scores(0.2), 0.7), ("large", 0, scores(0.0), 0.9)]
    )
    published = pd.DataFrame(
        {
            "model": ["large", "small", "twin", "other"],
            "dataset": "pneumonia",
            "test_09": [0.7, 0.9, 0.8, 0.1],
            "train_time": [9.0, 1.0, 5.0, 2.0],
            "energy": [3.0, 1.0, 2.0, 9.0],
            "memM": [3.0, 2.0, 1.0, 9.0],
        }
    )
    assert standings.agreement(made, published).empty, "the paper's networks on these images are pretrained"
    made.table["pretrained"] = True
    found = standings.agreement(made, published).set_index("quantity")
    assert found.loc["accuracy", "rho"] == pytest.approx(-1) and found.loc["T", "rho"] == pytest.approx(1)
    assert found.loc["M", "rho"] == pytest.approx(0.5) and (found["n"] == 3).all()
    made.table["shuffled"] = True
    assert standings.agreement(made, published).empty, "shuffled weights are no start of the paper's"
    assert standings.agreement(SHIPPED, published).empty  # the paper has no solar cells


def test_the_numbers_for_prose_are_those_of_the_tables():
    ranked, chosen = standings.standings(SHIPPED, n_resamples=200), standings.choice(SHIPPED, 200)
    numbers = standings.selection_numbers(ranked, [chosen], None)
    assert f"| {chosen.model} | {chosen.setting} | {chosen.n_seeds} |" in numbers["choices_table"]["text"]
    for setting, rows in ranked.groupby("setting"):
        table = numbers[f"standings_{setting}"]["text"].splitlines()
        assert rows["model"].iloc[0] in table[2]
        assert not any("nan" in line.split() for line in table), "an interval that is not known says so"
        if rows["n_models"].iloc[0] < 2:  # one model has no share and no tie
            assert len(table) == 2 + len(rows) and "Share" not in table[0]
            assert numbers[f"tied_{setting}"]["value"] is None
            continue
        assert len(table) == 4 + len(rows)
        assert table[-1] == f"Shares and ties are over {standings.compared_over(rows)}."
        assert numbers[f"tied_{setting}"]["value"] == rows["tied"].sum() >= 1
        assert rows["probability_best"].sum() == pytest.approx(1)
