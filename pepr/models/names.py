"""A model by whatever name a person has for it: with a weight tag, with the hub's prefix, or an old one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pepr.errors import InputError
from pepr.models.space import model_space

PREFIXES = re.compile(r"^(hf[-_]hub:|hf://|(https?://)?(huggingface|hf)\.co/|timm/)+")
SUFFIXES = re.compile(r"(@[\w.-]+|/(tree|blob|resolve)/.*)?/*(\?.*)?$")
"""What stands before and after a name on the hub: how it is asked for, which revision and which page."""


@dataclass(frozen=True)
class Named:
    """The plain name of an architecture, and what was taken for it in a sentence; None for a plain name."""

    model: str
    taken: str | None


def plain(asked: str) -> Named:
    """The plain name of a model: that of the model space where it has one, else timm's of today.

    Raises InputError for a tag that the architecture does not have, naming those that it has, and for a model
    of another owner of the hub.
    """
    name = SUFFIXES.sub("", PREFIXES.sub("", asked.strip().lower()), count=1)  # timm has small letters only
    if "/" in name:
        raise InputError(f"model {asked!r}: of the hub only timm's own models are known, `hf-hub:timm/NAME`")
    if name not in model_space():
        name = _without_tag(name)
    if name == asked:
        return Named(name, None)
    return Named(name, f"{asked} is taken as {name}: what it costs does not depend on the weights")


def _without_tag(name: str) -> str:
    """Today's name of an architecture, without a tag; a name that timm does not know stays as it is."""
    import timm

    renamed = timm.models.get_deprecated_models().get(name)
    if renamed is not None:
        return renamed.partition(".")[0]
    architecture, _, tag = name.partition(".")
    if tag and architecture in timm.list_models():
        known = [full.partition(".")[2] for full in timm.models.get_arch_pretrained_cfgs(architecture)]
        if tag not in known:
            listed = ", ".join(filter(None, known)) or "none"
            raise InputError(f"model {name!r}: {architecture} has no weights {tag!r}; it has {listed}")
    return architecture
