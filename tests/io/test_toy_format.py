"""A format that the package does not know is one file and one row, after which everything works with its paths."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError, ParameterError, ShapeError, SourceNotFoundError
from bioimage_py.io import create_array, formats, is_writable_format
from bioimage_py.sources import from_spec

from . import toy_format

VALUES = np.arange(20 * 12 * 8, dtype="u2").reshape(20, 12, 8)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The format as a package that is installed: other processes find it by its entry point."""
    about = tmp_path / "site" / "toy_format-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-format\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[bioimage_py.sources]\ntoy = toy_format:register\n")
    (tmp_path / "site" / "toy_format.py").write_text(Path(toy_format.__file__).read_text())
    paths = [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    toy_format.register()
    yield
    formats._formats.pop("toy")
    formats._by_extension.pop(".toy")


def made(path: Path) -> Path:
    with create_array(path, shape=VALUES.shape, dtype=VALUES.dtype) as array:
        array[...] = VALUES
        array.flush()
    return path


def test_its_arrays_are_made_opened_and_opened_again(tmp_path: Path) -> None:
    path = made(tmp_path / "a.toy")
    with bp.open_source(path) as source:
        assert (source.format, source.internal_path, source.writable) == ("toy", "", False)
        np.testing.assert_array_equal(from_spec(source.to_spec())[...], VALUES)
    with create_array(path, shape=VALUES.shape, dtype=VALUES.dtype) as there:
        np.testing.assert_array_equal(there[...], VALUES)
    with bp.open_source(path, mode="w") as emptied:
        assert not emptied[...].any()
    with bp.open_source(tmp_path / "b.toy", mode="a", shape=(3,), dtype="u1", fill_value=7) as new:
        assert new[...].tolist() == [7, 7, 7]
    assert is_writable_format("toy")


def test_an_operation_writes_to_its_paths_in_this_process_and_in_others(tmp_path: Path) -> None:
    path, doubled = made(tmp_path / "a.toy"), VALUES * 2
    for job_type in ("local", "subprocess"):
        output = tmp_path / f"{job_type}.toy"
        result = bp.operations.multiply(
            bp.open_source(path),
            2,
            output=output,
            block_shape=(8, 8, 8),
            chunks=(8, 8, 8),
            job_type=job_type,
            num_workers=2,
        )
        assert result.format == "toy"
        np.testing.assert_array_equal(bp.open_source(output)[...], doubled)


def test_the_command_line_tells_what_is_in_it(tmp_path: Path) -> None:
    program = "from bioimage_py.cli import main; main()"
    command = [sys.executable, "-c", program, "info", str(made(tmp_path / "a.toy"))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "20x12x8 uint16 (toy)" in told


def test_what_cannot_be_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = made(tmp_path / "a.toy")
    with pytest.raises(SourceNotFoundError, match=r"none.toy does not exist") as missing:
        bp.open_source(tmp_path / "none.toy")
    assert str(tmp_path) in missing.value.remedy
    with pytest.raises(ShapeError, match="shape"):
        create_array(path, shape=(1,), dtype="u2")
    with pytest.raises(ParameterError, match="without a key"):
        create_array(path, "raw", shape=(1,), dtype="u2", format="toy")
    with pytest.raises(ParameterError, match="no shards"):
        create_array(tmp_path / "b.toy", shape=(4,), dtype="u2", chunks=(2,), shards=(4,))
    with pytest.raises(ParameterError, match="no levels"):
        bp.open_source(path, level=0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="cut off"):
        bp.open_source(path)
