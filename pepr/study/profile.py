"""A study profile: read and validated, restricted on request, turned into the grid of runs."""

from __future__ import annotations

import copy
import difflib
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pepr import models
from pepr.errors import InputError
from pepr.files import write_atomic
from pepr.runs.spec import RunSpec

SHIPPED = Path(str(resources.files("pepr.study"))) / "profiles"
SOURCE_SEED = 0
"""The seed of the runs that others start from."""
NO_NAMES = ("calibrations", "data", "machines", "measured", "submission", "sweep")
"""Folders of the results that hold something else than a profile's."""
SPEC_DEFAULTS = ("fidelity", "image_size", "batch_size", "epochs", "learning_rate", "precision")


@dataclass(frozen=True)
class Profile:
    """A validated profile; `values` are those of its YAML file with the schema's defaults filled in, and
    `source` is what `load` takes to read it again: a shipped name or a path."""

    name: str
    values: Mapping[str, Any]
    source: str

    @property
    def timeout_s(self) -> float:
        """Wall-clock limit of one run, in seconds."""
        return 60 * self.values["timeout_minutes"]


def profile_names() -> list[str]:
    """The profiles that ship with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(profile: str) -> Profile:
    """A profile by name, or by the path of a YAML file.

    Raises InputError naming the file and the key for anything that the schema, the model space or the
    dataset registry does not know, before any run starts.
    """
    import yaml

    path = _profile_path(profile)
    try:
        text = path.read_text(encoding="utf-8-sig")
        _refuse_traps(path, yaml.compose(text, yaml.SafeLoader))
        values = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        values = _validated(path, values)
    except RecursionError:
        raise InputError(f"{path}: a value holds itself (&, *)") from None
    _check_names(path, values)
    return Profile(path.stem, values, str(path.resolve()) if profile != path.stem else profile)


def _profile_path(profile: str) -> Path:
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else SHIPPED / f"{profile}.yaml"
    if not path.exists():
        raise InputError(f"unknown profile {profile!r}; known: {', '.join(profile_names())}")
    if path.stem in NO_NAMES:
        raise InputError(f"{path}: results/{path.stem} holds other things; give the profile another name")
    return path


def _validated(path: Path, values: Any) -> dict[str, Any]:
    import jsonschema

    schema = json.loads((SHIPPED / "schema.json").read_text())
    values = _finite(path, values)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(values), key=lambda e: list(e.path))
    if errors:
        where = ".".join(str(part) for part in errors[0].path) or "the file"
        raise InputError(f"{path}: {where}: {errors[0].message}{_hint(errors[0])}")
    filled = _filled(values, schema)
    for block in filled["runs"]:
        if block["models"] == "paper":
            block["models"] = models.paper_models()
    return filled


OTHER_BASE = re.compile(r"[-+]?0[0-9_]|.*:")
"""How YAML writes a whole number in base 8, or in base 60."""


def _refuse_traps(path: Path, root: Any) -> None:
    """Raise InputError where YAML would take something else than it seems: of a key that comes twice the last
    one, and 010 for 8 or 1:30 for 90."""
    import yaml

    left, seen = [root], set()
    while left:
        node = left.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            known: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in known:
                    raise InputError(f"{path}: line {_line(key)}: the key {key.value!r} is there twice")
                known.add(key.value)
            left += [part for _, part in node.value]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value
        elif node.tag.endswith((":int", ":float")) and OTHER_BASE.match(node.value):
            raise InputError(
                f"{path}: line {_line(node)}: YAML takes {node.value} for another number: write it in base 10"
            )


def _line(node: Any) -> int:
    return node.start_mark.line + 1


def _finite(path: Path, value: Any, *keys: Any) -> Any:
    """The values of a YAML file with every key as a text.

    Raises InputError for a number that is none (`.nan`, `.inf`), which no bound of a schema refuses.
    """
    if isinstance(value, dict):
        return {str(key): _finite(path, part, *keys, key) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(path, part, *keys, place) for place, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        where = ".".join(map(str, keys))
        raise InputError(f"{path}: {where}: {value} is not a number that can be used")
    return value


KINDS = {"integer": int, "number": float}


def _filled(value: Any, rule: Mapping[str, Any]) -> Any:
    """A value with what its rule in the schema takes for granted, and each number in the kind that it names:
    3.0 epochs are 3, and a fraction of 1 is 1.0, so that one run has one name however it was written."""
    rule = rule.get("anyOf", [rule])[0]
    if isinstance(value, dict):
        rules, others = rule.get("properties", {}), rule.get("additionalProperties")
        defaults = {name: inner["default"] for name, inner in rules.items() if "default" in inner}
        return defaults | {name: _filled(part, rules.get(name, others)) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, rule["items"]) for part in value]
    kind = KINDS.get(rule.get("type"))
    return kind(value) if kind else value


def _hint(error: Any) -> str:
    """What a value that the schema refuses may have meant."""
    if error.validator == "pattern":
        return "; a setting's name is of letters, digits, _ and -"
    if error.validator == "additionalProperties":
        known, given = error.schema["properties"], error.instance
        close = [difflib.get_close_matches(name, known, 1) for name in given if name not in known]
        return f"; did you mean {close[0][0]!r}?" if close[0] else ""
    if error.validator == "anyOf" and not isinstance(error.instance, list):
        fixed = next(rule["const"] for rule in error.validator_value if "const" in rule)
        return f": expected a list, such as [{error.instance}], or {fixed}"
    if error.validator == "type" and isinstance(error.instance, str):
        try:
            number = float(error.instance)
        except ValueError:
            return ""
        if not math.isfinite(number):
            return ""
        mantissa, e, exponent = error.instance.lower().partition("e")
        meant = f"{float(mantissa)}e{int(exponent):+d}" if e and mantissa else repr(number)
        return f"; YAML takes that for text: write {meant}"
    return ""


def _check_names(path: Path, values: Mapping[str, Any]) -> None:
    from pepr import datasets

    for name, setting in values["settings"].items():
        try:
            datasets.find(setting["dataset"])
        except InputError as error:
            raise InputError(f"{path}: settings.{name}.dataset: {error}") from None
    for name in values["settings"]:
        _check_start(path, values["settings"], name)
    for number, block in enumerate(values["runs"]):
        for setting in block["settings"]:
            if setting not in values["settings"]:
                raise InputError(f"{path}: runs.{number}.settings: unknown setting {setting!r}")
            try:
                for split in _splits(block, 0, values["settings"][setting]["dataset"]):
                    datasets.check_split(datasets.find(values["settings"][setting]["dataset"]), split)
            except InputError as error:
                raise InputError(f"{path}: runs.{number}.splits: {error}") from None
        for model in block["models"]:
            try:
                entry = models.find(model)
            except InputError as error:
                raise InputError(f"{path}: runs.{number}.models: {error}") from None
            for setting in block["settings"]:
                try:
                    _check_sizes(values, entry, setting)
                except InputError as error:
                    raise InputError(f"{path}: runs.{number}.models: {error}") from None
                if model in models.BASELINES and values["settings"][setting].get("init_from"):
                    raise InputError(
                        f"{path}: runs.{number}.models: {model} is no network, and {setting} starts from one"
                    )
    _check_batch(path, values)


def _check_sizes(values: Mapping[str, Any], entry: models.Architecture, setting: str) -> None:
    """Raise InputError where a model cannot take the images of a setting, or those of the setting that it
    starts from there, or cannot go from the one size to the other."""
    first = values["settings"][setting].get("init_from", setting)
    before, size = (
        values["settings"][name].get("image_size", values["image_size"]) for name in (first, setting)
    )
    for each in (before, size):
        if not entry.accepts(each):
            raise InputError(entry.refusal(each))
    if entry.is_built_for_a_size and before != size:
        raise InputError(
            f"{entry.model} is built for one image size, and cannot go from {before} px in setting {first} "
            f"to {size} px in {setting}"
        )


def _check_batch(path: Path, values: Mapping[str, Any]) -> None:
    """Raise InputError where fidelity `paper`, which drops an incomplete test batch, would leave no image."""
    from pepr import datasets

    for name, setting in values["settings"].items() if values["fidelity"] == "paper" else ():
        counts = datasets.find(setting["dataset"]).counts
        if counts and counts["test"] < values["batch_size"]:
            raise InputError(
                f"{path}: batch_size: {values['batch_size']} is more than the {counts['test']} test images "
                f"of setting {name}; fidelity paper drops an incomplete test batch, and none would be left"
            )


def _check_start(path: Path, settings: Mapping[str, Any], name: str) -> None:
    """Raise InputError for a setting that starts from nothing there is, from two things, or from a network
    that has seen its test images."""
    from pepr import datasets

    setting = settings[name]
    if setting.get("shuffled") and not setting["pretrained"]:
        raise InputError(f"{path}: settings.{name}.shuffled: from scratch there is nothing to shuffle")
    first = setting.get("init_from")
    if first is None:
        return
    if setting["pretrained"]:
        raise InputError(f"{path}: settings.{name}.init_from: it is pretrained; set pretrained to false")
    if first not in settings:
        raise InputError(f"{path}: settings.{name}.init_from: unknown setting {first!r}")
    if settings[first]["pretrained"] or settings[first].get("init_from"):
        raise InputError(f"{path}: settings.{name}.init_from: {first} is not from scratch itself")
    here, there = (datasets.find(settings[each]["dataset"]) for each in (name, first))
    if here.overlaps(there):
        raise InputError(
            f"{path}: settings.{name}.init_from: {first} is on the images of {here.name} divided otherwise "
            f"({there.name}), and would train on images that {name} is tested on"
        )


def restrict(
    profile: Profile,
    *,
    models: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
    pretrained: bool | None = None,
    fidelity: str | None = None,
) -> Profile:
    """The part of a profile that is asked for; None leaves a thing as it is.

    `models` and `settings` choose among those of the profile. `seeds`, `epochs` and `fidelity` replace its
    own. `pretrained` starts every setting that way, under the setting's other name (`other_start`).
    Raises InputError for a name that the profile does not have, or where nothing is left.
    """
    values = copy.deepcopy(dict(profile.values))
    _refuse_unknown(profile, "model", models, {m for block in values["runs"] for m in block["models"]})
    _refuse_unknown(profile, "setting", settings, set(values["settings"]))
    for block in values["runs"]:
        block["models"] = [name for name in block["models"] if models is None or name in models]
        block["settings"] = [name for name in block["settings"] if settings is None or name in settings]
        block["seeds"] = list(block["seeds"] if seeds is None else dict.fromkeys(seeds))
    values["runs"] = [block for block in values["runs"] if block["models"] and block["settings"]]
    if pretrained is not None:
        _start_all(values, pretrained)
    values |= {
        name: given for name, given in (("epochs", epochs), ("fidelity", fidelity)) if given is not None
    }
    if epochs is not None:
        for setting in values["settings"].values():
            setting.pop("epochs", None)
    if not values["runs"]:
        raise InputError(f"profile {profile.name}: it has none of these models in these settings")
    path = _profile_path(profile.source)
    values = _validated(path, values)
    _check_names(path, values)
    return Profile(profile.name, values, profile.source)


def _refuse_unknown(profile: Profile, kind: str, asked: Sequence[str] | None, known: set[str]) -> None:
    unknown = sorted(set(asked or ()) - known)
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=3) or sorted(known)[:8]
        raise InputError(
            f"profile {profile.name} has no {kind} {', '.join(unknown)}; for example {', '.join(close)}"
        )


def _start_all(values: dict[str, Any], pretrained: bool) -> None:
    """Start every setting that way; those with a start of their own have no other, and are left out."""
    own = {name for name, one in values["settings"].items() if one.get("shuffled") or one.get("init_from")}
    for block in values["runs"]:
        block["settings"] = [name for name in block["settings"] if name not in own]
    values["runs"] = [block for block in values["runs"] if block["settings"]]
    values["settings"] = {name: setting for name, setting in values["settings"].items() if name not in own}
    renamed = {
        name: name if setting["pretrained"] == pretrained else other_start(name, pretrained)
        for name, setting in values["settings"].items()
    }
    values["settings"] = {
        renamed[name]: {**setting, "pretrained": pretrained} for name, setting in values["settings"].items()
    }
    for block in values["runs"]:
        block["settings"] = list(dict.fromkeys(renamed[name] for name in block["settings"]))


def other_start(setting: str, pretrained: bool) -> str:
    """The name of a setting when it starts the other way: from pretrained weights, or from scratch.

    The paper marks one start or the other: `derma_pt` from scratch is `derma`, `pneumonia_small` from
    scratch is `pneumonia_scratch_small`, and back.
    """
    stem, small, rest = setting.partition("_small")
    mark, other = ("_scratch", "_pt") if pretrained else ("_pt", "_scratch")
    changed = stem.removesuffix(mark) if stem.endswith(mark) else stem + other
    return changed + small + rest


def save(profile: Profile, folder: Path) -> Profile:
    """Write a profile to `<folder>/<name>.yaml`, so that other processes can load it as it is."""
    import yaml

    path = folder / f"{profile.name}.yaml"
    write_atomic(path, yaml.safe_dump(dict(profile.values), sort_keys=False))
    return Profile(profile.name, profile.values, str(path))


def without_precision(profile: Profile, device: str) -> str | None:
    """In words, that a device does not have the precision of a profile; None where it has."""
    if profile.values["precision"] != "tf32" or device.startswith("cuda"):
        return None
    return f"profile {profile.name}: precision: only NVIDIA GPUs multiply in tf32, and the device is {device}"


def check_precision(profile: Profile, device: str) -> None:
    """Raise InputError for a precision that a device does not have, before anything starts."""
    if reason := without_precision(profile, device):
        raise InputError(f"{reason}; expected fp32, bf16 or fp16")


def grid(profile: Profile, device: str = "cpu") -> list[RunSpec]:
    """Every run of a profile, in the order in which they are to be done, none twice. A run that starts from
    another comes after it, whether or not the profile asks for that one."""
    shared = {name: profile.values[name] for name in SPEC_DEFAULTS} | {"device": device}
    settings = profile.values["settings"]
    specs = [
        spec
        for block in profile.values["runs"]
        for model in block["models"]
        for setting in block["settings"]
        for seed in block["seeds"]
        for split in _splits(block, seed, settings[setting]["dataset"])
        for spec in _with_source(settings, shared, model=model, setting=setting, seed=seed, split=split)
    ]
    specs = list(dict.fromkeys(specs))
    return _shuffled(specs) if profile.values["shuffle_models"] else specs


def is_source(profile: Profile, spec: RunSpec) -> bool:
    """Whether runs may start from the network of this one: by the settings of the profile, asked for today or
    not, so that it is there when they are."""
    wanted = {setting.get("init_from") for setting in profile.values["settings"].values()}
    return spec.setting in wanted and spec.seed == SOURCE_SEED and spec.model not in models.BASELINES


def _with_source(
    settings: Mapping[str, Any], shared: Mapping[str, Any], *, model: str, setting: str, seed: int, split: int
) -> list[RunSpec]:
    """A run, and before it the one that it starts from, where its setting names one: that of seed 0.

    On the dataset of the run its source has the same split: another one would show it the run's test images.
    """
    fitted_once = {"epochs": 1} if model in models.BASELINES else {}
    values = {**shared, **settings[setting], **fitted_once}
    first = values.pop("init_from", None)
    if first is None:
        return [RunSpec(model=model, setting=setting, seed=seed, split=split, **values)]
    at = split
    if settings[first]["dataset"] != values["dataset"]:
        (at,) = _splits({"splits": "by_seed"}, SOURCE_SEED, settings[first]["dataset"])
    (source,) = _with_source(settings, shared, model=model, setting=first, seed=SOURCE_SEED, split=at)
    run = RunSpec(model=model, setting=setting, seed=seed, split=split, init_from=source.run_id, **values)
    return [source, run]


def _splits(block: Mapping[str, Any], seed: int, dataset: str) -> list[int]:
    """The splits that a seed of a block is trained on."""
    from pepr import datasets

    if block["splits"] == "by_seed":
        return [seed % datasets.find(dataset).n_splits]
    return block["splits"]


def _shuffled(specs: list[RunSpec]) -> list[RunSpec]:
    """The runs of each seed in an order drawn for it; last of them those that start from another run, which
    has seed 0."""
    ordered = []
    for seed in sorted({spec.seed for spec in specs}):
        those = [spec for spec in specs if spec.seed == seed]
        random.Random(seed).shuffle(those)
        ordered += sorted(those, key=lambda spec: spec.init_from is not None)
    return ordered
