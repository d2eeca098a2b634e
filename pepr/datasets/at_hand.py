"""Whether the images that are wanted are at hand, and what to put where when they are not."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlparse

from pepr import datasets
from pepr.datasets import downloads
from pepr.errors import InputError

HOST = "https://zenodo.org"
"""Where the images come from that can be downloaded."""


def answers(url: str) -> bool:
    """Whether the host of an address takes a connection within three seconds."""
    try:
        socket.create_connection((urlparse(url).hostname, 443), timeout=3).close()
    except OSError:
        return False
    return True


def missing(wanted: Iterable[str]) -> dict[str, int]:
    """The datasets that can be had neither here nor from the network: by name, how often each is `wanted`.

    Raises InputError, which names every file and its place, where that is all of them.
    """
    runs = Counter(wanted)
    absent = [name for name in runs if not datasets.find(name).at_hand()]
    reached = any(datasets.find(name).downloadable for name in absent) and answers(HOST)
    absent = [name for name in absent if not (reached and datasets.find(name).downloadable)]
    if absent and len(absent) == len(runs):
        raise InputError(f"no image that these runs need is at hand: {to_do(absent)}")
    return {name: runs[name] for name in absent}


def to_do(names: Iterable[str]) -> str:
    """What to put where, so that datasets can be used."""
    declared = [datasets.find(name) for name in names]
    wanted = dict.fromkeys(f"{' and '.join(_needed(found))} from {found.source}" for found in declared)
    return f"put into {downloads.place()}: {'; '.join(wanted)}"


def _needed(dataset: datasets.Dataset) -> list[str]:
    """What a dataset cannot do without: of one in files of several sizes, the smallest is enough."""
    return list(dataset.files[:1] if dataset.downloadable else dataset.files) or ["nothing, but install it"]
