"""The four settings that are compared, by start and share of the data, and the claims on one model in two."""

from __future__ import annotations

from dataclasses import dataclass

CELLS = {
    "scratch_full": (False, 1.0),
    "scratch_tenth": (False, 0.1),
    "pretrained_full": (True, 1.0),
    "pretrained_tenth": (True, 0.1),
}
"""(pretrained, fraction of the training split) of the four settings that are compared."""


@dataclass(frozen=True)
class PairedClaim:
    """A claim on one model, paired by split and seed: the first cell of `CELLS` against the second."""

    id: str
    words: str
    first: str
    second: str
    as_good: bool = False
    measure: str = "auroc"


PAIRED_CLAIMS = (
    PairedClaim(
        "pretrained_beats_scratch_seeds",
        "performs better pretrained than from scratch (AUROC)",
        "pretrained_full",
        "scratch_full",
    ),
    PairedClaim(
        "pretrained_beats_scratch_seeds_accuracy",
        "performs better pretrained than from scratch (accuracy)",
        "pretrained_full",
        "scratch_full",
        measure="accuracy",
    ),
    PairedClaim(
        "tenth_as_good_as_all_pretrained",
        "pretrained performs as well on a tenth of the data as on all of it",
        "pretrained_tenth",
        "pretrained_full",
        as_good=True,
    ),
    PairedClaim(
        "tenth_as_good_as_all_scratch",
        "from scratch performs as well on a tenth of the data as on all of it",
        "scratch_tenth",
        "scratch_full",
        as_good=True,
    ),
    PairedClaim(
        "pretrained_tenth_as_good_as_scratch_all",
        "pretrained, on a tenth of the data, is at least as good as from scratch on all of it",
        "pretrained_tenth",
        "scratch_full",
        as_good=True,
    ),
)
