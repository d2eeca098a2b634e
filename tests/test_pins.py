"""The pins of `requirements.lock` against what the project promises."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pepr import models

CHECKOUT = Path(__file__).parents[1]


def test_every_pin_installs_on_the_oldest_python_that_is_promised():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    (oldest,) = SpecifierSet(project["requires-python"])
    lines = (CHECKOUT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line.split("#")[0]) for line in lines if "==" in line]
    assert len(pins) > 200
    refused = {}
    for pin in pins:
        wanted = metadata.metadata(pin.name).get("Requires-Python")
        # A package may ask for 3.11.5, where Debian 12 has 3.11.2.
        if wanted and not SpecifierSet(wanted).contains(f"{oldest.version}.0"):
            refused[str(pin)] = wanted
    assert not refused, f"Python {oldest.version}.0 cannot install them"


def test_what_the_package_imports_of_others_is_named_and_not_left_to_what_brings_it():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    named = {Requirement(line).name for line in project["dependencies"]}
    code = "".join(path.read_text() for path in (CHECKOUT / "pepr").rglob("*.py"))
    brought = {"huggingface_hub": "huggingface-hub", "PIL": "pillow"}
    for module in ("huggingface_hub", "PIL", "requests", "threadpoolctl"):
        assert re.search(rf"^ *(import|from) {module}\b", code, re.MULTILINE), f"{module} is not used"
        assert brought.get(module, module) in named


def test_packages_without_their_dependencies_are_pinned_to_one_file_and_in_no_other_list():
    lines = (CHECKOUT / "requirements-no-deps.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins and all("==" in pin and " --hash=sha256:" in pin for pin in pins)
    others = (CHECKOUT / "requirements.lock").read_text() + (CHECKOUT / "pyproject.toml").read_text()
    for package in models.OFFLINE_WEIGHTS.values():
        named = package.install.split()[-1]
        if package.install.startswith("--no-deps"):
            assert any(pin.startswith(f"{named} ") for pin in pins), named
            assert named.partition("==")[0] not in others
        else:
            assert named in others
