"""On hundreds of small tables, half honest and awkward, the audit names what was planted and little else."""

from collections import Counter
from pathlib import Path

import corpus
import pytest
from makers import Case

from pepr.audit import Finding, audit_file
from pepr.audit.finding import NOTE

PRECISION, RECALL = 0.98, 0.95


def judged(case: Case, path: Path) -> tuple[set[str], list[Finding]]:
    """The planted models that were named, and the findings that name something else."""
    path.write_text(case.text)
    found = [finding for finding in audit_file(path) if finding.severity != NOTE]
    right = [f for f in found if f.model in case.planted and f.check in case.checks]
    named = {str(finding.model) for finding in right}
    wrong = [finding for finding in found if finding not in right]
    per_model = Counter((finding.check, finding.model) for finding in right)
    wrong += right[:1] * sum(count - 1 for count in per_model.values())
    return named, wrong


def check_corpus(seed: int, path: Path) -> None:
    cases = corpus.corpus(seed=seed)
    honest = sum(not case.planted for case in cases)
    assert len(cases) >= 400 and honest >= len(cases) / 2
    named = planted = accused = unseen = 0
    told, missed = Counter(), Counter()
    for case in cases:
        right, others = judged(case, path)
        named, planted = named + len(right), planted + len(case.planted)
        accused += bool(others and not case.planted)
        unseen += bool(case.planted and not right)
        told.update(f"{case.kind}: {finding.check}" for finding in others)
        missed.update([case.kind] * len(case.planted - right))
    assert named / (named + told.total()) >= PRECISION, told
    assert named / planted >= RECALL, missed
    assert accused <= (1 - PRECISION) * honest, told
    assert unseen <= (1 - RECALL) * (len(cases) - honest), missed


def test_precision_and_recall_by_row_and_by_table(tmp_path):
    check_corpus(1, tmp_path / "table.csv")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_precision_and_recall_on_other_draws(tmp_path, seed):
    check_corpus(seed, tmp_path / "table.csv")
