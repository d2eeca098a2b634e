"""PePR: performance per resource unit, measured, audited and predicted for image models.

The ground floor, which everything stands on: `score` (the definition), `composites` (its relatives), `stats`,
`verdicts` (what a claim is), `quantities` (every resource and measure), `grids` (carbon of electricity),
`files`, `errors`; and `cli`, the command. Above it a folder for each thing that the study deals with, imports
going one way only:

runs/       A run: what was asked, what was recorded, and the table of many.
models/     The model space, its weights, and what one step of each needs.
datasets/   Where images come from, how they are checked, reduced, divided.
machine/    This machine: what it is, its GPUs, one meter; never imports torch.
training/   Fine-tune one model, measured; the only wing that needs torch.
tables/     Anyone's table: read, understood, scored.
audit/      What cannot be right in a table, whoever made it.
analysis/   From runs to scores, intervals, claims and costs.
published/  The authors' tables: fetched, audited, corrected, analysed again.
costs/      What a job will take before it runs, and which model a budget buys.
study/      A study: planned, forecast, carried out, recovered, verified, handed in.
book/       Everything that becomes a page.
display/    How a value appears: in text, in a table, in a figure.

The shipped profiles are in `study/profiles`; what this project measured itself is in `reference`.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`pepr.measure`, loaded where it is asked for: the package itself imports nothing."""
    if name == "measure":
        from pepr.study.measurement import measure

        return measure
    raise AttributeError(f"module 'pepr' has no attribute {name!r}")
