"""A study of which little is left makes no page say more than its table: every chapter and figure is read."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from degenerate_studies import EDITS, write_degenerate

from pepr import analysis
from pepr.analysis import energy, energy_figures, figures, peaks, pipeline, standings
from pepr.book import build, prose, study_facts
from pepr.display import marks
from pepr.display.numbers import UNKNOWN

mpl.use("agg")
ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "book").glob("*.md"))
QUOTE = re.compile(r"\{\{ (\w+)\.(\w+) \}\}")
NO_WORD = re.compile(r"\b[Nn]a[Nn]\b|nan%|\bNone\b|\binf\b")
"""What a program writes where it has no value; a sentence may begin with the English word."""
OF_A_BEST = re.compile(
    r"^(scratch|pretrained)_(best|peak|above_chance|baseline_words)|^compared_|^ranks_frozen"
)
TOO_FEW = {"spoiled_by_others", "all_but_one_failed", "one_model"}
"""The studies of which no set has enough models that can be ranked by time."""
RESAMPLES = 40


class AnyNumber(dict):
    """A namespace that has whatever a chapter quotes: what the authors' tables would make."""

    def get(self, key, default=None):
        return {"value": 1, "text": "one", "estimate": False}


@pytest.fixture(scope="module", params=list(EDITS))
def study(request, tmp_path_factory):
    """One degenerate study: its numbers, its chapters with and without the authors' tables, its analysis."""
    root = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPR_RESULTS", str(root))
        patch.setattr(study_facts, "leak_facts", lambda: dict.fromkeys(study_facts.LEAK_FACTS, "one"))
        results = write_degenerate(root, EDITS[request.param])
        few = _few_draws(results)
        numbers = few.numbers("03_energy") | few.numbers("04_pepr")
        facts = study_facts.study_facts(["pocket"])
    made = {}
    for tables in (False, True):
        namespaces = {"pocket": numbers}
        if tables:
            namespaces |= {name: AnyNumber(a=1) for name in ("published", "costs", "bench")}
        for path in CHAPTERS:
            made[path.stem, tables] = prose.chapter(path.read_text(), namespaces)
    return SimpleNamespace(
        name=request.param, results=results, numbers=numbers, facts=facts, chapters=made, analysis=few
    )


def _few_draws(results):
    """The analysis with few resamples: what is stated does not hang on how many."""
    found = pipeline.Analysis(results)
    found.__dict__["drawn"] = peaks.drawn_scores(results, n_resamples=RESAMPLES)
    found.__dict__["standings"] = standings.standings(results, n_resamples=RESAMPLES)
    found.__dict__["standings_by_accuracy"] = standings.standings(results, "accuracy", RESAMPLES)
    found.__dict__["choices"] = standings.choices(results, n_resamples=RESAMPLES)
    return found


def quoted(study, *, tables=(False, True)):
    """Each (chapter, sentence, key) in which a chapter quotes a number of the study."""
    for (chapter, with_tables), text in study.chapters.items():
        if with_tables not in tables:
            continue
        for sentence in re.split(r"(?<=[.:?])\s+(?=[A-Z*\[])|\n\n|\n(?=[-|])", text):
            for namespace, key in QUOTE.findall(sentence):
                if namespace == "pocket":
                    yield chapter, sentence, key


def test_every_number_that_a_page_quotes_is_known_and_none_is_a_programs_word(study):
    assert study.numbers["runs"]["value"] == len(study.results.table)
    for chapter, sentence, key in quoted(study):
        entry = study.numbers.get(key)
        assert entry is not None, f"{chapter} quotes {key}, which is not made: {sentence}"
        assert entry["text"] != UNKNOWN, f"{chapter} quotes {key}, which is not known: {sentence}"
        assert not NO_WORD.search(entry["text"]), f"{chapter}: {key} is {entry['text']!r}"
    for key, text in study.facts.items():
        assert not NO_WORD.search(text), f"study.{key}: {text}"
    for (chapter, _), text in study.chapters.items():
        assert not re.search(r"^<!-- (if|else|end)", text, re.MULTILINE), chapter
        assert not any("()" in line for line in text.splitlines() if QUOTE.search(line)), chapter


def test_no_page_names_a_best_or_a_share_where_too_few_can_be_compared(study):
    named = {key for _, _, key in quoted(study) if OF_A_BEST.search(key)}
    if study.name in TOO_FEW:
        by_time = {key for key in named if "peak" in key or "ranks" in key}
        assert not by_time
        assert study.name == "spoiled_by_others" or not named
        standing = study.numbers["scratch_standing"]["text"]
        assert "A best is named only" in standing
        assert any(key == "scratch_standing" for _, _, key in quoted(study))
    else:
        assert "scratch_best_auroc_model" in named
        assert study.numbers["scratch_best_auroc_of"]["text"].endswith("models")


def test_a_best_that_a_page_names_leads_the_table_that_it_is_said_of(study):
    scores = study.analysis.scores.query("measure == 'auroc' and resource == 'T'")
    for cell, setting in (("scratch", "elpv"), ("pretrained", "elpv_pt")):
        best = study.numbers.get(f"{cell}_best_auroc_model")
        rows = scores[scores["setting"] == setting].set_index("model")["performance"].dropna()
        if best is None:
            continue
        assert (
            rows[best["value"].split(" and ")[0]]
            == rows.max()
            == study.numbers[f"{cell}_best_auroc"]["value"]
        )
        assert study.numbers[f"{cell}_best_auroc_of"]["value"] == len(rows)
        peak = study.numbers.get(f"{cell}_peak_auroc_model")
        ranked = scores[scores["setting"] == setting].set_index("model")["score"].dropna()
        assert peak is None or ranked[peak["value"]] == ranked.max()


def test_nothing_is_said_of_pretraining_by_a_study_that_has_none(study):
    without = study.name in {"from_scratch_alone", "one_model", "all_but_one_failed"}
    said = [
        sentence for _, sentence, key in quoted(study) if "pretrain" in key and key != "pretrained_standing"
    ]
    assert bool(said) is not without
    if without:
        assert re.search(r"no network was trained|0 finished", study.numbers["pretrained_standing"]["text"])
    chapter = study.chapters["pocket", False]
    assert ("| pretrained | from scratch |" in chapter) is not without


def test_one_seed_makes_no_interval_over_seeds(study):
    over = [study.numbers[key]["text"] for _, _, key in quoted(study) if re.search(r"_peak_\w+_over$", key)]
    if study.name == "one_seed":
        assert set(over) == {"test images alone"}
        assert study.numbers["scratch_over"]["text"].startswith("1 split alone")
        claimed = {key for _, _, key in quoted(study) if key.startswith("claim_") and key.endswith("_low")}
        assert not [key for key in claimed if "scratch" in key or "tenth" in key or "baseline" in key]
        assert study.numbers["repeated_splits"]["text"] == "1 split with 1 seed"
    elif study.name in TOO_FEW:
        assert not over
    else:
        assert over and "test images alone" not in over


def test_a_count_that_a_page_gives_is_that_of_the_table(study):
    table, numbers = study.results.table, study.numbers
    assert numbers["runs_ok"]["value"] == (table["status"] == "ok").sum()
    assert numbers["runs_failed"]["value"] == (table["status"] == "failed").sum()
    rows = study.analysis.scores.query("setting == 'elpv' and measure == 'auroc' and resource == 'T'")
    asked = numbers["scratch_networks"]["value"] + numbers["scratch_baselines"]["value"]
    assert asked == rows["model"].nunique()
    assert numbers["scratch_finished"]["value"] == rows["performance"].notna().sum()
    assert numbers["scratch_ranked"]["value"] == rows["score"].notna().sum()


def legend(figure):
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def test_every_figure_marks_what_shared_the_processor_and_names_what_failed(study):
    scores, results = study.analysis.scores, study.results
    intervals = peaks.performance_intervals(results, n_resamples=RESAMPLES)
    failed = sorted(analysis.failures(results.table).query("setting == 'elpv'")["model"].unique())
    curves, peak_rows = analysis.curves(scores), study.analysis.peak_table
    drawn = {
        "performance": figures.performance_vs_resource(scores, intervals, "elpv"),
        "curve": figures.pepr_curve(scores, curves, peak_rows, "elpv"),
        "ranks": figures.rank_comparison(scores, "elpv"),
        "components": energy_figures.energy_by_component(energy.by_component(results.table), "elpv", failed),
    }
    words = {name: " ".join(legend(figure)) for name, figure in drawn.items()}
    shown = {
        name: " ".join(text.get_text() for text in figure.axes[0].texts) for name, figure in drawn.items()
    }
    plt.close("all")
    few = study.name in TOO_FEW
    assert ("best PePR" in words["performance"]) is not few
    for name in ("curve", "ranks"):
        assert ("too few" in shown[name]) is few
    if study.name == "all_but_one_failed":
        assert "failed, not drawn" in words["performance"] and "failed, not drawn" in words["components"]
    if study.name == "spoiled_by_others":
        assert "shared the CPU: not ranked" in words["performance"]
    if study.name == "shared_with_others":
        assert "shared the CPU" in words["performance"] and "not ranked" not in words["performance"]
        assert "shared the CPU" in words["curve"] and "shared the CPU" in words["ranks"]


def test_the_marks_of_an_estimate_a_shared_processor_and_a_failure_are_not_one_another():
    assert (
        len({marks.NOT_RANKED, marks.SHARED, marks.FAILED, *(style for style, _ in figures.STYLES.values())})
        == 6
    )


def text_of(page: Path) -> str:
    """What a reader sees of a built page: no code, no markup."""
    main = re.search(r"<article.*?</article>", page.read_text(), re.DOTALL)
    body = re.sub(r"<(script|style|pre|svg)\b.*?</\1>", " ", main[0] if main else "", flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spoiled_by_others"])
def test_a_whole_book_is_built_from_a_degenerate_study_and_its_pages_read_as_english(
    name, tmp_path, monkeypatch
):
    for part in ("book", "notebooks", "_config.yml", "_toc.yml", "Makefile", "pyproject.toml"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PEPR_DATA", str(tmp_path / "no-tables"))
    write_degenerate(tmp_path / "results", EDITS[name])
    build.build(tmp_path, lambda _: None)
    pages = sorted((tmp_path / "_build/html").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = text_of(page)
        assert not re.search(r"\bnan\b|nan%|\{\{|\bNaN\b|\bNone\b(?! [a-z])", text), page
    pocket = text_of(tmp_path / "_build/html/book/pocket.html")
    assert "No best model is named" in pocket and "comes first" not in pocket
