"""Fixtures that several test files share: the real volumes."""

from __future__ import annotations

import gzip
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

if threading.current_thread() is threading.main_thread():
    # a shell that starts tests in the background has them, and all they start, ignore SIGINT
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA_VARIABLE = "BIOIMAGE_PY_TEST_DATA"
DATA_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from the name of a real volume to its path; it skips the test where the file is missing."""

    def path_of(name: str) -> Path:
        folder = Path(os.environ.get(DATA_VARIABLE) or DATA_BESIDE_CHECKOUT)
        path = folder / name
        if not path.is_file():
            pytest.skip(f"real volume {name} is not in {folder}; set {DATA_VARIABLE} to the folder that holds it")
        return path

    return path_of


@pytest.fixture(scope="session")
def connectomics(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Dense neuron segmentation, (512, 512, 512) uint32, Fortran order (x, y, z), read-only."""
    path = shared_data("connectomics-512.npy.ckl.gz")
    crackle = pytest.importorskip("crackle", reason="connectomics-512 needs crackle-codec: pip install crackle-codec")
    with gzip.open(path) as file:
        volume: np.ndarray = crackle.decompress(file.read())
    volume.flags.writeable = False
    return volume


@pytest.fixture(scope="session")
def nuclei_raw(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Fluorescence nuclei, axes (z, y, x), read-only."""
    return _read_tiff(shared_data("nuclei3d-raw.tif"))


@pytest.fixture(scope="session")
def nuclei_labels(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Instance labels of `nuclei_raw`, same shape, 0 is background, read-only."""
    return _read_tiff(shared_data("nuclei3d-labels.tif"))


def _read_tiff(path: Path) -> np.ndarray:
    tifffile = pytest.importorskip("tifffile", reason="the nuclei volumes need tifffile: pip install tifffile")
    volume: np.ndarray = tifffile.imread(path)
    volume.flags.writeable = False
    return volume
