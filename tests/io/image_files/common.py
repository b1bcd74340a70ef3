"""What the tests of all formats share: the conformance suite over a file, and files with damaged bytes."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import BioimageError
from bioimage_py.io.details import Details, Image
from bioimage_py.io.formats import array_keys_of, format_named, infer_format
from bioimage_py.sources import Axis, Source, from_spec, open_source
from bioimage_py.sources.axes import default_axes
from bioimage_py.sources.spec import load_qualified
from bioimage_py.testing import MakeSource, SourceConformance

READ_ONLY = "files of this format are written as a whole, not in place"
FEW_BYTES = 1 << 24


def write(path: Path, array: Any, axes: tuple[Axis, ...] | None = None, name: str = "", **more: Any) -> tuple[str, ...]:
    """Write one image by the row of its format; returns what was lost."""
    options = {option: more.pop(option) for option in ("compression",) if option in more}
    image = Image(array, axes or default_axes(array.ndim), name, Details(**more))
    lost: tuple[str, ...] = load_qualified(format_named(infer_format(path)).write)(str(path), [image], options)
    return lost


def details(path: Path, key: str | None = None) -> Details:
    """What the row of its format says of an image."""
    found: Details = load_qualified(format_named(infer_format(path)).details)(str(path), key)
    return found


class FileConformance(SourceConformance):
    """Files that `write` of their format makes."""

    extension: ClassVar[str]
    impossible: ClassVar[dict[str, str]] = {"write": READ_ONLY}
    examples: ClassVar[int] = 15

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / f"{next(counter)}{self.extension}"
            self.store(path, content, axes)
            return open_source(path)

        return make

    def store(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...] | None) -> None:
        write(path, content, axes)


def opens_again(source: Source) -> None:
    """A source of a coarse level is opened again at that level."""
    with from_spec(source.to_spec()) as again:
        assert (again.shape, again.axes) == (source.shape, source.axes)
        np.testing.assert_array_equal(again[...], source[...])
        assert details(Path(source.path), source.internal_path) == details(Path(again.path), again.internal_path)


@st.composite
def changes(draw: st.DrawFn, size: int) -> list[tuple[str, int, bytes]]:
    """What happens to the first `size` bytes of a file: bytes flipped, numbers made huge or negative, or cut off."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, size - 1)))
        what = draw(st.sampled_from(["flip", "flip", "number", "number", "cut", "insert"]))
        numbers = [b"\xff" * 4, b"\x7f" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff" * 8, b"\0" * 8]
        texts = [b"-1", b"999999999999999", b"nan", b"1e400", b"\n", b" ", b"../../etc/passwd"]
        made = {"flip": st.binary(min_size=1, max_size=1), "number": st.sampled_from(numbers), "cut": st.just(b"")}
        made["insert"] = st.sampled_from(texts)
        found.append((what, at, draw(made[what])))
    return found


def changed(content: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    """The bytes after what `changes` says."""
    for what, at, value in steps:
        if what == "cut":
            content = content[:at]
        elif what == "insert":
            content = content[:at] + value + content[at:]
        else:
            content = content[:at] + value + content[at + len(value) :]
    return content


def survives(path: Path, size: int, examples: int = 60) -> None:
    """Damage a file in many ways: errors of ours, or voxels of the shape and type that were told."""
    content = path.read_bytes()
    outcomes: set[str] = set()

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    @given(steps=changes(min(size, len(content))))
    def attempt(steps: list[tuple[str, int, bytes]]) -> None:
        path.write_bytes(changed(content, steps))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes.add(read_all(path))

    attempt()
    path.write_bytes(content)
    assert read_all(path) == "read"
    assert {"refused"} <= outcomes <= {"read", "refused"}


def read_all(path: Path) -> str:
    """Read what a file says and holds, the first voxel only of what is large."""
    try:
        for key in array_keys_of(str(path)) or [None]:
            details(path, key)
            with open_source(path, key) as source:
                assert len(source.axes) == source.ndim
                large = source.nbytes > FEW_BYTES
                found = source[(slice(0, 1),) * source.ndim] if large else source[...]
                assert found.dtype == source.dtype
                assert large or found.shape == source.shape
    except BioimageError as error:
        return "refused" if error.remedy else f"no remedy: {error}"
    return "read"
