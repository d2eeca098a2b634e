"""The numbers of our own runs that stand as tables."""

from pepr import runs
from pepr.analysis import claims as run_claims, numbers
from pepr.models.space import BASELINES

SHIPPED = runs.Results("pocket", "reference", runs.reference_folder("pocket"))


def test_the_table_of_claims_has_a_line_each_with_what_it_stands_on_and_its_verdict():
    claims = run_claims.claims(SHIPPED)
    lines = numbers.claims_table(claims).splitlines()
    assert len(lines) == 2 + len(claims)
    width = lines[0].count("|")
    for claim, line in zip(claims, lines[2:], strict=True):
        assert line.count("|") == width and line.startswith(
            f"| {claim['claim']} | {claim['role']} | {claim['basis']} |"
        )
        assert line.endswith(f"| {claim['verdict'].replace('_', ' ')} |")


def test_constant_predictors_are_counted_among_networks_since_a_baseline_is_one_by_design():
    table = SHIPPED.table
    constant = table["constant_predictor"].astype(bool)
    by_design = table["model"].isin(BASELINES)
    assert constant[by_design].sum() >= len(table[table["model"] == "majority"]) > 0
    assert numbers.run_numbers(SHIPPED)["runs_constant"]["value"] == constant[~by_design].sum()
