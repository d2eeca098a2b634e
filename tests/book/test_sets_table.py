"""The table of a profile's sets: every set once, as it declares itself."""

from pepr import datasets, study
from pepr.book import study_facts


def test_every_set_of_a_profile_stands_once_with_its_counts_licence_and_benchmark():
    lines = study_facts.sets_table(study.load("medical")).splitlines()[2:]
    names = ("breastmnist", "retinamnist", "pneumoniamnist", "ham10000")
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        found = datasets.find(name)
        assert line.startswith(f"| {found.title} | {found.counts['train']:,}, ") and found.licence in line
        assert f"{found.benchmark[1]:.3f} |" in line if found.benchmark else line.endswith("| none | none |")
    assert "5, in an order" in lines[1] and "in an order" not in lines[0]
