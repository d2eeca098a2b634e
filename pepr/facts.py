"""What the book and the README say about the study itself, computed from its code and its results."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pandas as pd

import pepr
from pepr import study
from pepr.errors import InputError
from pepr.numbers import escaped
from pepr.runs import Results, find_results, reference_folder

PROFILES = ("pocket", *(name for name in study.profile_names() if name not in {"pocket", "smoke"}))
"""The profiles that the book shows where they have results, the first one first."""
README_START = "<!-- results: written by `python -m pepr.book --readme`; a test compares -->"
README_END = "<!-- end of results -->"


def profiles_with_results() -> list[str]:
    """The profiles of which a run ended well, on this machine or in the shipped reference."""
    found = []
    for profile in PROFILES:
        with contextlib.suppress(InputError):
            if (find_results(profile).table["status"] == "ok").any():
                found.append(profile)
    return found


def study_facts(profiles: list[str]) -> dict[str, str]:
    """The texts behind `{{ study.key }}`, as MyST; `profiles` are those that have results.

    Raises InputError when `pocket` has none: the book leans on it.
    """
    from pepr import book_facts
    from pepr.run_numbers import where_from

    pocket = find_results("pocket").table
    return {
        "version": pepr.__version__,
        "results_origin": "\n".join(
            f"- {escaped(where_from(find_results(profile)))}" for profile in profiles
        ),
        "never_run": never_run(),
        "recipe": recipe(pocket),
        "profiles_table": profiles_table(),
        "settings_table": settings_table(pocket),
        "pneumonia_planned": str(len(study.grid(study.load("pneumonia")))),
        **book_facts.facts(profiles),
    }


def recipe(table: pd.DataFrame) -> str:
    """Optimiser, learning rate, batch size and precision of a results table, in words."""
    values = {
        column: ", ".join(f"{value:g}" if isinstance(value, int | float) else value for value in unique)
        for column in ("learning_rate", "batch_size", "precision")
        for unique in [sorted(table[column].dropna().unique().tolist())]
    }
    return (
        f"Adam with a learning rate of {values['learning_rate']}, batches of {values['batch_size']} images, "
        f"cross-entropy, no augmentation, {values['precision']}"
    )


def settings_table(table: pd.DataFrame) -> str:
    """The settings of a results table as a Markdown table: weights, training images, models, seeds, runs."""
    lines = [
        "| Setting | Starts from | Training images | Models | Seeds at most | Runs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for setting, rows in table.groupby("setting", sort=True):
        images = rows["n_train"].dropna()
        count = f"{int(images.max()):,}" if len(images) else "not known"
        fraction = f"{100 * rows['train_fraction'].max():g}%"
        lines.append(
            f"| `{setting}` | {'ImageNet weights' if rows['pretrained'].any() else 'random weights'} "
            f"| {count} ({fraction}) | {rows['model'].nunique()} "
            f"| {rows.groupby('model')['seed'].nunique().max()} | {len(rows)} |"
        )
    return "\n".join(lines)


def profiles_table() -> str:
    """The profiles that ship with the package as a Markdown table: what, how many runs, what they need."""
    lines = ["| Profile | What | Runs | Needs |", "| --- | --- | --- | --- |"]
    names = sorted(study.profile_names(), key=lambda name: len(study.grid(study.load(name))))
    for name in names:
        profile = study.load(name)
        values = profile.values
        lines.append(f"| `{name}` | {values['title']} | {len(study.grid(profile)):,} | {values['needs']} |")
    return "\n".join(lines)


def never_run() -> str:
    """Which profiles this project ships no results of, and whether any that it ships was made on a GPU."""
    shipped = [name for name in PROFILES if (reference_folder(name) / "results.csv").exists()]
    missing = [f"`{name}`" for name in PROFILES if name not in shipped]
    on_gpu = any(
        Results(name, "reference", reference_folder(name)).table["device"].str.startswith("cuda").any()
        for name in shipped
    )
    profiles = f"This project ships no results of {', '.join(missing)}. " if missing else ""
    gpu = "" if on_gpu else (
        "No result that it ships was made on a GPU, and its code for GPUs was never run on one: it was only "
        "tested with a pretended driver. What is said of GPUs here was not measured by this project."
    )  # fmt: skip
    return (profiles + gpu) or "Every profile that this project ships was run by it."


def readme_block(results: Results) -> str:
    """The part of the README that quotes results, from the shipped reference. Markdown."""
    from pepr import run_claims, run_numbers
    from pepr.analysis import peak_locations, pepr_table, primary_resource, rank_differences

    letter = primary_resource(results.table)
    scores = pepr_table(results.table)
    entries = run_numbers.pepr_numbers(
        results,
        scores,
        peak_locations(results, (letter,), ("auroc",)),
        run_claims.claims(results),
        rank_differences(scores),
    ) | run_numbers.energy_numbers(results, "DNK")
    text = {
        key: entry["text"] + (" (estimated)" if entry["estimate"] else "") for key, entry in entries.items()
    }
    claim = "claim_pretrained_beats_scratch_seeds_accuracy"
    return README_RESULTS.format_map(
        {
            **text,
            "verdict": text[f"{claim}_verdict"],
            "effect": text[f"{claim}_effect"],
            "low": text[f"{claim}_low"],
            "high": text[f"{claim}_high"],
            "p": text[f"{claim}_p"],
            "p_holm": text[f"{claim}_p_holm"],
            "never_run": never_run(),
            "profiles_table": profiles_table(),
        }
    )


README_RESULTS = """## What it takes, and what it found

The shipped reference is a real run of `pocket`: {runs} runs of {models} models, {runs_failed} failed,
made on {hardware} with {software}.

- **Cost**: {bill_wall_time} for all runs, after installation; {bill_total}.
- **Pretraining**: {repeated_model} over {repeated_seeds} seeds had a test accuracy of
  {repeated_pretrained_full_accuracy} pretrained and {repeated_scratch_full_accuracy} from scratch.
  The difference is {effect} (95% interval {low} to {high}).
  On its own that has p {p}; Holm's correction for all claims makes it {p_holm}.
  Hence the verdict: *{verdict}*.
  Always giving the more common answer is right in {majority_rate} of the cases.
- **From scratch**: {scratch_best_auroc_model} had the highest AUROC ({scratch_best_auroc}),
  {scratch_peak_auroc_model} the highest {primary_score} ({scratch_peak_auroc_score},
  95% interval {scratch_peak_auroc_score_low} to {scratch_peak_auroc_score_high}).
- **Claims**: {claims} tested, {claims_supported} supported, {claims_equivalent} equivalent,
  {claims_not_supported} not supported, {claims_undecided} undecided.

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
    """Bring the results in `root/README.md` up to date with the shipped reference of `pocket`."""
    path = root / "README.md"
    reference = Results("pocket", "reference", reference_folder("pocket"))
    path.write_text(render_readme(path.read_text(), readme_block(reference)))
