"""What the hosted checks run: targets that there are, and no book without the authors' tables."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"


def commands(name: str, job: str) -> list[str]:
    """What the steps of a job run, in order."""
    steps = yaml.safe_load((WORKFLOWS / name).read_text())["jobs"][job]["steps"]
    return [step["run"] for step in steps if "run" in step]


def test_the_book_is_built_after_the_authors_tables_were_fetched_or_not_at_all():
    steps = commands("pages.yml", "build")
    fetch = next(number for number, step in enumerate(steps) if "published.load()" in step)
    assert steps.index("make setup") < fetch < steps.index("make check-book")


def test_every_target_that_a_workflow_calls_is_one():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS.glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"]:
            called = re.findall(r"^make (?:\w+=\S+ )*([a-z-]+)", "\n".join(commands(path.name, job)), re.M)
            assert set(called) <= targets, path.name
