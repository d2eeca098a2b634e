"""The map of the package: one line a folder, alike in the package, in CONTRIBUTING and in the folder."""

import ast
import doctest
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

import pepr
from pepr import files

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(
    path.parent.name for path in (ROOT / "pepr").glob("*/__init__.py") if path.parent.name != "reference"
)
VARIABLE = re.compile(r"\bPEPR_[A-Z_]+\b")
EXAMPLES = ("pepr.score", "pepr.runs.results", "pepr.machine.meter", "pepr.audit.report")


def first_line(folder):
    return importlib.import_module(f"pepr.{folder}").__doc__.strip().splitlines()[0]


def test_the_package_has_one_line_for_each_of_its_folders_and_it_is_the_folders_own():
    lines = dict(re.findall(r"^(\w+)/ +(.+)$", pepr.__doc__, re.MULTILINE))
    assert lines == {folder: first_line(folder) for folder in FOLDERS}


def test_every_variable_of_the_environment_that_the_package_reads_is_listed_in_one_place():
    code = (path.read_text() for path in sorted((ROOT / "pepr").rglob("*.py")))
    listed = re.findall(r"^(PEPR_[A-Z_]+) +\S", files.__doc__, re.MULTILINE)
    assert len(listed) > 10 and set(listed) == {name for text in code for name in VARIABLE.findall(text)}


def test_no_two_modules_of_tests_have_one_name():
    """pytest imports each by its name alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert names and [name for name, count in names.items() if count > 1] == []


def test_contributing_has_the_same_lines():
    rows = dict(
        re.findall(r"^\| `pepr/(\w+)/` \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    )
    assert rows == {folder: first_line(folder) for folder in FOLDERS}


def test_every_path_that_contributing_and_the_readme_name_is_there():
    for name in ("CONTRIBUTING.md", "README.md"):
        named = re.findall(r"`((?:pepr|workflow|notebooks|tests)/[\w./]+)`", (ROOT / name).read_text())
        new = {"notebooks/08_yours.ipynb"}
        assert len(named) > 3
        assert [path for path in named if path not in new and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_module_are_there_and_print_what_they_say(name):
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted > 0 and done.failed == 0


def test_only_modules_that_read_or_write_json_handle_dictionaries_of_anything():
    loose = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("pepr/**/*.py")
        if path.name != "columns.py"  # where it is declared what a record holds
        and "dict[str, Any]" in (text := path.read_text())
        and not re.search(r"^ *import (json|yaml)$", text, re.MULTILINE)
    ]
    assert loose == []


def test_tests_use_what_modules_offer_and_not_what_they_keep_to_themselves():
    kept = []
    for path in ROOT.glob("tests/**/*.py"):
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules = {
            name.asname or name.name
            for node in imports
            for name in node.names
            if (node.module or "").split(".")[0] in ("pepr", "benchmarks")
        }
        kept += [
            f"{path.name}: {node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ]
    assert kept == []


def test_no_wing_is_a_corridor():
    """Fourteen folders and ten modules at most; sixteen modules beside a wing's face, 500 lines in each."""
    package = Path(pepr.__file__).parent
    files = [path for path in package.rglob("*.*") if path.suffix != ".pyc" and path.parent != package]
    folders = {path.relative_to(package).parts[0] for path in files}
    assert len(folders) <= 14, folders
    for wing in {path.parent for path in package.rglob("*.py")}:
        modules = [path for path in wing.glob("*.py") if wing == package or path.name != "__init__.py"]
        assert len(modules) <= (10 if wing == package else 16), (wing.name, len(modules))
    long = {str(path): path.read_text().count("\n") for path in package.rglob("*.py")}
    assert max(long.values()) <= 500, max(long, key=long.get)


def test_the_score_is_divided_in_one_place():
    """Beside the definition nothing divides by 1 + R; what a model wins by, and a band, are no score."""
    divides = re.compile(r"(?<!2\.0) / \(1(?:\.0)? \+ (?!BAND|R_norm)")
    found = [path.name for path in Path(pepr.__file__).parent.rglob("*.py") if divides.search(_code(path))]
    assert found == ["score.py"]


def _code(path: Path) -> str:
    """A module without its docstrings and comments."""
    return ast.unparse(
        ast.parse(re.sub(r'"""(?:[^"]|"(?!""))*"""', "''", path.read_text())),
    )


def test_what_a_process_has_loaded_is_asked_in_one_place():
    asking = {path.name for path in (ROOT / "pepr").rglob("*.py") if "sys.modules" in path.read_text()}
    assert asking == {"modules.py"}
