"""Bring a file here: from the folder that the user supplies, else by a download that resumes and is checked.

pooch, which fetches the small published tables, begins a broken download again from nothing; the image
sets are up to gigabytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pepr import files
from pepr.errors import PASSING, DataUnavailable

if TYPE_CHECKING:
    from tqdm import tqdm

ATTEMPTS = 4
"""Attempts in a row that bring not one byte, before a download is given up."""
TIMEOUT_S = (10, 30)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK_BYTES = 2**16
"""Bytes written at a time: at most so many are lost when a connection breaks."""


def supplied(*parts: str) -> Path | None:
    """A file of the folder that the user named in `PEPR_DATA`; None where there is none."""
    folder = files.named_folder("PEPR_DATA")
    path = folder.joinpath(*parts) if folder else None
    return path if path is not None and path.exists() else None


def supplied_files(pattern: str) -> list[Path]:
    """The files of the folder that the user named in `PEPR_DATA` that a pattern finds, in order."""
    folder = files.named_folder("PEPR_DATA")
    return sorted(folder.glob(pattern)) if folder else []


def place(*parts: str) -> str:
    """Where a user puts a file by hand, in words: `$PEPR_DATA/...` with the folder that it names now."""
    folder = os.environ.get("PEPR_DATA")
    return "/".join(["$PEPR_DATA", *parts]) + (
        f" (PEPR_DATA={folder})" if folder else " (PEPR_DATA is not set)"
    )


def cache() -> Path:
    """The folder of finished downloads, the user's cache of the operating system."""
    import pooch

    return Path(pooch.os_cache("pepr"))


def fetch(url: str, path: Path, *, md5: str, wait_s: float = 1.0) -> Path:
    """Download `url` to `path`, which appears only when its MD5 is right; a file that is there is kept.

    An interrupted download goes on where it stopped, in this call or a later one, where the server allows
    it. Passing failures are tried again, with pauses that double from `wait_s` seconds. Two processes that
    want one file wait for each other. Raises DataUnavailable with the reason, which may be the disk's.
    """
    try:
        # Where it is there, nothing need be written, not even a lock.
        return path if path.exists() else _fetch(url, path, md5, wait_s)
    except OSError as error:
        raise DataUnavailable(f"{type(error).__name__}: {error}") from error


def _fetch(url: str, path: Path, md5: str, wait_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with _locked(part) as stream:
        if path.exists():
            return path
        for resumed in (stream.seek(0, os.SEEK_END) > 0, False):
            _receive(url, stream, path.name, wait_s)
            stream.flush()
            found = files.checksum(part, "md5")
            if found == md5:
                os.fsync(stream.fileno())
                part.replace(path)
                return path
            stream.truncate(0)
            if not resumed:
                break
    raise DataUnavailable(f"what came from {url} has the MD5 {found}, not {md5}")


def _receive(url: str, stream: IO[bytes], name: str, wait_s: float) -> None:
    """Append what is missing of `url` to a file that is open for appending."""
    import requests
    from tqdm import tqdm

    failures = 0
    with tqdm(desc=name, unit="B", unit_scale=True, disable=None) as bar:
        while True:
            before = stream.seek(0, os.SEEK_END)
            try:
                return receive_once(url, stream, bar)
            except (requests.RequestException, OSError) as error:
                if not _is_passing(error):
                    raise DataUnavailable(f"{type(error).__name__}: {error}") from error
                failures = 1 if stream.tell() > before else failures + 1
                if failures >= ATTEMPTS:
                    raise DataUnavailable(f"{type(error).__name__}: {error}") from error
                time.sleep(wait_s * 2 ** (failures - 1))


def receive_once(url: str, stream: IO[bytes], bar: tqdm) -> None:
    """Add to `stream` what it has not of the file at `url`, or all of it where the host has no parts."""
    import requests

    have = stream.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:  # nothing is left to ask for: the checksum will tell
            return
        response.raise_for_status()
        if response.status_code != 206 or not response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            stream.truncate(0)
            have = 0
        left = response.headers.get("Content-Length")
        bar.reset(have + int(left) if left else None)
        bar.update(have)
        for chunk in response.iter_content(CHUNK_BYTES):
            bar.update(stream.write(chunk))


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a moment later: a server's refusal and a full disk do not pass."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response.status_code in PASSING
    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, passing)


@contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """The unfinished file, open for appending and held by this process alone."""
    while True:
        with part.open("ab") as stream:
            files.lock(stream.fileno(), wait=True)
            # Whoever held the file before may have finished and moved it: then it is not this name any more.
            if part.exists() and part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                try:
                    yield stream
                finally:
                    if part.exists() and part.stat().st_size == 0:
                        part.unlink()
                return
