"""The paper from its tables: scores to the last digit, corrections, claims and figures."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import recordings
from recordings import needs_tables

from pepr import published
from pepr.display.numbers import KEY
from pepr.models import space
from pepr.published import (
    claims as published_claims,
    figures,
    numbers as published_numbers,
    reproduction,
    tables as published_tables,
    versions,
)
from pepr.published.families import median_parameters
from pepr.verdicts import VERDICTS

KEYS = ("claim", "test", "n", "effect", "low", "high", "p", "verdict", "verdict_corrected", "basis")


@pytest.fixture(scope="module")
def tables() -> published.Published:
    return recordings.tables()


@pytest.fixture(scope="module")
def runs(tables) -> versions.Versions:
    return versions.versions(tables.results)


@pytest.fixture(scope="module")
def claims(runs) -> list[dict]:
    return published_claims.claims(runs)


def test_every_published_score_comes_back(tables):
    differences = reproduction.score_differences(tables.results)
    assert differences["rows"].sum() == 1048
    assert differences.drop(columns=["setting", "rows"]).to_numpy().max() < 1e-12


@needs_tables
def test_pepr_score_gives_back_the_published_scores(tmp_path):
    import io

    from pepr.tables.scoring import score_table

    output = io.StringIO()
    path = published.find_table("full_data_pepr_dataset_level")
    score_table(path, output, "test_09", ["energy", "train_time"], ["dataset"], as_json=True)
    rows = pd.DataFrame(json.loads(output.getvalue()))
    assert len(rows) == 1048
    assert np.abs(rows["pepr_energy"] - rows["pepr_e"]).max() < 1e-12
    assert np.abs(rows["pepr_train_time"] - rows["pepr_t"]).max() < 1e-12


def test_the_top_five_are_the_authors(runs):
    best = reproduction.best_models(runs.published)
    for setting, names in reproduction.AUTHORS_TOP_FIVE.items():
        group = best[best["setting"] == setting]
        assert tuple(group["model"][:5]) == names
    accurate = best[best["place"] == "most accurate"].set_index("setting")
    differ = [s for s, name in reproduction.AUTHORS_MOST_ACCURATE.items() if accurate.loc[s, "model"] != name]
    theirs = runs.published.set_index(["dataset", "model"])["test_09"]
    assert all(
        theirs[s, reproduction.AUTHORS_MOST_ACCURATE[s]] == accurate.loc[s, "accuracy"] for s in differ
    )


def test_both_t_tests_are_significant_as_in_the_paper(runs):
    assert (reproduction.t_tests(runs.published)["p_unpaired"] < 0.001).all()


def test_corrections_leave_accuracies_alone_and_mark_estimates(runs):
    assert len(runs.dropped) + len(runs.corrected) == len(runs.published) == 1048
    merged = runs.corrected.merge(runs.published, on=["model", "dataset"], suffixes=("", "_published"))
    assert (merged["test_09"] == merged["test_09_published"]).all()
    changed = merged["energy"] != merged["energy_published"]
    assert (changed == (merged["energy_kind"] == "estimated")).all() and changed.sum() == len(runs.replaced)
    assert not runs.corrected["energy"].duplicated().any()


def test_estimates_lie_near_the_energies_that_are_known(runs):
    assert (runs.lines["median_error"] < 0.05).all()
    assert runs.lines["slope_w"].between(580, 610).all()


def test_corrected_powers_are_possible(runs):
    power = runs.corrected["energy"] * 3.6e6 / (10 * runs.corrected["train_time"])
    assert power.max() < 835


def test_the_curve_peaks_at_the_best_score(runs):
    for peak in reproduction.peaks(runs):
        assert peak.score == pytest.approx(peak.curve.score.max(), abs=1e-15)
        assert 0 <= peak.low <= peak.high <= 1 and 0 < peak.probability <= 1


def test_sensitivity_counts_ranks(runs):
    rows = reproduction.sensitivity(runs)
    same = rows[
        (rows["setting"] == "derma") & (rows["normalisation"] == "min-max") & (rows["table"] == "corrected")
    ]
    assert 0.999 < same["spearman"].item() <= 1, "energies of runs of equal length become estimates"
    small = rows[(rows["setting"] == "lidc_small") & (rows["normalisation"] == "min-max")]
    assert (small["spearman"] < 0.8).all()


def test_imagenet_scores_come_back_and_own_entries_differ(tables):
    table = reproduction.imagenet(tables)
    assert np.abs(table["pepr_m"] - table["pepr_m_recomputed"]).max() < 1e-12
    assert table["joined_wrongly"].sum() == 23


def test_publications_follow_the_tables(tables):
    rates = reproduction.publications(tables).set_index(["region", "year"])
    region = tables.regions_2023[tables.regions_2023["Region_updated"] == "South Asia"]
    assert rates.loc[("South Asia", 2023), "published"] == pytest.approx(
        region["num_papers"].sum() / region["pop"].sum() * 1e6
    )
    assert (
        rates.loc[("Northern Europe", 2023), "corrected"] < rates.loc[("Northern Europe", 2023), "published"]
    )


def test_every_claim_has_a_verdict_on_both_tables(claims):
    assert len({claim["id"] for claim in claims}) == len(claims) >= 25
    for claim in claims:
        assert (
            set(KEYS) <= set(claim)
            and claim["verdict"] in VERDICTS
            and claim["verdict_corrected"] in VERDICTS
        )
        for suffix in ("", "_corrected"):
            effect, low, high = (claim[f"{name}{suffix}"] for name in ("effect", "low", "high"))
            if effect is None:
                assert claim[f"test{suffix}"].startswith(published_claims.NO_AVERAGE)
            else:
                assert low <= effect <= high
    json.dumps(claims, allow_nan=False)


def test_the_claims_that_matter(claims):
    verdicts = {claim["id"]: (claim["verdict"], claim["verdict_corrected"]) for claim in claims}
    assert verdicts["pretraining_better"] == ("supported", "supported")
    assert verdicts["tenth_enough_derma"] == ("not_supported", "not_supported")
    assert verdicts["e_and_t_differ"] == ("undecided", "not_supported")


def test_small_is_up_to_the_median_of_the_models(tables):
    assert median_parameters() == tables.models["num_param"].median()


def test_families_group_models_that_are_alike(tables):
    families = dict(
        zip(published.load().models["model"], space.family_of(published.load().models["model"]), strict=True)
    )
    assert families["dpn68"] == families["dpn131"] != families["dla34"] == families["dla102x2"]
    assert 15 < len(set(families.values())) < 80


def test_numbers_have_words_and_every_number_of_the_chapters_exists(tables, runs, claims):
    import re
    from pathlib import Path

    from pepr.book.prose import CONDITION
    from pepr.published.audit import audit_published

    stability = reproduction.winner_stability(reproduction.winners(runs))
    numbers = published_numbers.published_numbers(
        tables,
        runs,
        audit_published(tables),
        claims,
        reproduction.peaks(runs),
        reproduction.sensitivity(runs),
        stability,
    )
    assert all(KEY.fullmatch(key) and entry["text"].strip() for key, entry in numbers.items())
    assert not any(isinstance(e["value"], float) and math.isnan(e["value"]) for e in numbers.values())
    assert numbers["complete_models"]["value"] == 131 - runs.dropped["model"].nunique() < 131
    book = Path(__file__).parents[2] / "book"
    for name in ("paper-reproduced", "audit", "what-changes", "report-to-the-authors"):
        always = CONDITION.sub("", (book / f"{name}.md").read_text())
        used = set(re.findall(r"{{ published\.(\w+) }}", always))
        assert used and used <= set(numbers), name


def test_every_figure_can_be_drawn(tables, runs, claims):
    import matplotlib.pyplot as plt

    means = reproduction.model_means(runs.published)
    drawn = [
        figures.publications_per_capita(reproduction.publications(tables)),
        figures.model_space(means, reproduction.drawn_labels(tables, means)),
        figures.violins(runs.corrected),
        figures.accuracy_and_score(means),
        figures.by_data_set(runs.corrected),
        figures.by_data_set(runs.corrected, narrow=True),
        figures.other_scores(means),
        figures.imagenet(reproduction.imagenet(tables)),
        figures.energy_time_lines(runs),
        figures.implied_power(runs.published, 350, 835),
        figures.curves(reproduction.peaks(runs)),
        figures.rank_sensitivity(reproduction.sensitivity(runs)),
        figures.claims(claims),
    ]
    assert all(figure.axes and figure.axes[0].has_data() for figure in drawn)
    plt.close("all")


def test_an_interval_of_an_equivalence_says_that_it_is_one_of_90_percent(claims):
    for claim in claims:
        words = published_numbers.effect_words(claim, "_corrected")
        if claim["effect_corrected"] is not None:
            assert ("(90%: " in words) == (claim["margin"] is not None), claim["id"]


def test_the_front_page_has_every_setting_with_its_verdict_and_counts_those_where_small_is_worse(
    runs, claims
):
    quoted = published_numbers.size_numbers(claims)
    rows = quoted["small_by_setting"]["text"].splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(published_tables.SETTINGS)
    of_id = {claim["id"]: claim for claim in claims}
    found = [of_id[f"small_as_good_in_{name}"] for name in published_tables.SETTINGS]
    assert all(
        row.endswith(f"| {VERDICTS[claim['verdict_corrected']]} |")
        for row, claim in zip(rows, found, strict=True)
    )
    cells = [row.split(" | ") for row in rows]
    assert [row[1] for row in cells] == ["ImageNet", "scratch", *["ImageNet"] * 6]
    assert [row[2] for row in cells[:4]] == ["7,007 (100%)", "7,007 (100%)", "700 (10%)", "70 (1%)"]
    worse = sum(claim["high_corrected"] < 0 for claim in found)
    assert quoted["small_worse_settings"]["text"] == f"{worse} of {len(found)} settings"


def test_energy_that_was_put_in_as_a_line_in_time_is_said_beside_its_correlation_with_time(runs):
    quoted = published_numbers.by_construction(runs)
    estimated = (runs.corrected["energy_kind"] == "estimated").mean()
    assert quoted["corrected_by_time_share"]["value"] == estimated > 0.3
    assert 0.9 < quoted["e_and_t_reduced"]["value"] < 1
