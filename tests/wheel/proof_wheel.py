"""The wheel alone in an empty environment, then with each extra: the first steps of the README, and what is missing.

`make test-wheel` runs it. The base environment is made once; that of an extra sees the base's packages, and gets what
pip adds when one types the line that the error advises.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp

from ..inference.networks import network
from ..io.image_files.test_lif import leica
from ..io.image_files.test_nd2 import nikon

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

# A first step of each extra: arguments of bioimage-py, or Python.
STEPS: dict[str, list[list[str] | str]] = {
    "client": [
        "from bioimage_py.extras import needing\n"
        "with needing('httpx', 'A project on a server'):\n"
        "    import httpx\n"
        "from bioimage_py.projects.remote.address import server_address\n"
        "print(server_address('https://host/'))"
    ],
    "cloudvolume": ["print(bp.open_cloudvolume('layer', cache=True).shape)"],
    "dask": [
        "bp.get_runner('dask')\n"
        "from distributed import LocalCluster\n"
        "with LocalCluster(1, processes=False, dashboard_address=None) as cluster, bp.execution(dask=cluster):\n"
        "    print(bp.stats.max(bp.open_source('a.zarr', 'raw'), progress=False))"
    ],
    "em": [["info", "a.mrc"]],
    "heif": [["info", "a.heic"]],
    "inference": ["print(bp.inference.predict(bp.imread('a.zarr/raw'), 'net.onnx', tile=16, overlap=4).max())"],
    "io": [["info", "a.h5"], ["info", "slices"], ["info", "a.tif"], ["segment", "a.h5", "h5.ome.zarr", "--quiet"]],
    "learning": [
        "import numpy as np\n"
        "pieces = np.arange(1, 145).reshape(12, 12)\n"
        "graph = bp.graph.region_graph(pieces, np.random.default_rng(0).random((12, 12)))\n"
        "truth = (graph.mean() > 0.5).astype(np.int8)\n"
        "print(bp.graph.train_edges([(graph, truth)], trees=3).probabilities(graph).max())"
    ],
    "medical": [["info", "a.nii"]],
    "meshes": [["mesh", "a.zarr", "meshes", "--quiet"]],
    "microscopy": [["info", "a.nd2"], ["info", "a.lif"]],
    "projects": [["project", "create", "p.project", "--labelmap", "cells:nucleus"]],
    "server": [["server", "audit", "layer"]],
    "slurm": [["segment", "a.zarr", "slurm.ome.zarr", "--job-type", "slurm"]],
    "spaces": [
        "from bioimage_py.spaces import *\n"
        "nucleus = ObjectClass('nucleus', 'polygon')\n"
        "space = Space.for_image((32, 32), 'yx', Ontology([nucleus]))\n"
        "space.put_object_instance(ObjectInstance(nucleus), Polygon([(1, 1), (9, 1), (5, 9)]))\n"
        "print(list(space.query(Box((4, 4), (5, 5)))))"
    ],
    "sso": [
        "from bioimage_py.extras import needing\n"
        "with needing('joserfc', 'Signing in with a provider'):\n"
        "    from bioimage_py.server.accounts.provider import Provider, ProviderSettings\n"
        "provider = Provider(ProviderSettings('https://id.invalid', 'a', 'b', 'https://labels.invalid'))\n"
        "print(provider.callback)"
    ],
    "tables": [
        f"print(bp.morphology.regionprops(bp.imread('a.zarr/raw'), output_path='t.{ending}', progress=False))"
        for ending in ("parquet", "xlsx")
    ],
    "video": ["bp.imwrite('a.mp4', bp.open_source('a.zarr', 'raw')[...], axes='tyx')"],
    "view": ["print(bp.viz.view(bp.imread('a.zarr/raw')).url[:17])"],
    "viz": [["demo", "--shape", "32,32,32", "--out", "demo"]],
    "webknossos": [["info", "brain"], ["segment", "brain", "wk.ome.zarr", "--quiet"]],
}


@dataclass
class Environment:
    """A virtual environment without pip.

    Parameters
    ----------
    folder : path
    command : path
        The script `bioimage-py`.
    """

    folder: Path
    command: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin/python")

    @property
    def packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def pip(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, step: Sequence[str] | str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a step as somebody would who has nothing else installed."""
        alone = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        alone |= {"BIOIMAGE_PY_RUN_ROOT": str(folder / "runs"), "BIOIMAGE_PY_NO_CONFIG": "1", "PATH": "/usr/bin:/bin"}
        what = ["-c", f"import bioimage_py as bp\n{step}"] if isinstance(step, str) else [str(self.command), *step]
        command = [self.python, *what]
        return subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, timeout=300)


def make_environment(folder: Path, below: Sequence[Environment] = ()) -> Environment:
    """An environment that sees the packages of those below."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = Environment(folder, below[0].command if below else folder / "bin/bioimage-py")
    (made.packages / "below.pth").write_text("".join(f"{one.packages}\n" for one in below))
    return made


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = make_environment(tmp_path_factory.mktemp("environments") / "base")
    made.pip("install", "-qq", "--no-compile", "-c", str(ROOT / "constraints.txt"), str(wheel))
    return made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What the steps open."""
    import h5py
    import mrcfile
    import nibabel
    import tifffile
    import webknossos as wk
    from cloudvolume import CloudVolume

    raw = np.zeros((32, 32, 32), "u1")
    raw[4:20, 4:20, 4:20], raw[24:30, 8:30, 8:30] = 200, 220
    bp.copy(raw, str(tmp_path / "volume.zarr/raw"))
    bp.copy(raw, str(tmp_path / "a.zarr/raw"))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = raw
    tifffile.imwrite(tmp_path / "a.tif", raw, compression="lzw")
    (tmp_path / "slices").mkdir()
    for z in range(3):
        tifffile.imwrite(tmp_path / f"slices/{z}.tif", raw[z], compression="lzw")  # uncompressed ones need no extra
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(raw.astype("i2"))
    nibabel.save(nibabel.Nifti1Image(raw, np.eye(4)), tmp_path / "a.nii")
    shutil.copy(ROOT / "tests/data/heif/colour.heic", tmp_path / "a.heic")
    network(tmp_path / "net.onnx")
    nikon(tmp_path / "a.nd2", raw[:, None, None].astype("u2"))
    leica(tmp_path / "a.lif", {"a": raw[:, None, None]})
    info = CloudVolume.create_new_info(1, "image", "uint8", "raw", [8, 8, 8], [0, 0, 0], [32, 32, 32], [16, 16, 16])
    CloudVolume(f"file://{tmp_path}/layer", info=info).commit_info()
    box = wk.BoundingBox((0, 0, 0), (32, 32, 32))
    layer = wk.Dataset(tmp_path / "brain", voxel_size=(8, 8, 8)).add_layer(
        "color", "color", dtype="uint8", bounding_box=box, data_format="zarr3"
    )
    layer.add_mag(1, chunk_shape=32, shard_shape=32).write(raw.T, absolute_offset=(0, 0, 0))
    return tmp_path


def test_what_is_in_the_wheel(wheel: Path) -> None:
    assert wheel.name.startswith("bioimage_blocks-")
    names = zipfile.ZipFile(wheel).namelist()
    assert "bioimage_py/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {
        "bioimage_py",
        wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info",
    }
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "bioimage_py").rglob("*.py")}
    assert expected == {name for name in names if name.endswith(".py")}


def test_first_steps_of_the_base(base: Environment, data: Path) -> None:
    """The README's code and the commands for zarr need no extra, and print nothing that is not theirs."""
    base.pip("check")
    assert base.run(["--version"], data).stdout.startswith("bioimage-py, version ")
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for step in (*code, ["info", "a.zarr"], ["segment", "a.zarr", "o.ome.zarr", "--quiet"]):
        done = base.run(step, data)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert "2 objects" in done.stdout
    assert base.run(["evaluate", "o.ome.zarr", "o.ome.zarr", "--quiet"], data).returncode == 0
    assert (data / "volume.zarr/labels/zarr.json").exists()
    quiet = base.run("import warnings; print(bp.__version__)", data)
    assert quiet.stderr == ""


@pytest.mark.parametrize("extra", sorted(STEPS))
def test_first_steps_with_an_extra(base: Environment, data: Path, extra: str) -> None:
    """Without it the step ends with the line that installs it; what that line brings makes the step work."""
    lines = set()
    for step in STEPS[extra]:
        done = base.run(step, data)
        assert done.returncode == 1, done.stdout + done.stderr
        assert isinstance(step, str) or "Traceback" not in done.stderr
        lines.add(re.search(r"(?i)remedy: (pip install .*)", done.stderr)[1])  # type: ignore[index]
    assert lines == {f"pip install 'bioimage-blocks[{extra}]'"}
    made = make_environment(base.folder.with_name(extra), [base])
    _, *typed = shlex.split(lines.pop())
    made.pip(*typed, "-qq", "--no-compile", "-c", str(ROOT / "constraints.txt"))
    assert not list(made.packages.glob("bioimage_*"))
    for step in STEPS[extra]:
        done = made.run(step, data)
        assert "Traceback" not in done.stderr, done.stderr
        assert "pip install" not in done.stderr
        assert (done.returncode == 0) != (extra == "slurm"), done.stderr  # there is no sbatch


def test_all_extras_are_tried() -> None:
    assert {*STEPS} == {*EXTRAS} - {"all", "dev", "docs", "napari", "test"}  # napari: make test-napari
    free = sorted({*STEPS} - {"video"})  # that one brings codecs under the GPL
    assert EXTRAS["all"] == [f"bioimage-blocks[{','.join(free)}]"]
