"""The README's results, written from the shipped records."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pepr import study
from pepr.analysis import figures, pipeline
from pepr.analysis.leaders import STARTS
from pepr.analysis.peaks import performance_intervals
from pepr.analysis.scores import main_setting, primary_resource
from pepr.book.study_facts import never_run, profiles_table
from pepr.display import style
from pepr.errors import InputError
from pepr.models.space import BASELINES
from pepr.runs.results import Results, reference_folder

README_START = "<!-- results: written by `python -m pepr.book.build --readme`; a test compares -->"
README_END = "<!-- end of results -->"


FIGURE = "book/_static/performance-vs-resource.svg"
EXAMPLE = """from pepr import analysis, runs

results = runs.Results("pocket", "reference", runs.reference_folder("pocket"))
scores = analysis.pepr_table(results.table)
best = scores.query("setting == 'elpv' and resource == 'T' and measure == 'auroc'").nlargest(3, "score")
print(best[["model", "performance", "resource_value", "score"]].round(3).to_string(index=False))
"""
"""Five lines of Python, which the README shows with what they print."""


def example_output() -> str:
    """What `EXAMPLE` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(EXAMPLE, "README.md", "exec"), {})
    return printed.getvalue()


def draw_figure(results: Results, path: Path) -> None:
    """The figure of the README: performance against the resource, with intervals, from scratch."""
    style.theme()
    made = pipeline.Analysis(results)
    setting, letter = main_setting(made.table), primary_resource(made.table)
    figure = figures.performance_vs_resource(made.scores, performance_intervals(results), setting, letter)
    style.save(figure, path)


def readme_block(results: Results) -> str:
    """The part of the README that quotes results, from the shipped reference. Markdown."""
    made = pipeline.Analysis(results)
    entries = made.numbers("04_pepr") | made.numbers("03_energy")
    text = {
        key: entry["text"] + (" (estimated)" if entry["estimate"] else "") for key, entry in entries.items()
    }
    claim = "claim_pretrained_beats_scratch_models"
    return README_RESULTS.format_map(
        {
            **text,
            **{f"{start}_words": start_words(text, start) for start in STARTS},
            **{
                part: text[f"{claim}_{part}"]
                for part in ("verdict", "effect", "low", "high", "p", "p_verdict", "n")
            },
            "overlap": OVERLAP.format_map(text) if f"{claim}_verdict_overlap" in text else "",
            "example": EXAMPLE,
            "printed": example_output(),
            "figure": FIGURE,
            "seeds": ",".join(map(str, sorted(results.table["seed"].unique()))),
            "default_grid": f"{len(study.grid(study.load(results.profile))):,}",
            "baselines_again": baselines_again(results.table),
            "never_run": never_run(),
            "profiles_table": profiles_table(),
        }
    )


def start_words(text: Mapping[str, str], start: str) -> str:
    """The best models from one of `leaders.STARTS`, or why none is named; `text` is what each number says."""
    own = {key.removeprefix(f"{start}_"): words for key, words in text.items() if key.startswith(f"{start}_")}
    if not {"peak_auroc_model", "best_auroc_share"} <= set(own):
        return text[f"{start}_standing"]
    return OF_A_START.format_map({**text, **own})


def baselines_again(table: pd.DataFrame) -> str:
    """How many runs of baselines repeat one of a setting that differs by its weights; empty if none."""
    rows = table[table["model"].isin(BASELINES)]
    again = int(rows.duplicated(["model", "dataset", "train_fraction", "seed"]).sum())
    if not again:
        return ""
    return (
        f" Of the {len(rows)} runs of baselines {again} repeat one on the same images: in a "
        "setting that differs by its weights, which baselines do not have."
    )


OF_A_START = """of {best_auroc_of}, {best_auroc_model}, {best_auroc_kind}, has
  the highest AUROC ({best_auroc}), on {over}. It is the highest in
  {best_auroc_share} of the draws, and {best_auroc_ties}. {baseline_words}
  {chance_words}.
  The highest {primary_score} has {peak_auroc_model}, {peak_auroc_kind}, in
  {peak_auroc_probability} of the draws: {peak_auroc_score}
  (95% interval {peak_auroc_score_low} to {peak_auroc_score_high})."""
"""What is said of the models of one of `leaders.STARTS`, whose name begins the keys."""
OVERLAP = """
  If splits, which share training images, are not taken for independent:
  *{claim_pretrained_beats_scratch_models_verdict_overlap}*."""
README_RESULTS = """## What it takes, and what it found

The shipped reference is a real run of `pocket` with `SEEDS={seeds}`: {runs} runs of {models} networks
and {baselines} baselines, {runs_failed} failed,
made on {hardware} with {software}.
Without `SEEDS` the profile has {default_grid} runs.{baselines_again}

- **Cost**: all runs took {bill_wall_time}, added up, and {bill_total}.
- **Pretraining**: networks that were trained both ways differ in AUROC by {effect}
  (95% interval {low} to {high}; n = {n}, splits with their seeds).
  On its own that has p {p}; Holm's correction for the primary claims makes it {p_verdict}.
  Hence the verdict: *{verdict}*.{overlap}
  In test accuracy they differ by {claim_pretrained_beats_scratch_seeds_accuracy_effect}
  (95% interval {claim_pretrained_beats_scratch_seeds_accuracy_low} to
  {claim_pretrained_beats_scratch_seeds_accuracy_high}):
  *{claim_pretrained_beats_scratch_seeds_accuracy_verdict}*.
- **From scratch**: {scratch_words}
- **From ImageNet weights**: {pretrained_words}
- **Claims**: {claims_primary} primary ones, one a question, named on {claims_named}:
  {claims_primary_supported} supported, {claims_primary_equivalent} equivalent,
  {claims_primary_not_supported} not supported, {claims_primary_undecided} undecided,
  {claims_primary_not_tested} not tested.

![AUROC against training time of the models that were trained from scratch, with 95% intervals]({figure})

The same scores in five lines of Python, and what they print:

```python
{example}```

```text
{printed}```

**What was never run.** {never_run}

## Profiles

{profiles_table}
"""


def render_readme(text: str, block: str) -> str:
    """The README with the part between its markers replaced. Raises InputError without both markers."""
    pattern = re.compile(re.escape(README_START) + ".*?" + re.escape(README_END), re.DOTALL)
    if not pattern.search(text):
        raise InputError("README.md: the markers around the results are missing")
    return pattern.sub(lambda _: f"{README_START}\n\n{block}\n{README_END}", text)


def write_readme(root: Path) -> None:
    """Bring the results and the figure of `root/README.md` up to date with the shipped `pocket`."""
    path = root / "README.md"
    reference = Results("pocket", "reference", reference_folder("pocket"))
    path.write_text(render_readme(path.read_text(), readme_block(reference)))
    draw_figure(reference, root / FIGURE)
