"""The chapters on medical images read well with any whole part of that study, as it is shipped or run."""

import json
import re
from pathlib import Path

import pytest
import several_sets

from pepr import runs
from pepr.analysis import peaks, pipeline, standings
from pepr.book import build, prose, study_facts
from pepr.display.numbers import UNKNOWN
from pepr.study import verification

ROOT = Path(__file__).parents[2]
CHAPTERS = ("medical", "medical-sets", "index", "data")
NO_WORD = re.compile(r"\b[Nn]a[Nn]\b|nan%|\bNone\b|\binf\b")
PARTS = {
    "what_fits_a_quarter_of_an_hour": {"sets": ("breastmnist",), "starts": (True,), "fractions": (1.0,)},
    "one_whole_set": {"sets": ("breastmnist",)},
    "two_whole_sets": {"sets": ("breastmnist", "retinamnist"), "arms": True},
}
RESAMPLES = 30


@pytest.fixture(scope="module", params=list(PARTS))
def shipped(request, tmp_path_factory):
    """A part of the study, packed as a reference is, and the numbers that its notebooks make."""
    root = tmp_path_factory.mktemp(request.param)
    own = several_sets.write(root / "own", seeds=(0, 1, 2), **PARTS[request.param])
    folder = root / "reference" / "medical"
    runs.write_reference(own, folder)
    results = runs.Results("medical", "reference", folder)
    found = pipeline.Analysis(results)
    found.__dict__["drawn"] = peaks.drawn_scores(results, n_resamples=RESAMPLES)
    found.__dict__["standings"] = standings.standings(results, n_resamples=RESAMPLES)
    found.__dict__["standings_by_accuracy"] = standings.standings(results, "accuracy", RESAMPLES)
    found.__dict__["choices"] = standings.choices(results, n_resamples=RESAMPLES)
    numbers = {}
    for stage in pipeline.STAGES:
        numbers |= found.numbers(stage)
    return request.param, results, numbers


def test_every_number_that_the_chapters_quote_is_known(shipped):
    part, _, numbers = shipped
    for name in CHAPTERS:
        text = prose.chapter((ROOT / "book" / f"{name}.md").read_text(), {"medical": numbers})
        assert "<!-- if" not in text and "results that are not at hand" not in text
        for key in re.findall(r"\{\{ medical\.(\w+) \}\}", text):
            assert key in numbers, f"{name} quotes {key}, which is not made of {part}"
            assert numbers[key]["text"] != UNKNOWN, f"{name} quotes {key}, which is not known of {part}"
            assert not NO_WORD.search(numbers[key]["text"]), f"{name}: {key} is {numbers[key]['text']!r}"


def test_each_part_says_what_it_can_and_no_more(shipped):
    part, results, numbers = shipped
    datasets = results.table["dataset"].nunique()
    assert numbers["sets"]["value"] == datasets
    assert ("sets_agreement_table" in numbers) == (datasets > 1)
    assert ("sets_pretraining_table" in numbers) == (part != "what_fits_a_quarter_of_an_hour")
    assert ("sets_grades_table" in numbers) == (datasets > 1)
    assert ("sets_bill_table" in numbers) == (part == "two_whole_sets")
    text = prose.chapter((ROOT / "book" / "medical.md").read_text(), {"medical": numbers})
    assert "They ran on {{ medical.hardware }}." in text and "several kinds of hardware" not in text


def test_a_part_holds_by_verify_and_its_records_are_offered(shipped, monkeypatch):
    _, results, _ = shipped
    done = verification.verify(str(results.folder))
    assert done.holds and done.compared["records"] == len(results.table), done.report()
    monkeypatch.setattr(study_facts, "find_results", lambda name: results)
    lines = study_facts.record_files(["medical"])["book/_records/medical-records.jsonl"].decode().splitlines()
    assert len(lines) == len(results.table)
    assert "records" in study_facts.provenance("medical")


def test_a_profile_of_several_sets_has_a_page_across_them_whatever_of_it_was_run():
    assert study_facts.of_several_sets(["pocket", "medical"]) == ["medical"]
    pages = build.pages_of(["pocket", "medical"], study_facts.of_several_sets(["pocket", "medical"]))
    paths = [page.path for page in pages]
    assert "notebooks/medical/07_sets.ipynb" in paths and "notebooks/07_sets.ipynb" not in paths


def test_the_size_of_images_was_tried_from_imagenet_weights_alone_as_the_chapter_says():
    trials = json.loads((ROOT / "benchmarks" / "medical_trial.json").read_text())["trials"]
    enlarged = [one for one in trials if one["size"] == 64 and one["fraction"] == 1.0]
    assert {(one["start"], one["model"]) for one in enlarged} == {("pt", "mobilenetv2_100")}
    assert "That network had ImageNet weights" in (ROOT / "book" / "medical-sets.md").read_text()


def test_the_readme_names_a_part_of_the_medical_study_that_is_small():
    assert "make reproduce PROFILE=medical SETTINGS=breast" in (ROOT / "README.md").read_text()
