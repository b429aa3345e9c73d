"""Versions stand in one place, and what is installed is what stands there."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import llrnb

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {canonicalize_name(r.name): r for r in (Requirement(s) for s in LINES if s[0] != "#")}


def needed(requirements: list[str], found: set[str]) -> set[str]:
    """The packages that these requirements need on this machine, directly and in turn."""
    for requirement in map(Requirement, requirements):
        name, marker = canonicalize_name(requirement.name), requirement.marker
        if name not in found and (marker is None or marker.evaluate({"extra": ""})):
            found.add(name)
            needed(metadata.requires(name) or [], found)
    return found


def test_every_installed_package_has_its_pinned_version():
    wanted = (EXTRAS[extra] for extra in ("book", "sweep", "test"))
    installed = needed(sum(wanted, PROJECT["dependencies"]), set())
    assert {name: metadata.version(name) for name in installed if name not in PINS} == {}
    versions = {name: metadata.version(name) for name in installed}
    assert {n: v for n, v in versions.items() if not PINS[n].specifier.contains(v)} == {}


def test_every_pin_is_exact():
    inexact = [n for n, pin in PINS.items() if not re.fullmatch(r"==[^*,]+", str(pin.specifier))]
    assert inexact == []


def test_the_benchmarks_are_pinned_too():
    assert [name for name in EXTRAS["bench"] if canonicalize_name(name) not in PINS] == []


def test_versions_are_pinned_in_one_place_only():
    requirements = map(Requirement, sum(EXTRAS.values(), PROJECT["dependencies"]))
    assert [str(requirement) for requirement in requirements if requirement.specifier] == []


def test_the_conda_environment_is_the_same():
    python, *rest = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert python.startswith(f"python{PROJECT['requires-python']}")
    assert rest == ["pip", {"pip": ["-c constraints.txt", "-e .[book,sweep,test]"]}]


def test_the_release_has_one_number():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert citation["version"] == latest == PROJECT["version"] == llrnb.__version__
