"""What may be laid in an archive, an nnU-Net data set, or beside the data, to harm: rows of SECURITY.md."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import BioimageError, FormatError, StorageError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.importing import import_nnunet
from bioimage_py.sources import open_source
from bioimage_py.sources.stores.location import locate
from bioimage_py.system.json_text import LARGEST

# --- archives ------------------------------------------------------------------------------------------------------


def about(shape: list[int], chunks: list[int], compressor: Any = None) -> bytes:
    told = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "|u1", "compressor": compressor}
    return json.dumps({**told, "fill_value": 9, "order": "C", "filters": None}).encode()


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tree(folder: Path) -> set[str]:
    return {str(Path(at, name)) for at, folders, names in os.walk(folder) for name in (*folders, *names)}


@pytest.mark.parametrize("name", ["../out/.zarray", "../../out/.zarray", "/out/.zarray", "a/../../out/.zarray"])
def test_names_in_an_archive_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = packed(tmp_path / "in/a.zip", {"a/.zarray": about([4], [4]), "a/0": b"\1" * 4, name: about([4], [4])})
    before = tree(tmp_path)
    assert open_source(path, "a")[:].tolist() == [1] * 4
    for key in (name.removesuffix("/.zarray"), "out", "../out", "../../etc"):
        with pytest.raises(BioimageError):
            open_source(path, key)
    with pytest.raises(BioimageError):
        open_source(f"{path}|zip:../out")
    assert bp.io.create_array(tmp_path / "b.zarr", "", shape=(4,), dtype="u1", chunks=(4,)).shape == (4,)
    assert tree(tmp_path) - before == {p for p in tree(tmp_path) if "b.zarr" in p}, "nothing was unpacked"


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 4)
    entry = zipfile.ZipInfo("a/0")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/.zarray", about([4], [4]))
        archive.writestr(entry, str(tmp_path / "secret"))
    with pytest.raises(BioimageError):  # the text of the link is no chunk
        open_source(tmp_path / "a.zip", "a")[:]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("compressor", [None, {"id": "zlib", "level": 1}], ids=["raw", "zlib"])
def test_a_chunk_of_an_archive_that_swells_is_an_error(method: int, compressor: Any, tmp_path: Path) -> None:
    content = bytes(2**25) if compressor is None else zlib.compress(bytes(2**25), 1)
    path = packed(tmp_path / "a.zip", {"a/.zarray": about([4], [4], compressor), "a/0": content}, method)
    with pytest.raises(BioimageError):
        open_source(path, "a")[:]


def test_an_archive_in_an_archive_is_a_file_in_it(tmp_path: Path) -> None:
    inner = packed(tmp_path / "i.zip", {"a/.zarray": about([4], [4]), "a/0": b"\1" * 4}).read_bytes()
    for _ in range(50):
        inner = packed(tmp_path / "o.zip", {"i.zip": inner}).read_bytes()
    with pytest.raises(BioimageError):
        open_source(tmp_path / "o.zip")
    with pytest.raises(BioimageError):
        open_source(f"{tmp_path}/o.zip" + "|zip:i.zip" * 60)


def test_absurd_metadata_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    for name in (".zarray", ".zattrs", "zarr.json", "attributes.json"):
        with open(tmp_path / "a.zarr" / name, "wb") as file:
            file.truncate(2**40)  # a hole: of a TiB nothing is on the disk
    with pytest.raises(StorageError, match="metadata have"):
        locate(tmp_path / "a.zarr").read_json(".zarray")
    with pytest.raises(BioimageError):
        open_source(tmp_path / "a.zarr")
    assert LARGEST < 2**40


# --- nnU-Net -------------------------------------------------------------------------------------------------------

GOOD = {"channel_names": {"0": "raw"}, "labels": {"background": 0, "cell": 1}, "file_ending": ".tif"}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    tifffile = pytest.importorskip("tifffile")
    for part, name in (("imagesTr", "c_0000.tif"), ("labelsTr", "c.tif")):
        (tmp_path / "d" / part).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "d" / part / name, np.ones((8, 8), "u1"))
    (tmp_path / "d/dataset.json").write_text(json.dumps(GOOD))
    return tmp_path / "d"


def refused(dataset: Path) -> BioimageError:
    project = Project.create(ProjectSettings(name="n"), dataset.parent / "p")
    with pytest.raises(BioimageError) as error:
        import_nnunet(project, dataset)
    assert error.value.remedy
    assert "rm " not in error.value.remedy
    assert len(Project.load(dataset.parent / "p").descriptors) == 0, "all of it or nothing"
    return error.value


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"', "{", "[" * 100_000, "\xff\xfe"])
def test_a_description_that_is_none(text: str, dataset: Path) -> None:
    (dataset / "dataset.json").write_text(text, encoding="latin-1")
    assert isinstance(refused(dataset), FormatError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("channel_names", value) for value in (None, 3, [], "a", ["x"], {str(i): "x" for i in range(10**5)})),
        *(("labels", value) for value in (None, 3, [], "a", {"a": -1}, {"a": 10**30}, {"a": True}, {"": 1})),
        ("labels", {str(i): i for i in range(10**5)}),
        *(
            ("file_ending", value)
            for value in (None, 3, "", "tif", "/../../x.tif", "./../c.tif", ".*", ".[a-z]*", "..")
        ),
    ],
    ids=lambda value: str(value)[:24],
)
def test_absurd_fields_are_refused(field: str, value: Any, dataset: Path) -> None:
    (dataset / "dataset.json").write_text(json.dumps({**GOOD, field: value}))
    refused(dataset)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARM: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "no image": ("imagesTr/c_0000.tif", lambda path: path.write_bytes(b"xx")),
    "no label map": ("labelsTr/c.tif", lambda path: path.write_bytes(b"xx")),
    "pipe for an image": ("imagesTr/c_0000.tif", pipe),
    "pipe for the description": ("dataset.json", pipe),
    "five axes": ("imagesTr/c_0000.tif", lambda path: _tif(path, (2, 2, 2, 8, 8), "u1")),
    "label map of another shape": ("labelsTr/c.tif", lambda path: _tif(path, (9, 8), "u1")),
    "label map of floats": ("labelsTr/c.tif", lambda path: _tif(path, (8, 8), "f4")),
    **{
        f"spacing {text}": ("imagesTr/c.json", lambda path, text=text: path.write_text(text))
        for text in (
            "[]",
            "{",
            '{"spacing": 3}',
            '{"spacing": [1]}',
            '{"spacing": [NaN, 1]}',
            '{"spacing": [1e400, 1]}',
        )
    },
    "spacing of words": ("imagesTr/c.json", lambda path: path.write_text('{"spacing": ["a", [1]]}')),
    "spacing below zero": ("imagesTr/c.json", lambda path: path.write_text('{"spacing": [-1, 0]}')),
    "spacing without end": ("imagesTr/c.json", lambda path: os.truncate(path, 2**40) if path.touch() is None else None),
}


def _tif(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    import tifffile

    tifffile.imwrite(path, np.zeros(shape, dtype))


@pytest.mark.parametrize("name", HARM)
def test_harmful_files_are_refused(name: str, dataset: Path) -> None:
    part, change = HARM[name]
    change(dataset / part)
    refused(dataset)


@pytest.mark.parametrize("case", ["..", "a\\..\\b", "x" * 200, "-rf", "$HOME"])
def test_cases_are_names_only(case: str, dataset: Path) -> None:
    (dataset / "imagesTr/c_0000.tif").rename(dataset / f"imagesTr/{case}_0000.tif")
    (dataset / "labelsTr/c.tif").rename(dataset / f"labelsTr/{case}.tif")
    outside = tree(dataset)
    project = Project.create(ProjectSettings(name="n"), dataset.parent / "p")
    if case == "..":  # hidden, as all that begins with a dot
        with pytest.raises(FormatError):
            import_nnunet(project, dataset)
    else:
        (added,) = import_nnunet(project, dataset, own_copy=True)
        assert (np.asarray(added.labelmap_layers["labels"].load()) == 1).all()
    assert tree(dataset) == outside
    assert {path.name for path in dataset.parent.iterdir()} == {"d", "p"}


# --- plugins, functions, models ------------------------------------------------------------------------------------

PLANT = "import pathlib; pathlib.Path({!r}).touch()\n"


def test_what_lies_beside_the_data_is_no_plugin(tmp_path: Path) -> None:
    """Plugins are what is installed: neither the folder of the data nor that of a project adds any."""
    harmed = tmp_path / "harmed"
    for folder in (tmp_path / "data", tmp_path / "data/a.zarr", tmp_path / "data/p"):
        folder.mkdir(exist_ok=True)
        for name in ("conftest.py", "evil.py", "sitecustomize.py", "bioimage_py.py", "zarr.py", "h5py.py"):
            (folder / name).write_text(PLANT.format(str(harmed)))
        told = folder / "evil-1.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        groups = ("bioimage_py.sources", "bioimage_py.backends")
        (told / "entry_points.txt").write_text("".join(f"[{group}]\nevil = evil:main\n" for group in groups))
    (tmp_path / "data/a.zarr/.zarray").write_bytes(about([4], [4]))
    code = (
        "import bioimage_py as bp; from bioimage_py.sources.registry import load_plugins; load_plugins();"
        f" assert bp.open_source({str(tmp_path / 'data/a.zarr')!r})[:].tolist() == [9] * 4;"
        " from bioimage_py.backends.base import backend_names; assert 'evil' not in backend_names()"
    )
    command = [sys.executable, "-P", "-c", code]  # as the command line does: the working folder is not on the path
    done = subprocess.run(command, cwd=tmp_path / "data", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    script = Path(sys.executable).with_name("bioimage-py")
    done = subprocess.run(
        [script, "info", "a.zarr"], cwd=tmp_path / "data", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not harmed.exists()


RUNS_CODE = {
    "runner/identity/digest.py": "a spec that the caller made, or trusts",
    "inference/models.py": "a module of torch that the caller trusts",
    "pipelines/detached.py": "a pipeline's folder of one's own",
    "pipelines/records.py": "a pipeline's folder of one's own",
    "runner/ledger/records.py": "a copy of an exception of this process",
    "runner/ledger/values.py": "a run of one's own",
    "runner/planning/plan_file.py": "a run of one's own",
    "sources/spec.py": "a spec that the caller trusts",
    "testing/conformance.py": "a copy of a source of this process",
    "backends/hosted/config.py": "a function of one's own, on its way to a worker",
    "backends/hosted/exchange.py": "driver and workers of a Dask cluster, where whoever can speak can run code",
    "runner/worker/remote.py": "what the driver of a run tells its workers by that way",
    "runner/worker/served.py": "what the workers of a run tell its driver by that way",
    "cli/functions.py": "a file with a function that the caller names",
    "testing/trials.py": "a trial of this process, on its way to another",
    "bench/protocol.py": "a script of this package",
}
"""All places of the package that turn bytes into code, and what these bytes are."""


OPENERS = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch", "yaml")


def test_nothing_else_opens_what_runs_code() -> None:
    """So no model, weights, or array of objects is opened by this package: it takes functions, not files."""
    package, found = Path(bp.__file__).parent, set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ""
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
            elif isinstance(node, ast.ClassDef):
                name = next((ast.unparse(base) for base in node.bases if "Unpickler" in ast.unparse(base)), "")
            library, _, last = name.partition(".")
            pickled = [key for key in getattr(node, "keywords", []) if getattr(key, "arg", "") == "allow_pickle"]
            of_numpy = library in ("np", "numpy") and pickled  # which refuses objects unless it is told so
            if name in ("eval", "exec") or (library in OPENERS and last in ("loads", "load", "Unpickler")) or of_numpy:
                found.add(str(path.relative_to(package)))
    assert found == set(RUNS_CODE)
