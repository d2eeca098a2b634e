"""An error that the first runs of a study share is a fault of the machine, not of the runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pepr.runs.store import Store

FIRST_ALIKE = 3
"""So many first runs that end alike, or all where there are fewer, are no coincidence."""
OF_A_MACHINE = ("error", "meter_failed", "kernel_died")
"""Kinds of failure that nothing about a run explains: memory, data, weights and divergence are its own."""
VARYING = re.compile(r"0x[0-9a-f]+|\d+")


def find(store: Store, to_do: Iterable[str]) -> tuple[list[str], str] | None:
    """The runs among `to_do`, none of which had a record when the study began, that show a fault of the
    machine, and their error; None where a run ended well, or they ended for different reasons, or too few."""
    to_do = list(to_do)
    ended = [record for run_id in to_do if (record := store.read_record(run_id)) is not None]
    enough = min(FIRST_ALIKE, len(to_do))
    if enough < 2 or len(ended) < enough or any(record["status"] == "ok" for record in ended):
        return None
    kinds = {(record["failure"], VARYING.sub("#", last_line(record))) for record in ended}
    if len(kinds) > 1 or ended[0]["failure"] not in OF_A_MACHINE:
        return None
    return [record["run_id"] for record in ended], f"{ended[0]['failure']}: {last_line(ended[0]).rstrip('.')}"


def last_line(record: Mapping[str, Any]) -> str:
    """The last line of a failed run's traceback: the error itself."""
    lines = (record.get("traceback") or "").strip().splitlines()
    return lines[-1] if lines else ""
