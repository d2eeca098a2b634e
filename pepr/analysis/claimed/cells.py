"""The four settings that are compared, by start and share of the data, and the claims on networks in two."""

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
    """A claim on the mean of networks, paired by split and seed: one cell of `CELLS` against another."""

    id: str
    words: str
    first: str
    second: str
    as_good: bool = False
    measure: str = "auroc"


PAIRED_CLAIMS = (
    PairedClaim(
        "pretrained_beats_scratch_models",
        "Pretrained networks perform better than the same networks from scratch",
        "pretrained_full",
        "scratch_full",
    ),
    PairedClaim(
        "pretrained_beats_scratch_seeds_accuracy",
        "Pretrained networks perform better than the same networks from scratch (accuracy)",
        "pretrained_full",
        "scratch_full",
        measure="accuracy",
    ),
    PairedClaim(
        "tenth_as_good_as_all_pretrained",
        "Pretrained networks perform as well on a tenth of the data as on all of it",
        "pretrained_tenth",
        "pretrained_full",
        as_good=True,
    ),
    PairedClaim(
        "tenth_as_good_as_all_scratch",
        "Networks from scratch perform as well on a tenth of the data as on all of it",
        "scratch_tenth",
        "scratch_full",
        as_good=True,
    ),
    PairedClaim(
        "pretrained_tenth_as_good_as_scratch_all",
        "Pretrained networks on a tenth of the data are at least as good as from scratch on all of it",
        "pretrained_tenth",
        "scratch_full",
        as_good=True,
    ),
)
