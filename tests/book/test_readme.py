"""What the book and the README say of the study follows from its results."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from pepr import study
from pepr.book import readme, study_facts
from pepr.errors import InputError
from pepr.runs.results import Results, reference_folder

ROOT = Path(__file__).parents[2]
REFERENCE = reference_folder("pocket")


def test_the_settings_table_counts_models_seeds_and_runs(synthetic_results):
    table = synthetic_results.table
    rows = study_facts.settings_table(table).splitlines()
    trained = f"{table['image_size'].iloc[0]} | {table['epochs'].max()}"
    assert rows[2] == f"| `elpv` | random weights | 1,574 (100%) | {trained} | 11 | 3 | 13 |"
    assert rows[4] == f"| `elpv_pt_small` | ImageNet weights | 157 (10%) | {trained} | 1 | 3 | 3 |"


def test_the_settings_table_says_what_a_run_starts_from_and_counts_no_epochs_of_baselines(synthetic_results):
    first = synthetic_results.table.query("status == 'ok'").head(1).assign(pretrained=True, epochs=7)
    baseline = first.assign(model="pca_svm", epochs=1)
    for values, words in (
        ({}, "ImageNet weights"),
        ({"shuffled": True}, "ImageNet weights, shuffled"),
        ({"pretrained": False, "init_from": "another"}, "another run's network"),
    ):
        (row,) = study_facts.settings_table(pd.concat([first, baseline]).assign(**values)).splitlines()[2:]
        assert row.split(" | ")[1] == words and row.split(" | ")[4] == "7"


def test_the_recipe_is_read_from_the_runs(synthetic_results):
    assert "learning rate of 0.0005, batches of 32 images" in study_facts.recipe(synthetic_results.table)


def test_a_profile_without_a_shipped_reference_is_said_to_have_none():
    said = study_facts.never_run()
    for profile in study_facts.PROFILES:
        at_hand = (reference_folder(profile) / "results.csv").exists()
        assert (f"`{profile}`" in said.split(".")[0]) == (not at_hand)


def test_a_profile_of_which_a_part_is_shipped_is_said_to_be_shipped_in_part(monkeypatch):
    whole = Results("pocket", "reference", reference_folder("pocket"))
    monkeypatch.setattr(study_facts, "PROFILES", ("pocket",))
    assert "pocket" not in study_facts.never_run()
    part = whole.table[(whole.table["setting"] == "elpv") & (whole.table["seed"] == 0)]
    monkeypatch.setattr(study_facts, "Results", lambda *_: SimpleNamespace(table=part))
    asked = study.grid(study.load("pocket"))
    n = sum(spec.run_id in set(part["run_id"]) for spec in asked)
    assert (
        f"Of `pocket` it ships {n} of {len(asked)} runs, in the settings `elpv`." in study_facts.never_run()
    )


def test_the_readme_block_quotes_numbers_and_marks_estimates(synthetic_results):
    block = readme.readme_block(synthetic_results)
    assert "simulated CPU, 2 cores" in block
    assert "(estimated)" in block
    assert "with `SEEDS=0,1,2`: 24 runs" in block
    assert not re.search(r"[{}]", block)


def test_the_readme_says_as_much_of_pretrained_models_as_of_those_from_scratch(synthetic_results):
    block = readme.readme_block(synthetic_results)
    for words in ("From scratch", "From ImageNet weights"):
        assert f"- **{words}**: of " in block
    assert block.count("of the draws: ") == 2 and block.count("better than a coin") == 2
    assert readme.start_words({"scratch_standing": "too few"}, "scratch") == "too few"


def test_a_run_of_a_baseline_that_repeats_one_of_other_weights_is_counted():
    same = {"model": "pca_svm", "dataset": "elpv", "train_fraction": 1.0, "seed": 0}
    rows = [same, same, same | {"seed": 1}, same | {"model": "resnet18d"}, same | {"model": "resnet18d"}]
    said = readme.baselines_again(pd.DataFrame(rows))
    assert said.startswith(" Of the 3 runs of baselines 1 repeat")
    assert readme.baselines_again(pd.DataFrame(rows[1:3])) == ""


def test_the_readme_keeps_everything_outside_its_markers():
    text = f"Before.\n{readme.README_START}\nold\n{readme.README_END}\nAfter.\n"
    assert readme.render_readme(text, "new").splitlines() == [
        "Before.",
        readme.README_START,
        "",
        "new",
        readme.README_END,
        "After.",
    ]


def test_a_readme_without_markers_is_refused():
    with pytest.raises(InputError, match="markers"):
        readme.render_readme("Nothing.", "new")


@pytest.mark.skipif(not (REFERENCE / "results.csv").exists(), reason="this copy ships no reference runs")
def test_the_committed_readme_says_what_the_shipped_reference_says():
    text = (ROOT / "README.md").read_text()
    block = readme.readme_block(Results("pocket", "reference", REFERENCE))
    assert readme.render_readme(text, block) == text


@pytest.mark.skipif(not (REFERENCE / "results.csv").exists(), reason="this copy ships no reference runs")
def test_the_committed_figure_of_the_readme_is_that_of_the_shipped_reference(tmp_path):
    readme.draw_figure(Results("pocket", "reference", REFERENCE), tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_bytes() == (ROOT / readme.FIGURE).read_bytes()
    assert f"]({readme.FIGURE})" in (ROOT / "README.md").read_text()


def test_the_example_of_the_readme_has_five_lines_and_prints_a_table():
    assert len([line for line in readme.EXAMPLE.splitlines() if line]) == 5
    assert readme.example_output().split()[:2] == ["model", "performance"]


def test_the_readme_says_where_the_book_is_and_its_sentences_begin_with_a_capital():
    text = (ROOT / "README.md").read_text()
    assert "- **A book** in `_build/html/index.html`" in text
    told = text.split("## What you get")[1].split("<!--")[0]
    for bullet in re.split(r"^- ", told, flags=re.MULTILINE)[1:]:
        assert not re.search(r"\. [a-z]", " ".join(bullet.split())), bullet


@pytest.mark.parametrize("page", ["README.md", "book/data.md", "book/extending.md"])
def test_a_page_that_names_the_folder_of_data_says_how_to_name_it(page):
    assert "`export PEPR_DATA=" in (ROOT / page).read_text()
