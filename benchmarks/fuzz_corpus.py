"""A small file of each format that is one file, for `fuzz_files.py`: written here, else as the tests make it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py.io.v3 as iio

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
DATA = np.random.default_rng(0).integers(0, 200, (3, 40, 48)).astype("u1")
SAID = {"metadata": {"a": {"b": [1, None, "ß"]}, "text": "x = 'y'", "a:b": "\n", "long": "words " * 30}}
COLOUR = np.moveaxis(DATA, 0, -1)

WRITTEN: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "ome.tif": (DATA, {"scale": 0.5, "unit": "um"}),
    "imagej.tif": (DATA, {"flavor": "imagej", "scale": 0.5, "unit": "um"}),
    "tiles.tif": (DATA, {"tiles": (16, 16), "compression": "zlib", "pyramid": 1}),
    "strips.tif": (DATA, {"flavor": "plain", "compression": "lzw"}),
    "big.tif": (DATA, {"bigtiff": True}),
    "jpeg.tif": (COLOUR, {"axes": "yxc", "compression": "jpeg", "tiles": (16, 16)}),
    "grey.png": (DATA[0], {}),
    "colour.png": (COLOUR, {}),
    "deep.png": (COLOUR.astype("u2") * 200, {}),
    "frames.png": (DATA, {}),
    "a.jpg": (DATA[0], {}),
    "a.bmp": (DATA[0], {}),
    "a.webp": (COLOUR, {}),
    "a.gif": (DATA, {}),
    "a.h5": (DATA, {}),
    "a.nii": (DATA, {"scale": 0.5, "unit": "um"}),
    "a.nii.gz": (DATA, {"scale": 0.5, "unit": "um"}),
    "a.mrc": (DATA.astype("i2"), {"scale": 0.5, "unit": "nm"}),
    "a.nrrd": (DATA, {"scale": 0.5, "unit": "um"}),
    "gzip.nrrd": (DATA, {"compression": "gzip"}),
    "a.mha": (DATA, {"scale": 0.5, "unit": "um"}),
    "zlib.mha": (DATA, {"compression": "zlib"}),
    "a.npy": (DATA, {}),
    "a.npz": (DATA, {"compression": "deflate"}),
    "stored.npz": (DATA, {}),
    "a.jp2": (COLOUR, {}),
    "a.j2k": (DATA[0].astype("u2"), {}),
    "a.jxl": (COLOUR, {}),
    "deep.jxl": (DATA[0].astype("u2") * 200, {}),
    "a.avif": (COLOUR, {}),
    "frames.avif": (DATA, {}),
    "grey.webp": (DATA[0], {}),
    "capture.dcm": (DATA, {"scale": 0.5, "unit": "mm"}),
    "turned.mha": (DATA, {"axes": "cyx"}),
    "a.mp4": (DATA, {"axes": "tyx"}),
    "said.ome.tif": (DATA[0, :9], SAID),
    "said.tif": (DATA[0, :9], {**SAID, "flavor": "imagej"}),
    "said.nrrd": (DATA[0, :9], SAID),
    "said.nii": (DATA[0, :9], SAID),
    "said.nii.gz": (DATA[0, :9], SAID),
    "said.png": (DATA[0, :9], SAID),
    "said.jpg": (DATA[0, :9], SAID),
    "said.gif": (DATA[0, :9], SAID),
    "said.mha": (DATA[0, :9], SAID),
    "said.mrc": (DATA[0, :9].astype("i2"), SAID),
    "said.npz": (DATA[0, :9], SAID),
    "said.dcm": (DATA[0, :9], SAID),
    "said.mkv": (DATA[:, :8, :16], {**SAID, "axes": "tyx"}),
    "pages.tif": (DATA.reshape(60, 8, 12), {"flavor": "plain"}),
}


def _czi(path: Path) -> None:
    from tests.io.image_files.test_czi import planes, zeiss

    zeiss(path, planes(DATA, "Z"))


def _lif(path: Path) -> None:
    from tests.io.image_files.test_lif import leica

    leica(path, {"a": DATA[None, :, None], "b": DATA[None, :2, None]})


def _nd2(path: Path) -> None:
    from tests.io.image_files.test_nd2 import nikon

    nikon(path, DATA.astype("u2")[:, None, None])


def _obf(path: Path) -> None:
    from tests.io.image_files.test_obf import obf

    obf(path, [DATA, DATA[:2]], packed=True)


def _ims(path: Path) -> None:
    from tests.io.image_files.test_imaris import ims

    ims(path, DATA[None, None])


def _dicom(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import pydicom

        shipped = Path(pydicom.__file__).parent / "data" / "test_files" / name
        path.write_bytes(shipped.read_bytes())

    return make


def _shipped(name: str) -> Callable[[Path], None]:
    """A file that lies with the tests."""

    def make(path: Path) -> None:
        path.write_bytes((ROOT / "tests" / "data" / name).read_bytes())

    return make


FOREIGN: Mapping[str, Callable[[Path], None]] = {
    "a.czi": _czi,
    "a.lif": _lif,
    "a.nd2": _nd2,
    "a.obf": _obf,
    "a.ims": _ims,
    "colour.heic": _shipped("heif/colour.heic"),
    "deep.heic": _shipped("heif/deep.heic"),
    "ct.dcm": _dicom("CT_small.dcm"),
    "rle.dcm": _dicom("MR_small_RLE.dcm"),
}
MAKERS = (*WRITTEN, *FOREIGN)


def made(name: str) -> bytes:
    """Return the bytes of a file."""
    sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name in WRITTEN:
            image, more = WRITTEN[name]
            iio.imwrite(path, image, **more)
        else:
            FOREIGN[name](path)
        return path.read_bytes()
