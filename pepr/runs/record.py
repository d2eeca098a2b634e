"""The record of a run that ended: what every one holds, whether the run went well or failed."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from pepr.errors import InputError
from pepr.runs.columns import COLUMNS, RECORD_KEYS, Record
from pepr.runs.spec import RunSpec

LARGEST_BATCH = re.compile(r"largest batch size that fits: (\d+)")


def run_record(
    spec: RunSpec,
    machine: Mapping[str, Any],
    *,
    failure: str | None = None,
    traceback: str | None = None,
    **found: Any,
) -> Record:
    """The record of one run: every column, empty where nothing was found, and what no table holds.

    `machine` is `pepr.machine.description.recorded()`: software, hardware and environment. `found` are
    columns, and the learning curve `history`, the windows of the `meter`, checksums and moments. A run with
    a `failure` (one of `pepr.errors.FAILURES`) has failed; the largest batch that would have fitted is read
    from its traceback.
    """
    fitting = LARGEST_BATCH.search(traceback or "")
    record = {
        **dict.fromkeys(COLUMNS),
        "history": [],
        "meter": {},
        **machine,
        **found,
        **spec.as_dict(),
        "run_id": spec.run_id,
        "status": "failed" if failure else "ok",
        "failure": failure,
        "largest_batch_size": int(fitting[1]) if fitting else None,
        "traceback": traceback,
    }
    unknown = record.keys() - {*COLUMNS, *RECORD_KEYS}
    if unknown:
        raise InputError(f"a record has no {', '.join(sorted(unknown))}: declare it in pepr/runs/columns.py")
    return record


def now(timespec: str = "milliseconds") -> str:
    """The time in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec=timespec)
