"""Whether the images that are wanted are at hand, and what to put where when they are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlparse

from pepr import datasets
from pepr.datasets import downloads
from pepr.errors import InputError

HOST = "https://zenodo.org"
"""Where the images come from that can be downloaded."""
WAIT_S = 3.0


def answers(url: str) -> bool:
    """Whether the host of an address takes a connection within three seconds: by the proxy that the
    environment names for it, where it names one, since that is how it would be fetched."""
    from requests import Request, auth, utils

    host = urlparse(url).hostname
    named = utils.select_proxy(url, utils.get_environ_proxies(url))
    proxy = urlparse(utils.prepend_scheme_if_needed(named, "http")) if named else None
    connection = HTTPConnection(
        proxy.hostname if proxy else host, (proxy.port or 80) if proxy else 443, timeout=WAIT_S
    )
    if proxy and proxy.scheme.startswith("http"):
        user = utils.get_auth_from_url(proxy.geturl())
        headers = auth.HTTPProxyAuth(*user)(Request()).headers if any(user) else {}
        connection.set_tunnel(host, 443, headers)
    try:
        connection.connect()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
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
