"""Signal in a ranking, ways of choosing, and pretraining: on tables whose answers are known beforehand."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recordings import needs_history, needs_tables

from pepr import published, stats
from pepr.display.numbers import KEY
from pepr.models.space import family_of
from pepr.published import (
    history,
    pretraining,
    ranking_figures,
    reliability,
    reproduction,
    strategies,
    versions as published_versions,
)
from pepr.published.claims import margins_of
from pepr.published.tables import SETTINGS, TEST_COLUMNS

N = 2000


def runs(accuracies: np.ndarray, energy: np.ndarray | None = None, setting: str = "lidc") -> pd.DataFrame:
    """Runs with accuracies [models, 10] after each epoch."""
    count = len(accuracies)
    table = pd.DataFrame(dict(zip(TEST_COLUMNS, accuracies.T, strict=True)))
    time = np.linspace(1.0, 2.0, count)
    table = table.assign(model=[f"m{i}" for i in range(count)], dataset=setting, train_time=time)
    return table.assign(energy=time if energy is None else energy, num_param=np.arange(1, count + 1) * 1e6)


def noisy(models: int, spread: float, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = 0.8 + rng.normal(0, spread, (models, 1))
    return np.round((level + rng.normal(0, noise, (models, 10))) * N) / N


def test_the_parts_of_a_variance_are_those_that_made_it():
    spread, noise = 0.03, 0.02
    parts = reliability.variance_parts(runs(noisy(4000, spread, noise)), N)
    images = 0.8 * 0.2 / N
    assert parts["share_epoch"] == pytest.approx(noise**2 / (spread**2 + noise**2), abs=0.05)
    assert parts["share_images"] == pytest.approx(images / (spread**2 + noise**2), abs=0.02)
    assert parts["epoch_points"] == pytest.approx(2.0, abs=0.1)


def test_a_few_failed_runs_do_not_make_the_parts():
    values = noisy(200, 0.03, 0.01)
    values[:6, -1] = 0.1
    clean, failed = (reliability.variance_parts(runs(v), N) for v in (noisy(200, 0.03, 0.01), values))
    assert failed["share_epoch"] == pytest.approx(clean["share_epoch"], abs=0.05)


def test_confidence_sets_of_ranks_hold_the_true_ranks():
    rng = np.random.default_rng(1)
    level = np.linspace(0.7, 0.9, 12)
    held = 0
    for _ in range(100):
        last, before = (rng.binomial(N, level) / N for _ in range(2))
        values = np.tile(before[:, None], (1, 10))
        values[:, -1] = last
        sets = reliability.rank_sets(runs(values), N)
        true = np.array([12 - int(model[1:]) for model in sets.models])
        held += ((sets.low <= true) & (true <= sets.high)).sum()
    assert held / 1200 >= 0.95
    assert 1 <= sets.best < 12


def test_equal_models_may_all_be_the_best_and_a_far_better_one_alone():
    same = np.full((10, 10), 0.8)
    assert reliability.rank_sets(runs(same), N).best == 10
    same[3] = 0.95
    assert reliability.rank_sets(runs(same), N).best == 1


def test_a_winner_among_equals_looks_better_than_it_is_and_a_clear_one_does_not():
    equal = np.full((50, 10), 0.8)
    assert reliability.optimism(runs(equal), N) == pytest.approx(
        100 * 2 * 2.25 * np.sqrt(0.8 * 0.2 / N), rel=0.1
    ), "the largest of fifty normal deviates is 2.25 on average; the other half deviates as far back"
    clear = np.vstack([np.full((1, 10), 0.95), np.full((1, 10), 0.5)])
    assert abs(reliability.optimism(runs(clear), N)) < 0.1


def test_halves_add_to_the_whole():
    first, second = reliability.halves(np.array([0.25, 0.9]), 100, 50, np.random.default_rng(0))
    assert np.allclose((first + second) * 50, np.array([25, 90]))


def game(models: int = 30) -> strategies.Game:
    """A game whose best model is the dearest one."""
    level = np.linspace(0.6, 0.9, models)
    table = runs(np.tile(level[:, None], (1, 10)), np.linspace(1, 10, models))
    return strategies.game_of(
        table, "lidc", 100_000, pd.Series(dict(zip(table["model"], level, strict=True)))
    )


def test_every_way_of_choosing_pays_for_what_it_trains():
    played = game()
    total = played.energy.sum()
    chosen, paid = strategies.full_sweep(played)
    assert (chosen == 29).all() and paid == pytest.approx(total)
    chosen, paid = strategies.cheapest(played)
    assert (chosen == 0).all() and paid == pytest.approx(1.0)
    assert (strategies.best_on_imagenet(played)[0] == 29).all()
    chosen, paid = strategies.cheapest_third(played)
    assert (chosen == 9).all() and paid == pytest.approx(played.energy[:10].sum())
    chosen, paid = strategies.successive_halving(played)
    kept = played.energy[20:].sum() * 2 / 10 + played.energy[27:].sum() * 7 / 10
    assert (chosen == 29).all() and paid == pytest.approx(total / 10 + kept)


def test_random_cheap_models_are_different_and_cheap():
    chosen, paid = strategies.random_cheap(10)(game())
    assert (chosen == 9).all(), "ten of ten cheap ones are all of them"
    chosen, paid = strategies.random_cheap(1)(game())
    assert set(chosen) == set(range(10)) and (paid <= game().energy[9]).all()


def test_what_is_known_from_elsewhere_leaves_the_data_set_itself_out():
    parts = [runs(np.full((2, 10), 0.5), setting=name) for name in SETTINGS]
    for part, better in zip(parts, (0, 0, 0, 0, 1, 1, 1, 1), strict=True):
        part.loc[better, TEST_COLUMNS[-1]] = 0.9
    table = pd.concat(parts, ignore_index=True)
    models = pd.Series(["m0", "m1"])
    assert strategies.ranks_elsewhere(table, "derma")[models].argmin() == 1
    assert strategies.ranks_elsewhere(table, "lidc")[models].tolist() == [1.4, 1.6], "three of five for m0"


def test_a_second_of_a_family_waits_until_every_family_had_its_turn():
    rank = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    family = np.array(["a", "a", "b", "a", "b"])
    assert strategies.trial_order(rank, family).tolist() == [0, 2, 1, 4, 3]


def test_the_epoch_in_which_a_pretrained_run_passes():
    scratch = np.array([[0.1, 0.5], [0.1, 0.5], [0.1, 0.5]])
    ours = np.array([[0.6, 0.4], [0.5, 0.6], [0.2, 0.5]])
    assert pretraining.passing_epoch(ours, scratch).tolist() == [1, 2, np.inf], "equal is not above"


def three_settings() -> pd.DataFrame:
    level = {"derma": 0.7, "derma_pt": 0.8, "derma_small": 0.69}
    parts = [runs(np.full((8, 10), value), setting=name) for name, value in level.items()]
    return pd.concat(parts, ignore_index=True)


def test_pretraining_is_compared_model_by_model():
    found = pretraining.curves(three_settings())
    shares = pretraining.shares_above(found).set_index(["data", "epoch"])["share"]
    assert shares["all", 1] == 1 and shares["tenth", 10] == 0
    groups = pretraining.tenth_by_size(found, 2)
    assert groups["models"].tolist() == [4, 4] and np.allclose(groups["points"], -1.0)


def twins(models: list[str], pretrained: np.ndarray) -> pretraining.Curves:
    """Runs [models, 10] beside twins from scratch that end at 0.5."""
    scratch = np.full(pretrained.shape, 0.5)
    return pretraining.Curves(models, np.arange(1.0, 1 + len(models)), scratch, pretrained, pretrained)


def test_a_run_that_falls_back_below_its_end_from_scratch_is_not_above_it_any_more():
    fallen = np.full((4, 10), 0.4)
    fallen[:, 0] = 0.6
    shares = pretraining.shares_above(twins(["m0", "m1", "m2", "m3"], fallen)).set_index(["data", "epoch"])
    assert shares.loc[("all", 1), "share"] == 1 and shares.loc[("all", 10), "share"] == 0


def test_the_share_of_models_does_not_take_siblings_for_independent():
    of_two = ["dla34", "dla60", "vgg11", "vgg13", "dpn68", "dpn92", "resnet18d", "resnet26d"]
    of_two += ["densenet121", "densenet169", "xception41", "xception65p", "selecsls42b", "selecsls60b"]
    above = np.repeat([1, 1, 0, 0, 0, 0, 0], 2)
    curves = np.repeat(np.where(above, 0.6, 0.4)[:, None], 10, axis=1)
    row = pretraining.shares_above(twins(of_two, curves)).iloc[0]
    by_family = stats.mean_interval(above[::2]).within(0.0, 1.0)
    assert (row["share"], row["low"], row["high"]) == pytest.approx(
        (by_family.estimate, by_family.low, by_family.high)
    )
    alone = stats.wilson_interval(4, 14)
    assert row["high"] - row["low"] > 1.3 * (alone.high - alone.low)
    agreed = pretraining.shares_above(twins(of_two, np.full((14, 10), 0.6))).iloc[0]
    seven = stats.wilson_interval(7, 7)
    assert (agreed["low"], agreed["high"]) == pytest.approx((seven.low, seven.high))


def test_the_uses_after_which_pretraining_has_paid_are_images_times_epochs():
    bill = pretraining.bill(three_settings(), 90)
    expected = pretraining.IMAGENET_IMAGES * 90 / (7007 * 9)
    assert np.allclose(bill["uses"], expected), "passing in the first of ten epochs saves nine"


@pytest.fixture(scope="module")
def chapter():
    tables = published.load()
    versions = published_versions.of(tables)
    n_test = reliability.test_images(tables.results)
    own = reproduction.imagenet(tables).set_index("model")["own_top1"]
    found = pretraining.curves(versions.best)
    return {
        "signal": reliability.reliability(versions.best, n_test),
        "played": (played := strategies.play(versions.best, n_test, own)),
        "choosing": strategies.over_settings(played),
        "margins": margins_of(tables.results),
        "shares": pretraining.shares_above(found),
        "by_size": pretraining.tenth_by_size(found, 2),
        "table": versions.best,
    }


def numbers_of(chapter):
    return (
        reliability.numbers(chapter["signal"])
        | strategies.numbers(chapter["choosing"])
        | strategies.first_numbers(chapter["played"], chapter["margins"])
        | pretraining.numbers(chapter["shares"], chapter["by_size"], chapter["table"])
    )


@needs_tables
def test_the_authors_rankings_are_as_sure_as_was_seen_before(chapter):
    rows = chapter["signal"].set_index("setting")
    assert rows.loc["pneumonia", "accuracy_epochs"] == pytest.approx(0.14, abs=0.01)
    assert rows.loc["lidc", "accuracy_epochs"] == pytest.approx(0.50, abs=0.01)
    assert rows.loc["lidc", "top_ten"] == 0
    assert rows.loc["derma_pt", "accuracy_epochs"] == pytest.approx(0.88, abs=0.02)
    assert rows["pepr_t_epochs"].between(0.84, 0.98).all()


@needs_tables
def test_whatever_is_said_over_models_does_not_take_siblings_for_independent(chapter):
    for row in chapter["signal"].itertuples():
        group = chapter["table"].query("dataset == @row.setting")
        before, last = group[TEST_COLUMNS[-2]], group[TEST_COLUMNS[-1]]
        found = stats.rank_correlation(before, last, clusters=family_of(group["model"]))
        assert (row.accuracy_epochs_low, row.accuracy_epochs_high) == (found.low, found.high)


@needs_tables
def test_trying_some_cheap_models_costs_little(chapter):
    rows = chapter["choosing"].set_index("strategy")
    ten = rows.loc["10 random cheap"]
    assert ten["lost_mean"] < 1.2 and ten["energy_share_mean"] == pytest.approx(0.03, abs=0.005)
    assert rows.loc["best on ImageNet", "lost_mean"] > 4 < rows.loc["cheapest alone", "lost_mean"]


def test_the_way_to_begin_with_loses_within_the_margin_most_often_for_the_least_energy():
    lost = {
        "full sweep": (0, 0),
        "10 random cheap": (0.9, 1.0),
        "3 cheap by family": (0.9, 4),
        "cheapest third": (0, 0),
    }
    energy = {"full sweep": 1.0, "10 random cheap": 0.03, "3 cheap by family": 0.01, "cheapest third": 0.1}
    played = pd.DataFrame(
        [
            {"strategy": way, "setting": setting, "lost": points, "energy_share": energy[way]}
            for way, both in lost.items()
            for setting, points in zip(("a", "b"), both, strict=True)
        ]
    )
    numbers = strategies.first_numbers(played, {"a": 0.01, "b": 0.01})
    assert numbers["choosing_first_way"]["value"] == "10 random cheap"
    assert numbers["choosing_first_within"]["text"] == "2 of 2" and numbers["choosing_ways"]["value"] == 4
    assert numbers["choosing_first_range"]["text"] == "+0.9 to +1.0"
    tight = strategies.first_numbers(played, {"a": 0.001, "b": 0.001})
    assert tight["choosing_first_way"]["value"] == "cheapest third"


def test_every_way_of_choosing_can_be_said():
    words = {strategies.way_words(way) for way in strategies.STRATEGIES}
    assert len(words) == len(strategies.STRATEGIES)
    assert strategies.way_words("10 random cheap").startswith("training 10 models drawn at random")


@needs_tables
def test_the_front_page_names_a_way_that_trains_a_part_of_the_models(chapter):
    numbers = strategies.first_numbers(chapter["played"], chapter["margins"])
    assert numbers["choosing_first_energy"]["value"] < 0.5
    within = chapter["played"]["lost"] <= 100 * chapter["played"]["setting"].map(chapter["margins"])
    most = within.groupby(chapter["played"]["strategy"]).sum().drop(["full sweep", "PePR winner"]).max()
    assert numbers["choosing_first_within"]["value"] == most


@needs_history
def test_the_committed_expectations_are_those_of_a_refit(chapter):
    again = strategies.expectations(chapter["choosing"])
    pd.testing.assert_frame_equal(again, strategies.committed_expectations(), atol=1e-3)


@needs_tables
def test_pretraining_passes_at_once_and_a_tenth_suits_small_models(chapter):
    first = chapter["shares"].query("data == 'all' and epoch == 1")["share"].iloc[0]
    assert first == pytest.approx(0.76, abs=0.03)
    small, large = chapter["by_size"]["points"]
    assert small > -1.5 and large < -4.5


@needs_tables
def test_the_chapters_figures_and_numbers_can_be_made(chapter):
    import matplotlib.pyplot as plt

    for narrow in (False, True):
        ranking_figures.signal(chapter["signal"], narrow=narrow)
        ranking_figures.choosing(chapter["choosing"], narrow=narrow)
        ranking_figures.pretraining(chapter["shares"], chapter["by_size"], narrow=narrow)
    plt.close("all")
    numbers = numbers_of(chapter)
    assert all(entry["text"].strip() for entry in numbers.values())


@needs_history
def test_every_number_of_the_chapters_exists(chapter):
    from pepr.published import claims, origins
    from pepr.published.audit import audit_published
    from pepr.published.history_numbers import history_numbers

    tables = published.load()
    recorded = history.load(tables.results)
    runs = published_versions.versions(tables.results, recorded)
    findings = audit_published(tables, recorded)
    numbers = history_numbers(
        tables,
        runs,
        recorded,
        findings,
        origins.against_history(findings, recorded, tables.results),
        history.noise_floor(history.repeats(recorded)),
        claims.claims(runs),
    ) | numbers_of(chapter)
    assert all(KEY.fullmatch(key) and entry["text"].strip() for key, entry in numbers.items())
    prefixes = (
        "history_",
        "check_",
        "floor_",
        "edition_",
        "best_history",
        "claims_history",
        "signal_",
        "choosing_",
        "passing_",
        "tenth_scratch",
        "bill_",
        "imagenet_images",
    )
    book = Path(__file__).parents[2] / "book"
    for name in ("history", "how-to-read", "signal", "choosing-cost", "pretraining", "report-to-the-authors"):
        used = set(re.findall(r"published\.(\w+)", (book / f"{name}.md").read_text()))
        used = {key for key in used if key.startswith(prefixes)}
        assert used and used <= set(numbers), (name, used - set(numbers))
