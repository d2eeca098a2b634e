"""Launch buttons: taken from the CI or the git remote, and none where they would lead nowhere."""

import json
import subprocess

import pytest

from pepr.book.launch import Repository, as_https, find_repository, main, theme_options, with_address


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/someone/study.git", "https://github.com/someone/study"),
        ("https://token:secret@github.com/someone/study", "https://github.com/someone/study"),
        ("git@github.com:someone/study.git", "https://github.com/someone/study"),
        ("ssh://git@gitlab.com/group/part/study.git", "https://gitlab.com/group/part/study"),
        ("/srv/git/study.git", None),
        ("file:///srv/git/study.git", None),
        ("../study", None),
        ("http://localhost/someone/study", None),
        ("http://10.0.0.7/someone/study", None),
        ("", None),
    ],
)
def test_a_public_remote_has_an_address_without_credentials_and_a_local_one_none(remote, address):
    assert as_https(remote) == address


def test_the_repository_is_that_of_the_continuous_integration(tmp_path):
    github = {"GITHUB_REPOSITORY": "someone/study", "GITHUB_REF_NAME": "main"}
    assert find_repository(tmp_path, github) == Repository("https://github.com/someone/study", "main")
    assert find_repository(tmp_path, {**github, "PEPR_LAUNCH_BRANCH": "launch"}).branch == "launch"
    gitlab = {"CI_PROJECT_URL": "https://gitlab.com/someone/study", "CI_COMMIT_BRANCH": "next"}
    assert find_repository(tmp_path, gitlab) == Repository("https://gitlab.com/someone/study", "next")


def test_else_it_is_the_git_remote_and_without_one_there_is_none(tmp_path):
    assert find_repository(tmp_path, {}) is None
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    assert find_repository(tmp_path, {}) is None
    address = "git@github.com:someone/study.git"
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    assert find_repository(tmp_path, {}) == Repository("https://github.com/someone/study", "main")


def test_buttons_are_shown_only_for_hosts_that_can_be_opened():
    assert theme_options(None) == {}
    assert theme_options(Repository("https://code.example.org/someone/study")) == {}
    buttons = theme_options(Repository("https://github.com/someone/study", "launch"))
    assert set(buttons["launch_buttons"]) == {"notebook_interface", "colab_url", "binderhub_url"}
    assert buttons["repository_branch"] == "launch"
    assert "colab_url" not in theme_options(Repository("https://gitlab.com/someone/study"))["launch_buttons"]


def notebook(source: str) -> str:
    return json.dumps({"cells": [{"source": [source]}]})


def test_the_first_cell_learns_where_to_install_from(tmp_path, monkeypatch):
    text = notebook('repository = ""  # @param {type:"string"}')
    filled = with_address(text, Repository("https://github.com/someone/study"))
    assert json.loads(filled)["cells"][0]["source"] == [
        'repository = "https://github.com/someone/study"  # @param {type:"string"}'
    ]
    assert with_address(text, None) == text
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/study")
    (tmp_path / "one.ipynb").write_text(text)
    assert main([str(tmp_path)]) == 0
    assert "github.com/someone/study" in (tmp_path / "one.ipynb").read_text()


def test_without_a_public_repository_nothing_is_written(tmp_path, monkeypatch, capsys):
    for name in ("GITHUB_REPOSITORY", "CI_PROJECT_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "one.ipynb").write_text(notebook('repository = ""'))
    assert main([str(tmp_path)]) == 2
    assert "no public repository" in capsys.readouterr().err
    assert (tmp_path / "one.ipynb").read_text() == notebook('repository = ""')
