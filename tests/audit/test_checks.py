"""Scores that a table holds, against every performance that they may be made of."""

import io

import pytest
from test_any_table import audited, named

from pepr.tables.scoring import score_table

BY_AUROC = (
    "model,test_accuracy,test_auroc,kwh,pepr_kwh,kwh_norm\nant,0.80,0.88,1,0.88,0.0\n"
    "bee,0.90,0.95,2,0.475,1.0\n"
)


def test_scores_of_another_performance_than_accuracy_are_reproduced(tmp_path):
    assert audited(tmp_path, BY_AUROC) == []
    found = audited(tmp_path, BY_AUROC.replace("0.475", "0.575"))
    assert named(found) == {("scores_not_reproduced", "bee")}
    assert found[0].columns == ["pepr_kwh", "kwh_norm", "test_auroc"] and found[0].expected == 0.475


@pytest.mark.parametrize("performance", ["accuracy", "auroc", "top5_pct"])
@pytest.mark.parametrize("chance", [None, 0.4])
def test_what_pepr_score_writes_is_not_accused(tmp_path, performance, chance):
    (tmp_path / "own.csv").write_text(
        "model,accuracy,auroc,top5_pct,kwh\nant,0.30,0.88,39,0.1\nbee,0.90,0.35,97,0.2\n"
        "cow,0.70,0.91,95,0.4\n"
    )
    output = io.StringIO()
    score_table(tmp_path / "own.csv", output, performance, ["kwh"], chance=chance)
    assert "scores_not_reproduced" not in {f.check for f in audited(tmp_path, output.getvalue())}
