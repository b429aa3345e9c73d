"""Versions stand in one place, and what is installed is what stands there."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
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


def test_every_pin_installs_on_every_python_that_is_allowed():
    (least,) = SpecifierSet(PROJECT["requires-python"])
    for name in PINS:
        with suppress(metadata.PackageNotFoundError):  # of another system
            needs = metadata.metadata(name).get("Requires-Python", "")
            assert SpecifierSet(needs).contains(least.version), f"{name} needs Python {needs}"
    asked = re.search(r"sys.version_info < \((.*?)\)", (ROOT / "Makefile").read_text())[1]
    assert asked.replace(", ", ".") == least.version
    for page in ("README.md", "book/appendix/running.md"):
        assert f"Python {least.version} or newer" in (ROOT / page).read_text()


def test_every_pin_is_exact():
    inexact = [n for n, pin in PINS.items() if not re.fullmatch(r"==[^*,]+", str(pin.specifier))]
    assert inexact == []


def test_the_benchmarks_are_pinned_too():
    assert [name for name in EXTRAS["bench"] if canonicalize_name(name) not in PINS] == []


def test_versions_are_pinned_in_one_place_only():
    assert [
        str(r) for names in EXTRAS.values() for r in map(Requirement, names) if r.specifier
    ] == []
    for needed in map(Requirement, PROJECT["dependencies"]):
        assert {one.operator for one in needed.specifier} <= {">="}, f"a pin in {needed}"
        (pin,) = PINS[canonicalize_name(needed.name)].specifier
        assert needed.specifier.contains(pin.version), f"{needed} excludes the pinned {pin.version}"


def test_the_wheel_says_that_it_has_types(tmp_path):
    command = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    subprocess.run([*command, "-w", tmp_path, copied(tmp_path / "source")], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert {"llrnb/py.typed", "llrnb/training/two_layer.cu"} <= set(files)


def copied(to: Path) -> Path:
    """What a wheel is built from, elsewhere, for a build leaves folders behind."""
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "llrnb", to / "llrnb", ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to)
    return to


def test_the_conda_environment_is_the_same():
    python, *rest = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert python.startswith(f"python{PROJECT['requires-python']}")
    assert rest == ["pip", {"pip": ["-c constraints.txt", "-e .[book,sweep,test]"]}]


def test_the_release_has_one_number():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert citation["version"] == latest == PROJECT["version"] == llrnb.__version__
