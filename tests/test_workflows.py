"""What the hosted checks run: targets that there are, and what needs the authors' tables after these."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"


def commands(name: str, job: str) -> list[str]:
    """What the steps of a job run, in order."""
    steps = yaml.safe_load((WORKFLOWS / name).read_text())["jobs"][job]["steps"]
    return [step["run"] for step in steps if "run" in step]


def after_the_tables(name: str, job: str) -> list[str]:
    """What the steps of a job run once the authors' tables were fetched, without which it fails."""
    steps = commands(name, job)
    fetch = next(number for number, step in enumerate(steps) if "published.load()" in step)
    assert "make setup" in steps[:fetch]
    return steps[fetch + 1 :]


def test_the_book_is_built_after_the_authors_tables_were_fetched_or_not_at_all():
    assert after_the_tables("pages.yml", "build") == ["make check-book"]


def test_one_job_runs_style_the_slow_tests_and_a_study_with_the_authors_tables():
    expected = ["make lint", "make test", "make test-slow", "make reproduce PROFILE=smoke"]
    assert after_the_tables("tests.yml", "study") == expected


def test_every_target_that_a_workflow_calls_is_one():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS.glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"]:
            steps = "\n".join(commands(path.name, job))
            called = re.findall(r"^make (?:\w+=\S+ )*([a-z-]+)", steps, re.MULTILINE)
            assert set(called) <= targets, (path.name, job)
