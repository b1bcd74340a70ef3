"""What says the same in several places does: version, licence and requirements."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

import bioimage_py

from .snippets import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = {"opencv-python-headless": "py-opencv"}
"""Names that conda-forge has for packages of PyPI, where they differ."""


def recipe() -> dict[str, Any]:
    """The recipe, with the values of its context."""
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "recipe" / "recipe.yaml").read_text()
    context = {**yaml.safe_load(text)["context"], "PYTHON": "python"}
    read: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\{ (\w+) \}\}", lambda name: context[name[1]], text))
    return read


def test_the_recipe_is_that_of_the_project() -> None:
    found = recipe()
    assert found["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    needs = [re.fullmatch(r"([\w-]+)(.*)", need) for need in PROJECT["dependencies"]]
    expected = {f"{CONDA.get(need[1], need[1])} {need[2]}" for need in needs if need}
    assert set(found["requirements"]["run"]) == {*expected, f"python {PROJECT['requires-python']}"}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {need.replace(">=", " >=") for need in build} <= set(found["requirements"]["host"])
    scripts = [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]
    assert found["build"]["python"]["entry_points"] == scripts
    assert found["about"]["license"] == PROJECT["license"]
    assert found["about"]["summary"] == PROJECT["description"]
    assert (ROOT / "recipe" / found["source"]["path"] / found["about"]["license_file"]).is_file()
    assert {"bioimage_py"} <= set(found["tests"][0]["python"]["imports"])


def test_the_citation_is_that_of_the_project() -> None:
    yaml = pytest.importorskip("yaml")
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= set(told)
    assert (told["version"], told["license"]) == (PROJECT["version"], PROJECT["license"])
    assert told["abstract"] == PROJECT["description"]
    assert told["authors"] == PROJECT["authors"]


def test_the_version_is_one() -> None:
    assert bioimage_py.__version__ == PROJECT["version"]
    assert f"({PROJECT['version']})" in (ROOT / "README.md").read_text()
