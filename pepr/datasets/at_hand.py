"""Whether the images that are wanted are at hand, and what to put where when they are not."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from urllib.parse import ParseResult, unquote, urlparse
from urllib.request import getproxies, proxy_bypass

from pepr import datasets
from pepr.datasets import downloads
from pepr.errors import InputError

HOST = "https://zenodo.org"
"""Where the images come from that can be downloaded."""
WAIT_S = 3.0


def answers(url: str) -> bool:
    """Whether the host of an address takes a connection within three seconds: by the proxy that the
    environment names for it, where it names one, since that is how it would be fetched."""
    host = urlparse(url).hostname
    proxy = None if proxy_bypass(host) else _proxy(urlparse(url).scheme)
    connection = HTTPConnection(
        proxy.hostname if proxy else host, (proxy.port or 80) if proxy else 443, timeout=WAIT_S
    )
    if proxy and proxy.scheme.startswith("http"):
        connection.set_tunnel(host, 443, _credentials(proxy))
    try:
        connection.connect()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def _proxy(scheme: str) -> ParseResult | None:
    """The proxy that the environment names for a scheme; one without a scheme of its own speaks HTTP."""
    named = getproxies().get(scheme)
    if not named:
        return None
    return urlparse(named if "://" in named else f"http://{named}")


def _credentials(proxy: ParseResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}


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
