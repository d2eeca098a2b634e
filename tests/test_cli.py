"""The command line: shapes of its JSON, one line for an error, exit statuses."""

import json

import pytest
from typer.testing import CliRunner

from pepr import cli


def call(*arguments):
    """Exit status, standard output and standard error of `pepr ARGUMENTS`."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "pepr.cli", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def output(*arguments):
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_models_lists_the_space_in_the_designs_shape():
    rows = json.loads(output("models", "--json"))
    assert len(rows) == 135
    assert {
        "model",
        "timm_name",
        "weights",
        "weights_licence",
        "num_params",
        "cnn",
        "efficient",
        "image_sizes",
    } <= set(rows[0])
    halo = next(row for row in rows if row["model"] == "halonet26t")
    assert halo["image_sizes"] == [256]
    assert "dla46_c" in output("models", "--family", "dla")


def test_plan_is_in_the_designs_shape():
    plan = json.loads(output("plan", "--profile", "pocket", "--json"))
    assert {
        "profile",
        "runs",
        "runs_per_seed",
        "hours",
        "energy_kwh",
        "co2eq_g",
        "disk_bytes",
        "basis",
    } <= set(plan)
    assert "runs on" in output("plan", "--profile", "smoke")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "--profile", "pokket"], "pepr: unknown profile 'pokket'; known: "),
        (["models", "--family", "x"], "pepr: no architecture of family 'x'"),
        (["reproduce", "--retry", "all"], "pepr: --retry 'all': expected one of failed, contended"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(arguments, told):
    status, out, err = call(*arguments)
    assert status == 2 and out == "" and err.startswith(told) and err.count("\n") == 1
