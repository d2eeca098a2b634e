"""The study in other versions: `python -m tests.runtimes colab-3.13` makes an environment of them, installs
the package as the notebooks' first cell does, says what that replaced, runs notebooks and tests there.

`others` is an environment beside packages of other projects that the study works with and does not need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
HERE = CHECKOUT / "_build" / "runtimes"
LOWEST = "lowest"
OTHERS = "others"
OLDEST_PYTHON = "3.11"
STAY = {"numpy", "torch"}
"""What other packages of a runtime were built for."""
NOT_OURS = ("ipykernel", "nbclient")
"""What runs a notebook where the study itself asks for no version of it."""
CORE_TESTS = (
    "tests/test_score.py",
    "tests/test_stats.py",
    "tests/test_grids.py",
    "tests/machine/test_tracker.py",
    "tests/machine/test_description.py",
    "tests/models/test_names.py",
    "tests/runs",
    "tests/tables",
)
OTHERS_TESTS = ("tests/runtimes/others.py",)
RUN_NOTEBOOK = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
if len(sys.argv) > 2:
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = first.source.replace('repository = ""', 'repository = "here"')
    first.source = first.source.replace("git+{repository}", sys.argv[2])
    notebook.cells = [first]
NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()
for cell in notebook.cells[:3]:
    print(*(part.get("text", "") for part in cell.get("outputs", [])), sep="", end="")
"""


class RuntimeFailed(Exception):
    """A step that failed; the message says which."""


def main(names: list[str]) -> int:
    for name in names:
        try:
            check(name)
        except RuntimeFailed as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


def check(name: str) -> None:
    """Everything for one runtime, in a folder of its own below `_build/runtimes`."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = folder / "bin" / "python"
    run([python_of(name), "-m", "venv", str(folder)], "making the environment")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    run([*pip, *versions_of(name, folder)], "installing the runtime")
    before = installed(python)
    if name in (LOWEST, OTHERS):
        wheel = build_wheel(python, folder)
        run([*pip, f"pepr[pocket] @ {wheel.as_uri()}"], "installing the wheel")
    else:
        print(first_cell(python, folder), end="")
    report(name, python, before, installed(python))
    if name != OTHERS:
        run_notebooks(name, python, folder)
    run([*pip, "pytest", "hypothesis", "scikit-image"], "installing what the tests need")
    tests = OTHERS_TESTS if name == OTHERS else CORE_TESTS
    run([str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], "the tests", cwd=CHECKOUT)
    print(f"{name}: all of it ran", flush=True)


def run_notebooks(name: str, python: Path, folder: Path) -> None:
    for notebook in sorted((CHECKOUT / "notebooks").glob("0*.ipynb")):
        run([str(python), "-c", RUN_NOTEBOOK, str(notebook)], notebook.name, cwd=folder)
        print(f"{name}: {notebook.name} ran", flush=True)


def python_of(name: str) -> str:
    """The Python of a runtime: on the path, or kept by pyenv."""
    version = name.partition("-")[2] or OLDEST_PYTHON
    kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if kept:
        return str(kept[-1])
    found = shutil.which(f"python{version}")
    if found is None:
        raise RuntimeFailed(f"no Python {version} on this machine")
    return found


def versions_of(name: str, folder: Path) -> list[str]:
    """What pip is told, to make a runtime: its list, or the lower ends of the project's ranges."""
    if name != LOWEST:
        return ["-r", str(Path(__file__).with_name(f"{name}.txt"))]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["pocket"]])
    lines = [f"{need.name}=={lower_end(need)}" for need in wanted]
    (folder / "lowest.txt").write_text("\n".join(lines) + "\n")
    return ["-r", str(folder / "lowest.txt"), *NOT_OURS]


def lower_end(need: Requirement) -> str:
    """The lowest version that a requirement allows, as it is written there."""
    return next(part.version for part in need.specifier if part.operator in (">=", "=="))


def build_wheel(python: Path, folder: Path) -> Path:
    command = [str(python), "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    run([*command, str(CHECKOUT)], "building the wheel", cwd=folder)
    return next(folder.glob("pepr-*.whl"))


def first_cell(python: Path, folder: Path) -> str:
    """Run the first cell of a notebook in a kernel of the runtime; it builds the package from this checkout.
    Where it starts the kernel anew, as it says, the client loses it: that is the end of the installation, not
    a failure."""
    notebook = CHECKOUT / "notebooks" / "01_data.ipynb"
    command = [str(python), "-c", RUN_NOTEBOOK, str(notebook), CHECKOUT.as_uri()]
    done = subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True)
    if done.returncode and not re.search("DeadKernelError|Kernel died|shut down", done.stderr):
        raise RuntimeFailed(f"the first cell failed:\n{done.stdout}{done.stderr}")
    lines = [line for line in done.stdout.splitlines(keepends=True) if "WARNING: Location" not in line]
    return "".join(lines)


def installed(python: Path) -> dict[str, str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format=json"]
    asked = subprocess.run(
        command, env=environment(python.parents[1]), capture_output=True, text=True, check=True
    )
    found = json.loads(asked.stdout)
    return {package["name"].lower(): package["version"] for package in found}


def report(name: str, python: Path, before: dict[str, str], after: dict[str, str]) -> None:
    """Print the runtime, what the installation added and what it replaced."""
    added = {package: version for package, version in after.items() if package not in before}
    replaced = {
        package: f"{version} -> {after.get(package)}"
        for package, version in before.items()
        if after.get(package) != version
    }
    if "pepr" not in added:
        raise RuntimeFailed("the package is not installed")
    if swapped := STAY & replaced.keys():
        raise RuntimeFailed(f"the installation replaced {', '.join(sorted(swapped))}")
    asked = subprocess.run([str(python), "-V"], capture_output=True, text=True, check=True)
    runtime = ", ".join(f"{package} {version}" for package, version in sorted(before.items()))
    print(f"{name}: {asked.stdout.strip()} with {runtime}")
    print(f"{name}: installed {', '.join(f'{package} {added[package]}' for package in sorted(added))}")
    words = ", ".join(f"{package} {replaced[package]}" for package in sorted(replaced)) or "nothing"
    print(f"{name}: replaced {words}", flush=True)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {
        **kept,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PEPR_RESULTS": str(folder / "results"),
        "PEPR_DEVICE": "cpu",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def run(command: list[str], what: str, cwd: Path | None = None) -> None:
    folder = Path(command[0]).parents[1]
    done = subprocess.run(
        command,
        env=environment(folder),
        cwd=cwd,
        stderr=subprocess.STDOUT,
        text=True,
        stdout=None if what == "the tests" else subprocess.PIPE,
    )
    if done.returncode:
        raise RuntimeFailed(f"{what} failed:\n{(done.stdout or '')[-4000:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
