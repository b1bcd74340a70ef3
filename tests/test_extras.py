"""Optional libraries: without each of them, every first step that needs it says what to install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py import extras

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# What needs a library, on data that exists: Python, or a command line (a list).
STEPS: dict[str, tuple[str | list[str], ...]] = {
    "DracoPy": ("bp.mesh.surfaces(array, 'meshes', levels=1)", ["mesh", "a.zarr", "meshes", "--levels", "1"]),
    "alembic": (["server", "check", "slices"],),
    "argon2": (["server", "user", "add", "slices", "alice"],),
    "av": ("bp.open_source('a.mp4')",),
    "cloudfiles": ("bp.open_cloudvolume(layer, compress='br')", "bp.open_cloudvolume(layer, compress='zstd')"),
    "cloudvolume": (
        "bp.open_cloudvolume(layer, cache=True)",
        "bp.open_cloudvolume('graphene://https://nobody.invalid/a')",
        "bp.open_cloudvolume(crackled)",
        ["info", "crackled"],
        ["segment", "crackled", "out.ome.zarr"],
    ),
    "distributed": (
        "bp.stats.max(stored, job_type='dask')",
        "bp.get_runner('dask')",
        ["segment", "a.zarr/raw", "out.ome.zarr", "--job-type", "dask"],
    ),
    "fastapi": (["server", "run", "served"],),
    "h5py": (
        "bp.open_source('a.h5', 'raw')",
        "bp.open_source('a.h5/raw', mode='r+')",
        "bp.io.open_file('a.h5')",
        "bp.io.create_array('b.h5', 'raw', shape=(4, 4), dtype='u1')",
        "bp.copy(array, 'b.h5/raw')",
        "bp.open_source('b.h5', 'raw', mode='a', shape=(4, 4), dtype='u1')",
        "importing.import_folder(project(), 'h5')",
        ["info", "a.h5"],
        ["segment", "a.h5/raw", "out.ome.zarr"],
        ["evaluate", "a.h5", "a.h5", "--seg-key", "raw", "--gt-key", "raw"],
    ),
    "httpx": ("Connection('https://nobody.invalid', 'a', 'b')",),
    "imagecodecs": ("bp.open_source('packed.tif')", "bp.open_source('packed')", ["info", "packed.tif"]),
    "jinja2": (["server", "run", "served"],),
    "joserfc": (["server", "run", "served", "--oidc", "provider.toml"],),
    "liffile": ("bp.open_source('a.lif')",),
    "matplotlib": (
        "bp.viz.overview(array, array, path='o.png')",
        "bp.viz.label_colors(array)",
        "bp.workflows.demo('demo', (16, 16, 16))",
        ["demo", "--out", "demo", "--shape", "16,16,16"],
    ),
    "mrcfile": ("bp.open_source('a.mrc')", ["info", "a.mrc"]),
    "nd2": ("bp.open_source('a.nd2')",),
    "neuroglancer": ("bp.viz.view(array)", ["view", "a.zarr/raw", "--no-browser"]),
    "nibabel": (
        "importing.import_nnunet(project(), 'nnunet')",
        "nnunet.export_nnunet(project(), 'out', file_ending='.nii.gz')",
        "nnunet.export_nnunet(project(), 'out', file_ending='.nii')",
    ),
    "onnxruntime": (
        "bp.inference.predict(array, 'net.onnx')",
        "bp.inference.predict(array, bp.inference.OnnxModel('a'))",
    ),
    "openpyxl": ("bp.morphology.regionprops(array.astype('u1'), output_path='t.xlsx')",),
    "pg8000": (["server", "check", "slices", "--database", "postgresql://nobody.invalid/a"],),
    "pyarrow": (
        "bp.morphology.regionprops(array.astype('u1'), output_path='t.parquet')",
        "bp.morphology.regionprops(array.astype('u1'), 't.parquet')",
    ),
    "pi_heif": ("bp.open_source('a.heic')", ["info", "a.heic"]),
    "pydantic": (
        "bp.projects.Project",
        ["project", "create", "p"],
        ["project", "validate", "slices"],
        ["project", "import", "slices", "h5"],
    ),
    "pydicom": ("importing.import_dicom(project(), 'dicom')",),
    "pyfqmr": (
        "bp.mesh.surfaces(array, 'meshes', format='ply', max_error=1)",
        ["mesh", "a.zarr", "meshes", "--format", "ply", "--max-error", "1"],
    ),
    "shapely": ("clipped()",),
    "sklearn": ("bp.graph.train_edges([])",),
    "sqlalchemy": (["server", "audit", "slices"],),
    "submitit": (
        "bp.copy(stored, 'out.zarr/a', job_type='slurm')",
        "bp.stats.max(stored, job_type='slurm')",
        "bp.get_runner('slurm')",
        "bp.map_blocks(lambda block, inputs, outputs, mask: None, [stored], job_type='slurm')",
        ["segment", "a.zarr/raw", "out.ome.zarr", "--job-type", "slurm"],
        ["evaluate", "a.zarr/raw", "a.zarr/raw", "--job-type", "slurm"],
    ),
    "tifffile": (
        "bp.open_source('a.tif')",
        "bp.open_source('slices')",
        "bp.io.open_file('a.tif')",
        ["info", "a.tif"],
        ["info", "slices"],
        ["segment", "slices", "out.ome.zarr"],
    ),
    "uvicorn": (["server", "run", "served"],),
    "webknossos": (
        "bp.open_webknossos('wk', layer_name='color')",
        "bp.open_webknossos('https://nobody.invalid/datasets/1')",
        ["info", "wk"],
        ["segment", "wk/color/1", "out.ome.zarr"],
    ),
    "wkw": ("bp.open_webknossos('wk', layer_name='color')", ["info", "wk"]),
    "z5py": ("bp.io.open_file('a.n5')",),
}

_PROGRAM = """
import json, sys
hidden, steps = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(hidden))
import numpy as np
from click.testing import CliRunner
import bioimage_py as bp
from bioimage_py.cli import main

if "pydantic" not in hidden:
    from bioimage_py.projects import importing
    from bioimage_py.projects.remote.connection import Connection
    from bioimage_py.projects.exchange import nnunet

array, layer, crackled = np.zeros((4, 4, 4), "u1"), "file://layer", "crackled"
stored = bp.open_source("a.zarr", "raw")
count = iter(range(99))


def project():
    from bioimage_py.projects import LayerKind, Project, ProjectSettings

    made = Project.create(ProjectSettings("p"), f"project{next(count)}")
    made.add_labelmap_layer("labels")
    made.add_descriptor(array, "case")
    return made


def clipped():
    from bioimage_py.spaces import ObjectClass, ObjectInstance, Ontology, Polygon, Space

    ontology = Ontology([ObjectClass("cell", "polygon")])
    space = Space.for_image((4, 4), ("y", "x"), ontology)
    space.put_object(ObjectInstance(ontology.objects[0]), Polygon([(0, 0), (9, 0), (9, 9)]), outside="clip")


def told(step):
    if isinstance(step, list):
        done = CliRunner(mix_stderr=False).invoke(main, step)
        if done.exit_code != 1 or not done.stderr.startswith("Error: "):
            return f"exit code {done.exit_code}: {done.stderr}{done.exception!r}"
        return done.stderr.strip().rpartition("Remedy: ")[2]
    try:
        eval(step)
    except bp.errors.MissingDependencyError as error:
        return error.remedy
    except Exception as error:
        return repr(error)
    return "no error"


print(json.dumps([told(step) for step in steps]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind that an optional library reads."""
    h5py = pytest.importorskip("h5py")
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    from .sources.precomputed.precomputed_layers import new_layer
    from .sources.webknossos.webknossos_data import add_layer, add_mag, fill, wk

    folder = tmp_path_factory.mktemp("extras")
    array = np.arange(64, dtype="u1").reshape(4, 4, 4)
    bp.copy(array, str(folder / "a.zarr/raw"))
    for name in ("h5", "slices", "packed", "dicom", "nnunet/imagesTr"):
        (folder / name).mkdir(parents=True)
    for name in ("a.h5", "h5/a.h5"):
        with h5py.File(folder / name, "w") as file:
            file["raw"] = array
    tifffile.imwrite(folder / "a.tif", array)
    tifffile.imwrite(folder / "packed.tif", array, compression="jpeg2000")
    for z in range(2):
        tifffile.imwrite(folder / f"slices/{z}.tif", array[z])
        tifffile.imwrite(folder / f"packed/{z}.tif", array[z], compression="lzw")
    (folder / "dicom/a.dcm").write_bytes(bytes(128) + b"DICM")
    for name in ("nnunet/imagesTr/a_0000.nii.gz", "a.mrc", "a.lif", "a.nd2", "a.mp4", "a.heic"):
        (folder / name).touch()
    about = {"channel_names": {"0": "a"}, "labels": {"background": 0}, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "nnunet/dataset.json").write_text(json.dumps(about))
    new_layer(folder / "layer", array)
    new_layer(folder / "crackled", array.astype("u8"), encoding="crackle")
    bp.io.create_array(folder / "a.n5", "raw", shape=(4, 4), dtype="u1")
    fill(add_mag(add_layer(wk.Dataset(folder / "wk", voxel_size=(1, 1, 1)), "color", "wkw", dtype="uint8"), 1))
    told = {"issuer": "https://id.invalid", "client_id": "a", "client_secret": "b", "url": "https://labels.invalid"}
    (folder / "provider.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items()))
    return folder


# Without pydantic there are no projects to try the others on; without tifffile and webknossos nobody asks for
# imagecodecs and wkw.
FIRST, LAST = {"pydantic", "tifffile", "webknossos"}, {"joserfc"}  # what others need first, and the other way round


@pytest.mark.parametrize("hidden", [FIRST, set(STEPS) - FIRST - LAST, LAST], ids=["first", "further", "last"])
def test_first_step_without_a_library(data: Path, tmp_path: Path, hidden: set[str]) -> None:
    for entry in data.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    steps = [
        (step, f"pip install 'bioimage-blocks[{extras._EXTRAS[name]}]'") for name in hidden for step in STEPS[name]
    ]
    command = [sys.executable, "-c", _PROGRAM, json.dumps([sorted(hidden), [step for step, _ in steps]])]
    where = {**os.environ, "BIOIMAGE_PY_RUN_ROOT": str(tmp_path / "runs"), "BIOIMAGE_PY_NO_CONFIG": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    told = [(step, remedy) for (step, _), remedy in zip(steps, json.loads(done.stdout), strict=True)]
    assert [pair for pair in told if pair not in steps] == []
    assert not (tmp_path / "demo").exists()


def test_every_optional_library_is_known() -> None:
    """The extras of the project, and where the package looks for the one that brings a library, are the same."""
    assert set(STEPS) == set(extras._EXTRAS)
    modules: dict[str, set[str]] = {}
    for module, names in packages_distributions().items():
        for name in names:
            modules.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(module)
    # napari loads this package, and not the other way round: nothing here asks for it
    for extra in PROJECT["optional-dependencies"].keys() - {"all", "dev", "docs", "napari", "test"}:
        for requirement in PROJECT["optional-dependencies"][extra]:
            if requirement.startswith(extras.DISTRIBUTION):  # an extra that brings another one
                continue
            found = modules[re.match(r"[\w-]+", requirement)[0].lower()]  # type: ignore[index]
            # a library of two extras is told with the first
            others = {"imagecodecs"} if extra == "microscopy" else set()
            # uvicorn takes these where they are there, and nothing of this package asks for them
            others |= {"httptools", "uvloop"} if extra == "server" else set()
            assert {extras._EXTRAS.get(name) for name in found} & {extra} or found <= others, requirement


def test_one_place_knows_what_pip_is_told() -> None:
    for path in (ROOT / "bioimage_py").rglob("*.py"):
        if path.name != "extras.py":
            assert not re.search(r"pip install|bioimage_py\[", path.read_text()), path


def test_pip_lines() -> None:
    assert PROJECT["name"] == extras.DISTRIBUTION
    assert extras.pip_line("h5py") == "pip install 'bioimage-blocks[io]'"
    assert extras.pip_line("zarr[remote]") == "pip install 'zarr[remote]'"
    assert extras.pip_line("fpzip") == "pip install fpzip"


def test_a_broken_library_says_why() -> None:
    with pytest.raises(bp.errors.MissingDependencyError, match=r"not installed \(lib.so is missing\)"):  # noqa: SIM117
        with extras.needing("h5py", "An HDF5 file"):
            raise ImportError("lib.so is missing")
    with pytest.raises(bp.errors.MissingDependencyError, match=r"\(No module named 'nothing'\)"):  # noqa: SIM117
        with extras.needing("h5py", "An HDF5 file"):
            import nothing  # noqa: F401


@pytest.mark.parametrize("beside", [[], ["bioimage_py-0.2.2.dist-info"], ["bioimage_blocks-0.1.0.dist-info"]])
def test_another_distribution_of_the_name(tmp_path: Path, beside: list[str]) -> None:
    """Its files and ours would lie in one folder; a warning says so, once."""
    (tmp_path / "bioimage_py").symlink_to(ROOT / "bioimage_py")
    for name in beside:
        (tmp_path / name).mkdir()
    code = "import bioimage_py, bioimage_py.errors"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("bioimage_py-0.2.2 is installed beside bioimage-blocks") == ("0.2.2" in str(beside))
    assert bool(done.stderr) == ("0.2.2" in str(beside))
