"""Execute one notebook headlessly, in a fresh kernel that keeps its folder."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pepr.errors import WorkFailed

KERNEL_STARTS = 3
"""How often a kernel is tried that does not come up: its port was taken meanwhile, the disk was slow."""

DID_NOT_START = re.compile(r"Kernel died before replying|Kernel didn't respond")


def execute_notebook(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
    stdout: TextIO | None = None,
    cwd: Path | None = None,
    manager: type | None = None,
) -> None:
    """Execute a notebook with papermill in a kernel of this Python; `output` appears whole or not at all.

    `manager` is the kernel manager, where it is not Jupyter's own. A cell that fails leaves the notebook as
    far as it got. Raises what papermill raises, and WorkFailed when
    no kernel comes up.
    """
    import papermill

    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.part.ipynb")
    execute = functools.partial(
        papermill.execute_notebook,
        _literal(notebook),
        _literal(unfinished),
        parameters=dict(parameters),
        kernel_name="python3",
        progress_bar=False,
        log_output=False,
        stdout_file=stdout,
        execution_timeout=None if timeout_s is None else math.ceil(timeout_s),  # 0 would be no limit
        iopub_timeout=60,  # a busy machine prints late; that is no reason to give up a run
        # Where the kernel starts. papermill's own way moves this whole process there, and two notebooks that
        # run at once in two threads would leave it there.
        resources={"metadata": {"path": str(cwd or "")}},
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        # What a notebook leaves is on disk when its last cell ends; a polite farewell costs seconds.
        shutdown_kernel="immediate",
        **({"kernel_manager_class": manager} if manager else {}),
    )
    try:
        for attempt in range(1, KERNEL_STARTS + 1):
            try:
                execute()
                break
            except RuntimeError as error:
                if not DID_NOT_START.search(str(error)):
                    raise
                if attempt == KERNEL_STARTS:
                    raise WorkFailed(f"no kernel came up in {attempt} attempts: {error}") from None
    finally:
        if unfinished.exists():
            unfinished.replace(output)


def _literal(path: Path) -> str:
    """A path as papermill has to be told it, which puts parameters where braces are."""
    return str(path).replace("{", "{{").replace("}", "}}")
