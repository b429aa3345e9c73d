"""Binder and Colab: buttons where a repository is named, and an environment to install."""

import importlib.util
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_spec = importlib.util.spec_from_file_location("launch", ROOT / "book" / "_ext" / "launch.py")
launch = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(launch)


def test_the_book_names_its_repository_in_one_place():
    text = (ROOT / "_config.yml").read_text()
    repository = yaml.safe_load(text)["repository"]
    assert set(repository) == {"url", "branch"}
    assert text.count("repository:") == text.count("url:") == 1


@pytest.mark.parametrize("url", ["", None])
def test_without_a_repository_there_are_no_buttons(url):
    config = SimpleNamespace(html_theme_options={"repository_url": url})
    launch.configure(None, config)
    assert config.html_theme_options == {"repository_url": url}


def test_with_a_repository_there_are_buttons():
    config = SimpleNamespace(html_theme_options={"repository_url": "https://example.org/x"})
    launch.configure(None, config)
    assert config.html_theme_options["use_repository_button"]
    hosts = config.html_theme_options["launch_buttons"]
    assert {"binderhub_url", "colab_url"} <= set(hosts)


def test_binder_installs_this_package_under_its_constraints():
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert (ROOT / ".binder" / "../constraints.txt").samefile(ROOT / "constraints.txt")
    assert "-c ../constraints.txt" in lines
    (installed,) = (line.removeprefix("-e .") for line in lines if line.startswith("-e "))
    assert Requirement("llrnb" + installed).extras <= set(PROJECT["optional-dependencies"])
    version = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
