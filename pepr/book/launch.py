"""The public repository that a book is built from, and what opens its notebooks on Colab and Binder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pepr.errors import InputError, exit_status

LAUNCHERS = {"github.com": ("colab_url", "binderhub_url"), "gitlab.com": ("binderhub_url",)}
"""The hosts whose notebooks can be opened elsewhere, and by what. Any other host gets no button."""
ADDRESSES = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"}
SCP_LIKE = re.compile(r"(?:[\w.-]+@)?([\w.-]+):(?!//)(.+)")
EMPTY = 'repository = ""'


@dataclass(frozen=True)
class Repository:
    """A public repository: its `https` address without suffix, and the branch that holds the notebooks."""

    url: str
    branch: str = "main"

    @property
    def launchers(self) -> tuple[str, ...]:
        return LAUNCHERS.get(urlsplit(self.url).hostname or "", ())


def as_https(remote: str) -> str | None:
    """The `https` address of a git remote, without credentials or `.git`; None for a local one."""
    remote = remote.strip()
    found = SCP_LIKE.fullmatch(remote)
    if found and "/" not in found[1]:
        host, path = found[1], found[2]
    else:
        parts = urlsplit(remote)
        if parts.scheme not in {"https", "http", "ssh", "git"}:
            return None
        host, path = parts.hostname or "", parts.path
    path = path.strip("/").removesuffix(".git")
    public = "." in host and not re.fullmatch(r"[\d.]+", host)
    return f"https://{host}/{path}" if public and path.count("/") >= 1 else None


def find_repository(root: Path, environment: Mapping[str, str] = os.environ) -> Repository | None:
    """The repository of a checkout: from the variables of GitHub's or GitLab's CI, else its remote `origin`.

    `$PEPR_LAUNCH_BRANCH` names the branch with the notebooks where it is not the built one. None where no
    public repository is known.
    """
    if environment.get("GITHUB_REPOSITORY"):
        server = environment.get("GITHUB_SERVER_URL", "https://github.com")
        url = as_https(f"{server}/{environment['GITHUB_REPOSITORY']}")
        branch = environment.get("GITHUB_BASE_REF") or environment.get("GITHUB_REF_NAME")
    elif environment.get("CI_PROJECT_URL"):
        url, branch = as_https(environment["CI_PROJECT_URL"]), environment.get("CI_COMMIT_BRANCH")
    else:
        url = as_https(_git(root, "remote", "get-url", "origin"))
        branch = _git(root, "rev-parse", "--abbrev-ref", "origin/HEAD").removeprefix("origin/")
    branch = environment.get("PEPR_LAUNCH_BRANCH") or branch or "main"
    return Repository(url, branch) if url else None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def theme_options(repository: Repository | None) -> dict[str, Any]:
    """The options of the book's theme that show the launch buttons; none where they would lead nowhere."""
    if repository is None or not repository.launchers:
        return {}
    buttons = {name: ADDRESSES[name] for name in repository.launchers}
    return {
        "repository_url": repository.url,
        "repository_branch": repository.branch,
        "repository_provider": (urlsplit(repository.url).hostname or "").removesuffix(".com"),
        "launch_buttons": {"notebook_interface": "jupyterlab", **buttons},
    }


def with_address(notebook: str, repository: Repository | None) -> str:
    """A notebook (its JSON text) whose first cell knows where to install the package from."""
    if repository is None:
        return notebook
    return notebook.replace(json.dumps(EMPTY)[1:-1], json.dumps(f'repository = "{repository.url}"')[1:-1])


def write_address(folder: Path) -> None:
    """Write the repository's address into a folder's notebooks. Raises InputError where none is known."""
    repository = find_repository(folder.resolve())
    if repository is None:
        raise InputError(f"{folder.resolve()}: no public repository is known; set a git remote `origin`")
    for path in sorted(folder.glob("*.ipynb")):
        path.write_text(with_address(path.read_text(), repository))
    print(f"Notebooks in {folder} install the package from {repository.url}")


def main(arguments: list[str]) -> int:
    """`python -m pepr.book.launch FOLDER` writes the repository's address into the notebooks of a folder."""
    return exit_status(lambda: write_address(Path(arguments[0] if arguments else "notebooks")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
