"""Files with wrong bytes: an error of the package, or an image that is as told. benchmarks/fuzz_files.py reads more."""

from __future__ import annotations

import functools
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fuzz_folders
import numpy as np
import pytest
from fuzz_corpus import WRITTEN, made
from fuzz_files import mutated, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError

for library in ("tifffile", "h5py", "imagecodecs"):
    pytest.importorskip(library)

content_of = functools.cache(made)
NAMES = sorted(
    name for name in WRITTEN if not name.endswith((".mp4", ".mkv"))
)  # of a video the frames before the cut are read


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("tifffile")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(before)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", NAMES)
def test_wrong_bytes(name: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(mutated(content_of(name), random.Random(seed)))
    assert outcome(path)


@pytest.mark.parametrize("name", fuzz_folders.MAKERS)
def test_wrong_metadata_of_folders(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"layer": "cloudvolume", "dataset": "webknossos"}.get(name, "zarr"))
    path = tmp_path / name
    fuzz_folders.MAKERS[name](path)
    whole = iio.imread(path)
    for seed in range(20):
        with fuzz_folders.wrong(path, seed):
            assert fuzz_folders.outcome(path)
    assert np.array_equal(iio.imread(path), whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_off_is_never_read_as_whole(name: str, tmp_path: Path) -> None:
    content = content_of(name)
    whole = iio.imread(content)
    for share in (0.2, 0.5, 0.9):
        path = tmp_path / name
        path.write_bytes(content[: int(len(content) * share)])
        found = None
        with suppress(BioimageError):
            found = iio.imread(path)
        # what is missing was not needed, such as a coarser level
        assert found is None or np.array_equal(found, whole)
