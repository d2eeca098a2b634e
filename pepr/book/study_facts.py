"""What the book says about where its results come from and what they leave out, computed from files."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

import pepr
from pepr import datasets, study
from pepr.analysis import energy, machines
from pepr.analysis.ranked import CLOCK_ERROR, DRIFT_LIMIT, drift
from pepr.book import repeated_runs
from pepr.datasets import elpv, leaks
from pepr.display.numbers import escaped
from pepr.display.words import between, fixed, minutes, wh
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum
from pepr.models.space import BASELINES, HEADS_BY_CLASSES, Architecture, model_space
from pepr.published.tables import SHA256
from pepr.quantities import MEASURED_KINDS, component_sources
from pepr.runs.results import Results, find_results, record_lines, reference_files, reference_folder

SHOWN_FAMILIES = 8
LEAK_FACTS: dict[str, Callable[[pd.DataFrame, float], str]] = {
    "elpv_modules": lambda found, mixed: f"{len(elpv.MODULE_CELLS)}",
    "elpv_splits": lambda found, mixed: f"{len(found)}",
    "order_predictors": lambda found, mixed: f"{found.shape[1]}",
    "leak_mean": lambda found, mixed: f"{found.mean().max():.2f}",
    "leak_worst": lambda found, mixed: f"{found.max().max():.2f}",
    "leak_lowest_mean": lambda found, mixed: f"{found.mean().min():.2f}",
    "leak_lowest": lambda found, mixed: f"{found.min().min():.2f}",
    "leak_backwards": lambda found, mixed: f"{1 - found.min().min():.2f}",
    "leak_random_split": lambda found, mixed: f"{mixed:.3f}",
}
"""How each is said of what was `found`, the AUROC of predictors by the order of files [splits, predictors],
and of the highest of them where a split is `mixed`."""
IN_WORDS = {
    "counter": "the component's own energy counter",
    "sampled_power": "the power that it reports, sampled",
    "load_model": "the processor's load times an assumed power",
    "tdp_constant": "a share of the power that it was designed for",
    "assumed": "an assumed power",
    "cuda_allocator_peak": "what torch held of the card at its peak",
    "metal_allocator_peak": "what torch had of the Apple GPU at the end, when it has most",
    "rss_peak_minus_baseline": "the process's memory at its peak, less that before",
    "predicted": "the shapes of its tensors",
}
"""The terms of the records for how a number is known, as a reader may know them."""


def record_files(profiles: Iterable[str]) -> dict[str, bytes]:
    """The records of each profile as files to download, by their place in the book's source."""
    files = {}
    for profile in profiles:
        results = find_results(profile)
        files[f"book/_records/{profile}-results.csv"] = (results.folder / "results.csv").read_bytes()
        if results.origin == "reference":
            records = [line for _, line in record_lines(results.folder)]
        else:
            records = [json.dumps(record) for record in results.records()]
        lines = "".join(f"{line}\n" for line in records)
        files[f"book/_records/{profile}-records.jsonl"] = lines.encode()
    return files


def provenance(profile: str) -> str:
    """Where the results of a profile come from: machines, versions, data, hashes and bill. Markdown."""
    results = find_results(profile)
    table, records = results.table, results.records()
    bill = energy.study_bill(table)
    environments = [record.get("environment") or {} for record in records]
    nature = "estimated" if bill["estimated"] else "measured"
    origin = (
        "this machine" if results.origin == "this machine" else "the reference that ships with the package"
    )
    rows = {
        "Whose runs": origin,
        "Runs": f"{len(table)}, of which {int((table['status'] == 'ok').sum())} ended well",
        "Hardware": _distinct(table["hardware"].dropna()),
        "Versions": _distinct(table["software"].dropna()),
        "All packages named": _distinct(_packages(environment) for environment in environments),
        "Code": _distinct(
            f"revision {environment['git_revision'][:10]}"
            + (", with changes that were not committed" if environment.get("git_dirty") else "")
            for environment in environments
            if environment.get("git_revision")
        ),
        "Made": _span(
            sorted(str(record.get("started_at"))[:10] for record in records if record.get("started_at"))
        ),
        "Data, SHA-256": _distinct(
            f"{record['dataset']} {record['data_sha256'][:16]} ({record.get('data_status')})"
            for record in records
            if record.get("data_sha256")
        ),
        "How energy is known": _distinct(table["energy_source"].dropna()),
        "Energy bill": f"{wh(bill['total_wh'])} ({nature}) in {minutes(60 * bill['wall_hours'])} of runs",
        **{
            f"{path.name}, SHA-256": checksum(path)[:16]
            for path in reference_files(results.folder)
            if path.suffix != ".npz"
        },
    }
    lines = [f"| {name} | {escaped(value)} |" for name, value in rows.items() if value]
    links = (
        f"Every run: {{download}}`the table <_records/{profile}-results.csv>`, "
        f"{{download}}`the full records <_records/{profile}-records.jsonl>`."
    )
    return "\n".join([f"**Profile `{profile}`**", "", "| What | Value |", "| --- | --- |", *lines, "", links])


def estimates(profile: str) -> str:
    """How each kind of number of a profile is known, measured or estimated. Markdown."""
    table = find_results(profile).table
    done = table[table["status"] == "ok"]
    rows = [("Accuracy, AUROC", "counted on the test images", True)]
    if done["train_cpu_time_s"].notna().any():
        rows.append(("Training time that ranks", "the time of the processor, of one thread", True))
    rows.append(("Training time on the clock", "a clock", True))
    for source in sorted(done["memory_source"].dropna().unique()):
        rows.append(("Peak memory", _in_words(source), source != "predicted"))
    sources = sorted({source for text in done["energy_source"] for source in component_sources(text).items()})
    rows += [
        (f"Energy, {component.upper()}", _in_words(how), how in MEASURED_KINDS) for component, how in sources
    ]
    rows.append(("Carbon", "energy times a yearly average of the grid", False))
    lines = [f"| {what} | {'measured' if sure else '**estimated**'} | {how} |" for what, how, sure in rows]
    head = [f"**Profile `{profile}`**", "", "| Quantity | Nature | How it is known |", "| --- | --- | --- |"]
    return "\n".join([*head, *lines])


def _in_words(term: str) -> str:
    return f"{IN_WORDS[term]} (`{term}`)" if term in IN_WORDS else escaped(term)


def published_files() -> str:
    """The authors' tables with their pinned checksums. Markdown."""
    lines = [f"| `{name}.csv` | {digest[:16]} |" for name, digest in sorted(SHA256.items())]
    return "\n".join(["| File | SHA-256 begins with |", "| --- | --- |", *lines])


def machines_table(profile: str) -> str:
    """The machines that ran a profile, compared; a sentence where there is one only. Markdown."""
    rows = machines.compare(machines.machines(profile))
    if len(rows) < 2:
        return f"So far one machine has run `{profile}`: {escaped(rows.iloc[0]['hardware'])}."
    lines = [
        "| Machine | Results | Runs | Median training time | Time against the first | Rank correlation "
        "| Same accuracy as the first |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows.to_dict("records"):
        cells = [
            escaped(row["hardware"]),
            row["origin"],
            str(row["runs"]),
            _known(row["median_time_s"], "{:.3g} s".format, "no run can be ranked"),
            _known(row["times_as_long"], "{:.2f} times".format, "not comparable"),
            _known(row["spearman"], fixed, "too few models"),
            _same_accuracy(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _known(value: float, words: Callable[[float], str], without: str) -> str:
    return words(value) if value == value else without


def _same_accuracy(row: Mapping[str, Any]) -> str:
    if not row["shared_runs"]:
        return "no run in common"
    furthest = f"{100 * row['furthest_apart']:.1f} points"
    return f"{row['within_tolerance']} of {row['shared_runs']} runs; at most {furthest} apart"


def model_space_facts() -> dict[str, str]:
    """The model space in words: how many families, who is in the majority, whose weights. As MyST."""
    space = [entry for entry in model_space().values() if entry.role == "paper"]
    families = Counter(entry.family for entry in space)
    largest = [name for name, _ in families.most_common(2)]
    share = sum(families[name] for name in largest) / len(space)
    licences = Counter(entry.weights_licence for entry in space)
    hub = sum(entry.weights_source.startswith("timm/") for entry in space)
    return {
        "models": str(len(space)),
        "families": str(len(families)),
        "families_alone": str(sum(count == 1 for count in families.values())),
        "largest_families": " and ".join(f"`{name}`" for name in largest),
        "largest_families_share": f"{share:.0%}",
        "efficient_models": str(sum(entry.efficient for entry in space)),
        "convolutional_models": str(sum(entry.cnn for entry in space)),
        "hub_weights": str(hub),
        "imagenet_only": str(sum(entry.weights_tag.endswith("in1k") for entry in space)),
        "weight_licences": ", ".join(f"{escaped(name)} ({count})" for name, count in licences.most_common()),
        "packaged_weights": str(sum(entry.role == "offline" for entry in model_space().values())),
        "families_table": families_table(space),
        "heads_by_classes": str(sum(entry.family in HEADS_BY_CLASSES for entry in space)),
    }


def leak_facts() -> dict[str, str]:
    """How well labels and the order of files predict the test labels of ELPV, in the splits that are used and
    in one that divides modules. As MyST."""
    try:
        labels = elpv.defective()
    except DataUnavailable:
        return dict.fromkeys(LEAK_FACTS, "(not computed here, without the package `elpv-dataset`)")
    found = pd.DataFrame([leaks.by_order(labels, split) for split in elpv.block_splits()])
    mixed = max(leaks.by_order(labels, elpv.random_split(labels)).values())
    return {key: words(found, mixed) for key, words in LEAK_FACTS.items()}


def elpv_splits_table() -> str:
    """The splits of ELPV as a Markdown table: images of each part, and which share of them is defective."""
    try:
        labels = elpv.defective()
    except DataUnavailable:
        return "(not computed here, without the package `elpv-dataset`)"
    lines = ["| Split | To train on | To choose the epoch by | To judge by |", "| --- | --- | --- | --- |"]
    for k, split in enumerate(elpv.block_splits()):
        parts = [labels[split == part] for part in ("train", "val", "test")]
        cells = [f"{len(part):,}, {part.mean():.0%} defective" for part in parts]
        lines.append(f"| {' | '.join([str(k), *cells])} |")
    return "\n".join(lines)


def splits_shared() -> str:
    """Which share of a split's training images another split of ELPV trains on, too: the least and the most
    over all pairs of splits, in words."""
    trained = [split == "train" for split in elpv.block_splits()]
    shares = [(one & other).sum() / one.sum() for one, other in itertools.permutations(trained, 2)]
    return f"{min(shares):.0%} to {max(shares):.0%}"


def families_table(space: list[Architecture]) -> str:
    """The families of a model space, the largest first, the small ones together. Markdown."""
    families: dict[str, list[Architecture]] = {}
    for entry in space:
        families.setdefault(entry.family, []).append(entry)
    ordered = sorted(families.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [(f"`{name}`", members) for name, members in ordered[:SHOWN_FAMILIES]]
    rest = [entry for _, members in ordered[SHOWN_FAMILIES:] for entry in members]
    rows.append((f"{len(ordered) - SHOWN_FAMILIES} others", rest))
    lines = ["| Family (module of timm) | Models | Parameters, millions | Smallest | Largest |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, members in rows:
        if members:
            by_size = sorted(members, key=lambda entry: entry.num_params)
            low, high = by_size[0], by_size[-1]
            lines.append(
                f"| {name} | {len(members)} | {low.num_params / 1e6:.1f} to {high.num_params / 1e6:.1f} "
                f"| {escaped(low.model)} | {escaped(high.model)} |"
            )
    return "\n".join(lines)


def facts(profiles: Iterable[str]) -> dict[str, Any]:
    """The texts behind `{{ study.key }}` that this module knows, as MyST."""
    profiles = list(profiles)
    return {
        "estimates": "\n\n".join(estimates(profile) for profile in profiles),
        "provenance": "\n\n".join(provenance(profile) for profile in profiles),
        "machines": "\n\n".join(machines_table(profile) for profile in profiles),
        "published_files": published_files(),
        "drift_limit": f"{DRIFT_LIMIT:.0%}",
        "clock_error": f"{CLOCK_ERROR:.0%}",
        **model_space_facts(),
        **leak_facts(),
        **repeated_runs.facts(),
        "elpv_splits_table": elpv_splits_table(),
        "splits_shared": splits_shared(),
    }


def _distinct(values: Iterable[str]) -> str:
    return "; ".join(sorted(set(values)))


def _packages(environment: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {version}" for name, version in sorted((environment.get("packages") or {}).items())
    )


def _span(days: list[str]) -> str:
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


PROFILES = ("pocket", *(name for name in study.profile_names() if name not in {"pocket", "smoke"}))
"""The profiles that the book shows where they have results, the first one first."""


def profiles_with_results() -> list[str]:
    """The profiles of which a run ended well, on this machine or in the shipped reference."""
    found = []
    for profile in PROFILES:
        with contextlib.suppress(InputError):
            if (find_results(profile).table["status"] == "ok").any():
                found.append(profile)
    return found


def of_several_sets(profiles: Iterable[str]) -> list[str]:
    """The profiles that train on more than one dataset, whether or not all of it was run."""
    return [
        name
        for name in profiles
        if len({setting["dataset"] for setting in study.load(name).values["settings"].values()}) > 1
    ]


def study_facts(profiles: list[str]) -> dict[str, str]:
    """The texts behind `{{ study.key }}`, as MyST; `profiles` are those that have results.

    Raises InputError when `pocket` has none: the book leans on it.
    """
    from pepr.analysis.numbers import where_from

    pocket = find_results("pocket").table
    return {
        "version": pepr.__version__,
        "results_origin": "\n".join(
            f"- {escaped(where_from(find_results(profile)))}" for profile in profiles
        ),
        "never_run": never_run(),
        "reach": reach(profiles),
        "recipe": recipe(pocket),
        "profiles_table": profiles_table(),
        "settings_table": settings_table(pocket),
        "probes_beyond": f"{int((drift(pocket).dropna() != 1.0).sum())} of {len(pocket)}",
        "medical_planned": str(len(study.grid(study.load("medical")))),
        "medical_sets_table": sets_table(study.load("medical")),
        "medical_settings_table": (
            settings_table(find_results("medical").table) if "medical" in profiles else "(none was run)"
        ),
        **facts(profiles),
    }


def reach(profiles: Iterable[str]) -> str:
    """Of how many data sets the shown results are, and of how many kinds of machine, in a sentence."""
    done = pd.concat([find_results(name).table.query("status == 'ok'") for name in profiles])
    found = [datasets.find(name) for name in done["dataset"].unique()]
    titles = sorted(one.short_title for one in found if one.same_images_as is None)
    sets = f"{len(titles)} data set{'s' * (len(titles) > 1)} ({', '.join(titles)})"
    kinds = done["hardware"].nunique()
    return f"This study's own runs are of {sets}, made on {kinds} kind{'s' * (kinds > 1)} of machine."


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
    """The settings of a results table as a Markdown table: weights, training images, their size, the epochs
    of networks, models, seeds, runs."""
    lines = [
        "| Setting | Starts from | Training images | Pixels | Epochs | Models | Seeds at most | Runs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for setting, rows in table.groupby("setting", sort=True):
        count = between(rows["n_train"], "{:,.0f}".format)
        fraction = f"{100 * rows['train_fraction'].max():g}%"
        networks = rows[~rows["model"].isin(BASELINES)]
        pixels, epochs = (
            between(column, "{:.0f}".format) for column in (rows["image_size"], networks["epochs"])
        )
        lines.append(
            f"| `{setting}` | {_starts_from(rows)} | {count} ({fraction}) | {pixels} | {epochs} "
            f"| {rows['model'].nunique()} | {rows.groupby('model')['seed'].nunique().max()} | {len(rows)} |"
        )
    return "\n".join(lines)


def _starts_from(rows: pd.DataFrame) -> str:
    """What the runs of a setting start from, in words."""
    if rows["init_from"].notna().any():
        return "another run's network"
    if not rows["pretrained"].any():
        return "random weights"
    return "ImageNet weights" + (", shuffled" if rows["shuffled"].fillna(False).astype(bool).any() else "")


def sets_table(profile: study.Profile) -> str:
    """The sets of a profile as a Markdown table: images, classes, and how well a published network does. The
    same images, divided otherwise, are no further set."""
    lines = [
        "| Set | Training, validation, test images | Classes | Licence | ResNet-18: accuracy | AUROC |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(setting["dataset"] for setting in profile.values["settings"].values()):
        found = datasets.find(name)
        if found.same_images_as is not None:
            continue
        counts = ", ".join(f"{count:,}" for count in found.counts.values())
        classes = f"{len(found.classes)}{', in an order' if found.ordered else ''}"
        published = [f"{value:.3f}" for value in found.benchmark or ()] or ["none"] * 2
        lines.append(f"| {' | '.join([found.title, counts, classes, found.licence, *published])} |")
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


def _in_part(name: str, shipped: pd.DataFrame) -> str:
    """What results of a profile lack of its grid, in a sentence; empty where they lack nothing."""
    asked = study.grid(study.load(name))
    ids = set(shipped["run_id"])
    there = [spec for spec in asked if spec.run_id in ids]
    if len(there) == len(asked):
        return ""
    settings = ", ".join(f"`{setting}`" for setting in dict.fromkeys(spec.setting for spec in there))
    return f"Of `{name}` it ships {len(there)} of {len(asked)} runs, in the settings {settings}. "


def never_run() -> str:
    """Which profiles this project ships no results of, or of a part only, and whether any that it ships was
    made on a GPU."""
    shipped = {
        name: Results(name, "reference", reference_folder(name)).table
        for name in PROFILES
        if (reference_folder(name) / "results.csv").exists()
    }
    missing = [f"`{name}`" for name in PROFILES if name not in shipped]
    on_gpu = any(table["device"].str.startswith("cuda").any() for table in shipped.values())
    profiles = f"This project ships no results of {', '.join(missing)}. " if missing else ""
    profiles += "".join(_in_part(name, table) for name, table in shipped.items())
    gpu = (
        ""
        if on_gpu
        else (
            "No result that it ships was made on a GPU, and its code for GPUs was never run on one: it was "
            "only tested with a pretended driver. What is said of GPUs here was not measured by this project."
        )
    )
    return (profiles + gpu) or "Every profile that this project ships was run by it."
