"""Starts of their own: shuffled weights and transfer, what they are compared with, the bill of a source."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import several_sets

from pepr import runs
from pepr.analysis import carbon, claims, energy, numbers as run_numbers, standings
from pepr.analysis.across import arms, figures, numbers, parity, pretraining
from pepr.analysis.across.sets import Sets
from pepr.analysis.claims import repeated_networks
from pepr.analysis.scores import main_setting, usual_starts

BOTH = ("pretrained_full", "scratch_full")
RESAMPLES = several_sets.RESAMPLES
pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return Sets(several_sets.write(tmp_path_factory.mktemp("sets"), fractions=(1.0,)), RESAMPLES)


def whole(sets):
    return [one for one in pretraining.by_series(sets) if one.whom == "all"]


def with_table(of, table):
    """The sets of the same results with another table."""
    return Sets(several_sets.with_table(of.results, table), RESAMPLES)


def of_arms(table):
    """Which runs start from shuffled weights or from another run."""
    return table["shuffled"].fillna(False).astype(bool) | table["init_from"].notna()


@pytest.fixture(scope="module")
def with_arms(tmp_path_factory):
    return Sets(several_sets.write(tmp_path_factory.mktemp("arms"), arms=True, fractions=(1.0,)), RESAMPLES)


def test_starts_of_their_own_are_mixed_with_neither_pretrained_nor_scratch(with_arms, sets):
    table, plain = with_arms.results.table, sets.results.table
    assert set(usual_starts(table)["setting"]) == set(plain.query("train_fraction == 1")["setting"])
    assert len(usual_starts(table)) < len(table)
    for dataset in sets.names:
        for cell in BOTH:
            assert set(with_arms.cell(dataset, cell)["run_id"]) == set(sets.cell(dataset, cell)["run_id"])
    ours = {one.dataset: one.estimate.effect for one in whole(with_arms)}
    assert ours == {one.dataset: one.estimate.effect for one in whole(sets)}
    left_out = set(table["run_id"]) - set(usual_starts(table)["run_id"])
    assert not left_out & set(with_arms.done["run_id"])
    assert repeated_networks(table) == repeated_networks(usual_starts(table)) != []
    assert main_setting(table, pretrained=True) in {"breast", "retina", "pneumonia"}
    found = {(claim["id"], claim["effect"]) for claim in claims.claims(with_arms.results)}
    alone = several_sets_without_arms(with_arms.results)
    assert found == {(claim["id"], claim["effect"]) for claim in claims.claims(alone)}
    assert (
        not parity.pairs(with_arms.results.records(), sets.names)
        .duplicated(["dataset", "model", "seed"])
        .any()
    )


def several_sets_without_arms(results):
    return several_sets.with_table(results, usual_starts(results.table))


def test_shuffled_weights_are_compared_with_both_and_transfer_with_scratch_and_imagenet(with_arms):
    found = {(name, one.dataset): one for name, one in arms.differences(with_arms)}
    assert len(found) == 12
    table = with_arms.results.table
    rows = table[(table["dataset"] == "breastmnist") & table["model"].isin(several_sets.PRETRAINED)]
    means = rows.groupby("setting")["test_auroc"].mean()
    for name, first, second in (
        ("scale", "breast_shuffled", "breast_scratch"),
        ("features", "breast", "breast_shuffled"),
        ("imagenet", "breast", "breast_from_another"),
    ):
        assert found[name, "breastmnist"].estimate.effect == pytest.approx(means[first] - means[second])
    assert len(found["transfer", "breastmnist"].models) == len(several_sets.NETWORKS)


def test_the_bill_of_pretraining_is_shared_over_its_uses_and_a_used_start_wins_more_often(with_arms):
    found = [one for one in arms.shared_bills(with_arms) if one.dataset == "retinamnist"]
    assert [one.uses for one in found] == [1, 10, 100]
    assert [one.n_networks for one in found] == [len(several_sets.NETWORKS)] * 3
    table = with_arms.results.table.query("setting == 'retina_from_another'")
    energy = table.groupby("model")[["energy_kwh", "init_energy_kwh"]].mean()
    for one in found:
        each = energy["energy_kwh"] + energy["init_energy_kwh"] / one.uses
        assert one.energy_wh == pytest.approx(1000 * each.median())
    gained = [one.transferred - one.scratch for one in found]
    assert gained == sorted(gained) and found[0].wins <= found[-1].wins
    told = numbers.arm_numbers(with_arms)
    assert told["sets_bill_table"]["estimate"] and "| 100 |" in told["sets_bill_table"]["text"]
    assert figures.shared_bills(arms.shared_bills(with_arms)).axes
    plt.close("all")


def test_what_was_trained_from_scratch_elsewhere_is_charged_what_the_same_network_took_transferred(with_arms):
    table = with_arms.results.table
    moved = table["setting"] == "retina_scratch"
    dearer = table["energy_kwh"].where(~moved, 7 * table["energy_kwh"])
    changed = table.assign(hardware=table["hardware"].mask(moved, "another processor"), energy_kwh=dearer)
    there = with_table(with_arms, changed)
    found = [one for one in arms.shared_bills(there) if one.dataset == "retinamnist"]
    assert [one.charged_alike for one in found] == [one.estimated for one in found] == [True] * 3
    transferred = table.query("setting == 'retina_from_another'")
    energy = transferred.groupby("model")["energy_kwh"].mean()
    paid = energy + transferred.groupby("model")["init_energy_kwh"].mean()
    rows = table[moved].groupby("model")["test_auroc"].mean()
    low, high = min(energy.min(), paid.min()), max(energy.max(), paid.max())
    expected = (rows / (1 + (energy - low) / (high - low))).mean()
    assert found[0].scratch == pytest.approx(expected)
    told = numbers.arm_numbers(there)
    assert told["sets_bill_alike"]["text"] == "RetinaMNIST"
    assert told["sets_bill_two_starts"]["value"] == arms.energy_of_two_starts(there)
    assert not any(one.charged_alike for one in arms.shared_bills(with_arms))
    assert "sets_bill_alike" not in numbers.arm_numbers(with_arms)
    longer = changed.assign(epochs=table["epochs"].mask(moved, table["epochs"] + 1))
    found = arms.shared_bills(with_table(with_arms, longer))
    assert {one.dataset for one in found} == set(with_arms.names) - {"retinamnist"}, "more epochs, more work"


def test_two_starts_of_one_network_are_as_far_apart_as_their_energies(with_arms):
    table = with_arms.results.table
    pretrained = (table["pretrained"] == True) & ~table["shuffled"].fillna(False).astype(bool)  # noqa: E712
    kwh = table.groupby(["dataset", "model"])["energy_kwh"].transform("mean")
    dearer = table.assign(energy_kwh=kwh.where(~pretrained, 1.25 * kwh))
    assert arms.energy_of_two_starts(with_table(with_arms, dearer)) == pytest.approx(0.25)
    elsewhere = dearer.assign(hardware=table["hardware"].mask(pretrained, "another processor"))
    assert np.isnan(arms.energy_of_two_starts(with_table(with_arms, elsewhere)))


def test_no_bill_is_shared_where_what_was_started_from_was_trained_on_other_hardware(with_arms):
    table = with_arms.results.table
    moved = table["setting"] == "retina_from_another"
    there = table.assign(hardware=table["hardware"].mask(moved, "another processor"))
    found = arms.shared_bills(with_table(with_arms, there))
    assert {one.dataset for one in found} == set(with_arms.names), "its sources are not in the study"
    source = table.query("setting == 'pneumonia_scratch' and model == 'dla46_c'")["run_id"].iloc[0]
    elsewhere = table["hardware"].mask(table["run_id"] == source, "another processor")
    there = table.assign(hardware=elsewhere, init_from=table["init_from"].mask(moved, source))
    found = arms.shared_bills(with_table(with_arms, there))
    assert {one.dataset for one in found} == set(with_arms.names) - {"retinamnist"}


def test_without_such_runs_nothing_is_said_of_them(sets):
    assert arms.differences(sets) == [] and arms.shared_bills(sets) == []
    assert numbers.arm_numbers(sets) == {}
    assert figures.shared_bills([]).axes
    plt.close("all")


def test_a_bill_is_of_the_seeds_that_both_starts_have(with_arms):
    table = with_arms.results.table
    first = table[table["setting"].str.endswith("_scratch") & (table["seed"] == 0)]
    first = first[first["model"] != "pca_svm"]
    more = [
        first.assign(
            seed=seed, run_id=first["run_id"] + f"-{seed}", test_auroc=0.99, hardware="another processor"
        )
        for seed in (3, 4)
    ]
    both = pd.concat([table, *(rows.astype(table.dtypes) for rows in more)], ignore_index=True)
    found = arms.shared_bills(with_table(with_arms, both))
    assert found == arms.shared_bills(with_arms) != []
    assert not any(one.charged_alike for one in found)


def with_sources(table):
    """The table, had the networks of the retina started from those of the chest, on cores of known speed."""
    sources = table.query("setting == 'pneumonia_scratch' and seed == 0").set_index("model")["run_id"]
    table = table.assign(device="cpu", speed_probe_s=0.1)
    started = table["setting"] == "retina_from_another"
    table.loc[started, "init_from"] = [sources[model] for model in table.loc[started, "model"]]
    return table, table["run_id"] == sources["resnet18d"]


def paid(table):
    """The table with what each source took in the records of those that start from it."""
    took = dict(zip(table["run_id"], table["energy_kwh"], strict=True))
    of_source = [
        took.get(source, recorded)
        for source, recorded in zip(table["init_from"].fillna("none"), table["init_energy_kwh"], strict=True)
    ]
    return table.assign(init_energy_kwh=of_source)


def of_retina(sets):
    return [one for one in arms.shared_bills(sets) if one.dataset == "retinamnist"]


def test_a_bill_is_of_the_energies_that_rank_with_the_drift_of_the_source_set_right(with_arms):
    table, source = with_sources(with_arms.results.table)
    slow = table.copy()
    slow.loc[source, ["speed_probe_s", "train_cpu_time_s"]] *= 2
    slow.loc[source, "energy_kwh"] += slow.loc[source, "energy_cpu_kwh"]
    slow.loc[source, "energy_cpu_kwh"] *= 2
    found, expected = (of_retina(with_table(with_arms, paid(one))) for one in (slow, table))
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert (one.wins, one.best, one.n_networks) == (other.wins, other.best, other.n_networks)
        assert (one.energy_wh, one.transferred, one.scratch) == pytest.approx(
            (other.energy_wh, other.transferred, other.scratch)
        )


def test_a_network_whose_source_cannot_be_ranked_has_no_bill_and_the_others_have(with_arms):
    table, source = with_sources(with_arms.results.table)
    spoiled = table.assign(contended=table["contended"] | source, device="cuda")
    found = of_retina(with_table(with_arms, paid(spoiled)))
    assert [one.n_networks for one in found] == [len(several_sets.NETWORKS) - 1] * 3
    assert all(np.isfinite([one.transferred, one.scratch, one.energy_wh]).all() for one in found)


def test_sides_that_were_trained_on_other_hardware_are_named_under_their_table(with_arms):
    table = with_arms.results.table
    names = "BreastMNIST, RetinaMNIST and PneumoniaMNIST"
    moved = table.assign(hardware=table["hardware"].mask(of_arms(table), "another processor"))
    told = numbers.arm_numbers(with_table(with_arms, moved))
    assert told["sets_shuffled_apart"]["text"] == told["sets_transfer_apart"]["text"] == names
    alone = table["hardware"].mask(table["setting"] == "retina_shuffled", "another processor")
    told = numbers.arm_numbers(with_table(with_arms, table.assign(hardware=alone)))
    assert told["sets_shuffled_apart"]["text"] == "RetinaMNIST" and "sets_transfer_apart" not in told
    assert not {"sets_shuffled_apart", "sets_transfer_apart"} & set(numbers.arm_numbers(with_arms))


def test_the_starts_of_a_set_that_ran_on_hardware_of_their_own_are_named(with_arms):
    table = with_arms.results.table
    names, first = "BreastMNIST, RetinaMNIST and PneumoniaMNIST", table["hardware"].iloc[0]
    moved = table.assign(hardware=table["hardware"].mask(of_arms(table), "another processor"))
    assert numbers.hardware_by_set(with_table(with_arms, moved)) == (
        f"{names} from ImageNet weights and from scratch ran on {first}. "
        f"{names} from shuffled weights and from another set ran on another processor."
    )


def test_transfer_from_one_training_of_each_network_is_said_to_be_that(with_arms):
    told = numbers.arm_numbers(with_arms)
    n_networks = len(several_sets.NETWORKS)
    assert told["sets_transfer_one_source"]["text"] == f"{n_networks} networks"
    table = with_arms.results.table
    several = table.assign(init_from=table["init_from"] + "-" + table["seed"].astype("string"))
    assert "sets_transfer_one_source" not in numbers.arm_numbers(with_table(with_arms, several))


def test_a_p_of_one_comparison_is_said_to_be_not_corrected(with_arms):
    told = numbers.arm_numbers(with_arms) | numbers.pretraining_numbers(with_arms)
    for key in ("sets_shuffled_table", "sets_transfer_table", "sets_pretraining_table"):
        head = told[key]["text"].splitlines()[0]
        assert "| p, not corrected |" in head and "| p |" not in head


def test_nothing_that_starts_otherwise_is_chosen_by_validation(with_arms):
    table = with_arms.results.table
    lucky = with_table(with_arms, table.assign(val_accuracy=table["val_accuracy"].mask(of_arms(table), 1.0)))
    for name in with_arms.names:
        assert lucky.chosen(name) == with_arms.chosen(name)
        found, expected = (standings.choice(of.results, RESAMPLES, name) for of in (lucky, with_arms))
        assert (found.model, found.setting) == (expected.model, expected.setting)


class CheapArms(runs.Results):
    """The same study, had its arms been run on another processor, quickly, and to nearly no error."""

    def records(self):
        for record in super().records():
            if not record.get("shuffled") and not record.get("init_from"):
                yield record
                continue
            history = [
                epoch
                | {"val_auroc": 0.999}
                | {name: epoch[name] / 1000 for name in ("train_time_s", "energy_kwh")}
                for epoch in record["history"]
            ]
            yield record | {"hardware": "another processor", "history": history}


class WithoutArms(runs.Results):
    def records(self):
        return [one for one in super().records() if not one.get("shuffled") and not one.get("init_from")]


def test_the_way_to_a_target_is_of_networks_of_one_hardware_and_of_the_usual_starts(with_arms):
    of = with_arms.results
    where = (of.profile, of.origin, of.folder)
    setting = main_setting(of.table)
    at = run_numbers.dataset_of(of.table, setting), run_numbers.hardware_of(of.table, setting)
    found, expected = (
        energy.energy_to_target(energy.of_networks(kind(*where).records(), *at), 0.5)
        for kind in (CheapArms, WithoutArms)
    )
    pd.testing.assert_frame_equal(found, expected)
    assert len(found) == 3 * (len(several_sets.NETWORKS) + len(several_sets.PRETRAINED))
    records = [{"model": "m", "dataset": "d", "hardware": hardware} for hardware in ("here", "there")]
    assert energy.of_networks(records, "d", "here") == records[:1]
    assert energy.of_networks(records) == records


def test_the_cheapest_and_the_dearest_run_are_of_the_hardware_of_most_runs(sets):
    table = sets.results.table
    moved = (table["setting"] == "breast_scratch") & (table["model"] == "dla46_c")
    there = with_table(
        sets,
        table.assign(
            hardware=table["hardware"].mask(moved, "another processor"),
            energy_kwh=table["energy_kwh"].mask(moved, 1e3),
        ),
    )
    found, expected = (run_numbers.energy_numbers(of.results, "DNK") for of in (there, sets))
    assert found["dearest_run_energy"] == expected["dearest_run_energy"]
    assert found["extreme_of"]["value"] == expected["extreme_of"]["value"] - moved.sum()


def test_the_energies_of_models_are_not_those_of_arms_on_hardware_with_as_many_networks(with_arms):
    table = with_arms.results.table
    apart = of_arms(table)
    moved = table.assign(
        hardware=table["hardware"].mask(apart, "a processor"),
        energy_kwh=table["energy_kwh"].mask(apart, 7 * table["energy_kwh"]),
    )
    expected = carbon.energy_of_models(usual_starts(table))
    assert carbon.energy_of_models(moved).to_dict() == pytest.approx(expected.to_dict())
    assert len(carbon.energy_of_models(moved[apart])) == len(several_sets.NETWORKS)


def test_a_figure_without_a_bill_does_not_say_that_nothing_started_from_another_run():
    (words,) = figures.shared_bills([]).axes[0].texts
    assert words.get_text() == "No start from another run has an energy that can be compared."
    plt.close("all")


def test_each_hardware_is_named_once_with_all_that_ran_on_it(with_arms):
    table = with_arms.results.table
    first = table["hardware"].iloc[0]
    moved = of_arms(table) | (table["dataset"] == "pneumoniamnist")
    elsewhere = table.assign(hardware=table["hardware"].mask(moved, "another processor"))
    assert numbers.hardware_by_set(with_table(with_arms, elsewhere)) == (
        f"BreastMNIST and RetinaMNIST from ImageNet weights and from scratch ran on {first}. "
        "BreastMNIST and RetinaMNIST from shuffled weights and from another set, and PneumoniaMNIST ran on "
        "another processor."
    )
    some = (table["setting"] == "retina_scratch") & (table["seed"] == 0)
    elsewhere = table.assign(hardware=table["hardware"].mask(some, "another processor"))
    assert numbers.hardware_by_set(with_table(with_arms, elsewhere)) == (
        "BreastMNIST and PneumoniaMNIST, and RetinaMNIST from ImageNet weights, from scratch (in part), "
        f"from shuffled weights and from another set ran on {first}. "
        "RetinaMNIST from scratch (in part) ran on another processor."
    )
    assert numbers.hardware_by_set(with_arms) == ""
