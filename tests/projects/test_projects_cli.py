"""`bioimage-py project`, the checks of a project's files, and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from bioimage_py.cli import main
from bioimage_py.projects import BoxSet, Project
from bioimage_py.projects.jobs.thumbnails import label_picture, make_thumbnails, thumbnail_sheet
from bioimage_py.projects.jobs.validate import validate

ALGORITHM = """
LEVEL = 100
def bright(image, labels):
    return (image > LEVEL) + 0 * labels
def count(image, labels):
    assert image is None
    return labels * 2
"""


def run(*arguments, code=0):
    result = CliRunner(mix_stderr=False).invoke(main, ["project", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def folder(tmp_path):
    """Images two folders deep."""
    for index, group in enumerate(("A", "A", "B")):
        inner = tmp_path / "tree" / group / "day 1"
        inner.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(index).integers(0, 255, (6, 30, 40), dtype=np.uint8)
        tifffile.imwrite(inner / f"scan {index}.tif", image, photometric="minisblack")
    return tmp_path / "tree"


@pytest.mark.slow
def test_a_project_from_beginning_to_end(folder, tmp_path):
    path, code = tmp_path / "p", tmp_path / "algorithm.py"
    code.write_text(ALGORITHM)
    made = run(
        "create", path, "--name", "cells", "--labelmap", "cells:nucleus,membrane", "--boxes", "boxes:cell",
        "--landmarks", "tips", "--tag", "Reviewed", "--tag", "Quality:float", "--tag", "Stage:early,late",
        "--grouping", "Group,Day", "--json",
    )  # fmt: skip
    about = json.loads(made.stdout)
    assert [(layer["name"], layer["labels"]) for layer in about["layers"]] == [
        ("cells", ["Background", "nucleus", "membrane"]),
        ("boxes", ["cell"]),
        ("tips", []),
    ]
    assert [(tag["name"], tag["kind"]) for tag in about["tags"]] == [
        ("Reviewed", "Bool"),
        ("Quality", "Float"),
        ("Stage", "Enum"),
    ]
    assert "3 data sets" in run("import", path, folder).stdout
    how = ("--layer", "cells", "--workers", 2, "--quiet")
    out = run("apply", path, f"{code}:bright", *how, "--json").stdout
    assert len(json.loads(out)["changed"]) == 3
    text = run(
        "apply",
        path,
        f"{code}:count",
        *how,
        "--no-image",
        "--block-shape",
        "6,16,16",
        "--halo",
        "1,2,3",
        "--group",
        "A",
    ).stdout
    assert text == "2 label maps changed, 0 stayed as they were.\n"
    maps = [np.array(d.labelmap_layers["cells"].load()) for d in Project.load(path).descriptors]
    assert [int(labels.max()) for labels in maps] == [2, 2, 1]
    assert np.array_equal(maps[0] // 2, tifffile.imread(folder / "A" / "day 1" / "scan 0.tif") > 100)
    assert run("info", path).stdout.splitlines()[:2] == [
        f"cells: 3 data sets, 0 annotated ({path})",
        "  grouped by Group / Day",
    ]
    assert "layer cells (pixelwise: Background, nucleus, membrane), 3 data sets" in run("info", path).stdout
    assert run("validate", path).stdout == "3 data sets checked, no problems.\n"
    assert (
        "3 label maps are in" in run("export", path, tmp_path / "l", "--format", "ome-zarr", "--layer", "cells").stdout
    )
    out = run("import", path, tmp_path / "l", "--format", "ome-zarr", "--layer", "again", "--json").stdout
    assert len(json.loads(out)["descriptors"]) == 3
    run("export", path, tmp_path / "d", "--format", "nnunet", "--layer", "cells")
    second = tmp_path / "q"
    run("create", second)
    run("import", second, tmp_path / "d", "--format", "nnunet")
    assert np.array_equal(Project.load(second).descriptors[0].labelmap_layers["labels"].load(), maps[0])
    assert json.loads(run("export", path, tmp_path / "b.json", "--format", "coco", "--json").stdout)["count"] == 0


def test_an_algorithm_of_a_file_reaches_other_processes(folder, tmp_path):
    path, code = tmp_path / "p", tmp_path / "algorithm.py"
    code.write_text(ALGORITHM)
    run("create", path, "--labelmap", "cells", "--grouping", "Group,Day")
    run("import", path, folder)
    run("apply", path, f"{code}:bright", "--layer", "cells", "--job-type", "subprocess", "--workers", 1, "--quiet")
    assert len(Project.load(path).descriptors.filter(layer="cells")) == 3


def test_errors_are_one_message(tmp_path, project):
    assert "is not empty" in run("create", project.path, code=1).stderr
    assert "is no project" in run("info", tmp_path, code=1).stderr
    assert "names no function" in run("apply", project.path, "nonsense", "--layer", "cells", code=1).stderr
    assert "cannot be imported" in run("apply", project.path, "no.such:thing", "--layer", "cells", code=1).stderr
    (tmp_path / "a.py").write_text("")
    assert "has no function 'f'" in run("apply", project.path, f"{tmp_path}/a.py:f", "--layer", "cells", code=1).stderr
    assert "does not exist" in run("apply", project.path, f"{tmp_path}/b.py:f", "--layer", "cells", code=1).stderr
    assert "no layer" in run("export", project.path, tmp_path / "x", "--format", "coco", "--layer", "no", code=1).stderr


# validate


@pytest.fixture
def labelled(project):
    found = project.descriptors[0]
    found.labelmap_layers["cells"].save_new_data(np.arange(64000).reshape(40, 40, 40) % 3)
    boxes = BoxSet.from_descriptor(found, "boxes")
    boxes.add("cell", 0, (0, 0, 0), (1, 1, 1))
    found.boundingbox_layers["boxes"].save_new_data(boxes)
    return project


def problems(project, **how):
    return [str(problem) for problem in validate(Project.load(project.path), **how)]


def test_a_sound_project_has_no_problems(labelled):
    assert problems(labelled) == []


def document(project):
    return Path(project.path, "descriptors", f"{project.descriptors[0].identifier}.json")


def changed(**fields):
    def change(project):
        path = document(project)
        content = json.loads(path.read_text())
        for name, value in fields.items():
            inner, _, last = name.rpartition("__")
            place = content[inner] if inner else content
            place[last] = value
        path.write_text(json.dumps(content))

    return change


def chunk(project):
    folder = Path(project.descriptors[0].labelmap_layers["cells"].path(), "0")
    return next(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")


def boxes(project):
    return Path(project.path, project.descriptors[0].boundingbox_layers["boxes"].folder)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda project: document(project).write_text("{"), "is no JSON object"),
        (changed(name=3), "name"),
        (changed(nonsense=3), "nonsense"),
        (changed(identifier="other"), "says that it is 'other'"),
        (changed(grouping=[{"key": "a", "display": "a"}]), "has 1 groups, the hierarchy has 0 levels"),
        (changed(image__shape=[40, 40, 41]), "has the shape (40, 40, 40), the image (40, 40, 41)"),
        (changed(image__dtype="u2"), "the image at"),
        (lambda project: chunk(project).unlink(), "has 0 chunks, the data set says 1"),
        (lambda project: chunk(project).write_bytes(b"nonsense"), "does not decode"),
        (lambda project: next(boxes(project).glob("*.csv")).unlink(), "No such file"),
        (lambda project: next(boxes(project).glob("*.csv")).write_text("type\n"), "csv"),
        (lambda project: Path(project.path, "annotations", "strange").mkdir(), "belongs to no data set"),
    ],
)
def test_validate_finds_what_is_wrong(labelled, damage, told):
    damage(labelled)
    found = problems(labelled)
    assert any(told in text for text in found), found
    result = run("validate", labelled.path, "--json", code=1)
    assert len(json.loads(result.stdout)["problems"]) == len(found)


def test_validate_finds_a_missing_image_and_wrong_tags(labelled, tmp_path):
    tifffile.imwrite(tmp_path / "gone.tif", np.zeros((5, 6), np.uint8))
    labelled.add_descriptor(tmp_path / "gone.tif")
    labelled.save()
    (tmp_path / "gone.tif").unlink()
    changed(tags={labelled.tags["Reviewed"].id: "yes"})(labelled)
    found = problems(labelled)
    assert len(found) == 2
    assert "'Reviewed'" in found[0]
    assert "is not at" in found[1]


def test_chunks_are_decoded_only_where_asked_for(labelled):
    chunk(labelled).write_bytes(b"nonsense")
    assert problems(labelled, chunks=False) == []


# pictures


def test_thumbnails_are_made_where_missing_or_old(labelled):
    assert make_thumbnails(labelled) == 2
    assert make_thumbnails(labelled) == 0
    layer = labelled.descriptors[0].labelmap_layers["cells"]
    stored = cv2.imread(layer.thumbnail_path())[..., ::-1]
    assert np.array_equal(stored, label_picture(layer))
    labels = np.array(layer.load())[20]
    assert np.all(stored[labels == 1] == (255, 0, 0))
    assert np.all(stored[labels == 0] == 0)
    layer.save_new_data(np.full((40, 40, 40), 2, np.uint8))
    assert make_thumbnails(labelled) == 1
    assert np.all(cv2.imread(layer.thumbnail_path())[..., ::-1] == (0, 255, 0))


def test_a_sheet_shows_all(labelled, tmp_path):
    wide = np.tile(np.arange(100, dtype=np.uint8), (20, 1))
    labelled.add_descriptor(wide, "a name that is much too long for one cell, ünd more")
    labelled.save()
    shape = thumbnail_sheet(labelled, tmp_path / "sheet.png", layer="cells", columns=5, size=100)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == shape == (34 + 144 + 10, 2 * 110 + 10, 3)
    right = picture[34:134, 120:220]
    rows = np.flatnonzero((right != 236).any(axis=(1, 2)))
    assert (rows[0], rows[-1]) == (40, 59)  # 100 x 20 voxels keep their proportions
    out = run("thumbnails", labelled.path, "--sheet", tmp_path / "s.png", "--columns", 2).stdout
    assert out == f"1 pictures made. {tmp_path / 's.png'}: 390 x 268 pixels.\n"
