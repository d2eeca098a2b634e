"""The numbers of our own runs that stand as tables."""

from pepr import runs
from pepr.analysis import claims as run_claims, numbers

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
