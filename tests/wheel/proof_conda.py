"""The conda recipe, built by rattler-build without a channel: what it needs are packages that are made here.

Python is the one at hand, pip and hatchling are those that are installed, and requirements of the run are empty
packages of the right names, whose modules come from this environment. So what is proved is the recipe: it is read,
solved, built and tested, and its package holds what the wheel holds. Not, that conda-forge has its requirements.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioimage_py import __version__

rattler = pytest.importorskip("rattler_build")

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipe" / "recipe.yaml"
SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = f"lib/python{SERIES}/site-packages"
TOOLS = {"pip": ["pip"], "hatchling": ["hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"]}


def stand_in(channel: Path, name: str, version: str, files: Path, needs: list[str] | None = None) -> None:
    files.mkdir(parents=True, exist_ok=True)
    (files / f"{name}.stand-in").touch()
    rattler.assemble_package(
        name, version, "linux-64", "0", channel / "linux-64", files_dir=files, depends=needs or [], compression_level=1
    )


def channel_of(folder: Path) -> Path:
    """A channel with a package for each requirement."""
    channel = folder / "channel"
    (channel / "noarch").mkdir(parents=True)
    (channel / "linux-64").mkdir()
    home = Path(sys.base_prefix) / "bin"
    python = folder / "python"
    (python / "bin").mkdir(parents=True)
    for name in ("python", "python3", f"python{SERIES}"):
        (python / "bin" / name).symlink_to(home / f"python{SERIES}")
    (python / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    stand_in(channel, "python", f"{SERIES}.99", python)
    for tool, parts in TOOLS.items():
        made = folder / tool
        for part in parts:
            for file in distribution(part).files or []:
                if not file.as_posix().startswith("..") and file.suffix != ".pyc":
                    target = made / PACKAGES / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(distribution(part).locate_file(file), target)
        stand_in(channel, tool, distribution(tool).version, made, ["python"])
    own = folder / "modules"  # of this environment, for one of the requirements
    (own / PACKAGES).mkdir(parents=True)
    (own / PACKAGES / "modules.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for number, need in enumerate(yaml.safe_load(RECIPE.read_text())["requirements"]["run"]):
        name, least = need.split(" >=")
        if name != "python":
            stand_in(channel, name, f"{least}.99", own if name == "numpy" else folder / f"empty{number}", ["python"])
    return channel


def index(channel: Path) -> None:
    """Write repodata.json, as a server of packages has it."""
    for kind in ("linux-64", "noarch"):
        found: dict[str, Any] = {}
        for path in (channel / kind).glob("*.conda"):
            told = rattler.Package.from_file(path)
            found[path.name] = {
                "name": str(told.name), "version": str(told.version), "build": told.build_string,
                "build_number": 0, "depends": list(told.depends), "subdir": kind, "size": path.stat().st_size,
            }  # fmt: skip
        told_all = {"info": {"subdir": kind}, "packages": {}, "packages.conda": found, "repodata_version": 1}
        (channel / kind / "repodata.json").write_text(json.dumps(told_all))


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for Python is made for Linux")
def test_the_recipe_is_built_and_tested(tmp_path: Path) -> None:
    channel = channel_of(tmp_path / "parts")
    index(channel)
    text = RECIPE.read_text().replace('python_min: "3.11"', f'python_min: "{SERIES}"')
    checkout = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in listed.split("\0"):
        if name.startswith(("bioimage_py/", "recipe/")) or name in ("pyproject.toml", "README.md", "LICENSE"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    (checkout / "recipe" / "recipe.yaml").write_text(text)
    (rendered,) = rattler.Stage0Recipe.from_file(checkout / "recipe" / "recipe.yaml").render(rattler.VariantConfig())
    built = rendered.run_build(
        tool_config=rattler.ToolConfiguration(test_strategy="native"),
        output_dir=tmp_path / "out",
        channels=[channel.as_uri()],
    )
    (package,) = built.packages
    assert re.fullmatch(rf"bioimage-blocks-{re.escape(__version__)}-pyh\w+_0\.conda", Path(package).name)
    told = rattler.Package.from_file(package)
    inside = {path.removeprefix("site-packages/") for path in map(str, told.files)}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, checkout],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert {name for name in file.namelist() if name.startswith("bioimage_py/")} <= inside
