"""The scenarios and the rows of bad input that image files have to pass, and the tests that prove each."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import bioimage_py.io.v3 as iio

ROOT = Path(__file__).resolve().parents[2]

SCENARIOS = {
    "every written format, type and number of axes": ["v3/test_every_type.py::test_it_comes_back_or_it_is_said"],
    "axes, spacing and channel names are read as they were written": [
        "v3/test_images.py::test_scale_and_unit_come_back",
        "v3/test_every_type.py::test_every_flavor_of_tif",
    ],
    "a hyperstack is one image, told as it is read": ["v3/test_images.py::test_a_hyperstack_is_one_image"],
    "three slices are no colours": ["v3/test_images.py::test_few_slices_are_no_colours"],
    "images of different shapes in one file": ["v3/test_images.py::test_images_of_different_shapes"],
    "an orientation is applied once": ["v3/test_pictures.py::test_orientation_is_applied_once"],
    "one scale from OME, ImageJ and tags, in any unit": ["v3/test_metadata.py::test_spacing"],
    "20 GB from a source in 1 GiB, with levels; killed: no file": [
        "test_scenarios.py::test_memory_of_writing_does_not_grow_with_the_image",
        "v3/test_images.py::test_a_source_becomes_a_pyramid",
        "v3/test_interrupted.py::test_a_writer_that_is_killed",
        "v3/test_long_files.py::test_a_file_of_20_gb_opens_in_little_memory",
    ],
    "file object, bytes, URL, member of an archive, path": [
        "v3/test_resources.py::test_paths_and_bytes",
        "v3/test_resources.py::test_file_objects",
        "v3/test_resources.py::test_members_of_archives",
        "v3/test_resources.py::test_web_servers",
    ],
    "frames of a video by their numbers, at uneven times, up to a damage": [
        "image_files/test_video.py::test_frame_i_is_the_i_th_of_the_film",
        "test_scenarios.py::test_frames_at_uneven_times",
        "image_files/test_video.py::test_all_frames_up_to_where_a_film_is_cut_off",
    ],
    "damaged files (10,000 of each: make fuzz)": ["v3/test_damage.py::test_wrong_bytes"],
    "16 threads, 4 processes": [
        "v3/test_resources.py::test_many_threads_read_one_handle",
        "v3/test_resources.py::test_a_handle_goes_to_other_processes",
    ],
    "code written for imageio v3": ["v3/test_compared.py::test_a_script_runs_with_either"],
}
BAD_INPUT = {
    "file not there": ["v3/test_errors.py::test_bad_input"],
    "not an image, empty, truncated": [
        "v3/test_errors.py::test_bad_input",
        "v3/test_damage.py::test_a_file_that_is_cut_off_is_never_read_as_whole",
    ],
    "folder without a known layout": ["v3/test_errors.py::test_bad_input"],
    "unknown plugin, or one that does not fit": ["v3/test_errors.py::test_bad_input"],
    "library missing": ["v3/test_errors.py::test_a_missing_library_is_named"],
    "no format for writing, unknown extension": ["v3/test_errors.py::test_bad_input"],
    "mode, extension, index, roi, type, shape": ["v3/test_errors.py::test_bad_input"],
    "an image that no memory holds": [
        "v3/test_metadata.py::test_claims_beyond_memory_are_refused",
        "test_scenarios.py::test_a_short_header_that_claims_a_petavoxel",
    ],
    "read-only target, disk full": [
        "v3/test_errors.py::test_a_folder_that_cannot_be_written",
        "v3/test_interrupted.py::test_a_disk_that_is_full",
    ],
    "bytes without extension": ["v3/test_errors.py::test_bad_input"],
}


@pytest.mark.parametrize("scenario", [*SCENARIOS, *BAD_INPUT])
def test_the_proof_is_there(scenario: str) -> None:
    for proof in {**SCENARIOS, **BAD_INPUT}[scenario]:
        path, name = proof.split("::")
        tree = ast.parse((Path(__file__).parent / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, proof


def test_frames_at_uneven_times(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="video needs av: pip install 'bioimage-blocks[video]'")
    path = tmp_path / "a.mp4"
    y, x = np.mgrid[:64, :96]
    frames = [np.dstack([(x * 2 + 9 * n) % 256, (y * 3 + 40 * n) % 256, x + y]).astype("u1") for n in range(40)]
    times = np.cumsum([1, 7, 1, 1, 30, 2, 90, 3] * 5).tolist()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 600)
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 600)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    told = iio.improps(path)
    assert told.shape == (40, 64, 96, 3)
    film = list(iio.imiter(path))
    assert len(film) == 40
    with iio.imopen(path, "r") as file:
        for number in (0, 39, 3, -1, 20, 19, 5, *range(40)):
            np.testing.assert_array_equal(file.read(number), film[number])
    assert all(np.abs(film[n].astype(int) - frames[n]).mean() < 12 for n in range(40)), "each is its own"


def test_a_short_header_that_claims_a_petavoxel(tmp_path: Path) -> None:
    header = b"NRRD0004\ntype: uint16\ndimension: 3\nsizes: 100000 100000 100000\nencoding: gzip\nendian: little\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + bytes(500))
    (tmp_path / "a.mhd").write_bytes(
        b"NDims = 3\nDimSize = 100000 100000 100000\nElementType = MET_USHORT\nElementDataFile = LOCAL\n" + bytes(500)
    )
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", "u2", (4, 4))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(4, 4)", b"(10**15,)"[:6])
    (tmp_path / "a.npy").write_bytes(content)
    for name in ("a.nrrd", "a.mhd", "a.npy"):
        with pytest.raises((MemoryError, OSError, ValueError)) as caught:
            iio.imread(tmp_path / name)
        assert getattr(caught.value, "remedy", "")


WRITING = """
import sys
import numpy as np
import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.system.memory import peak_bytes
from bioimage_py.workflows import convert

class Volume:
    shape, dtype = (int(sys.argv[2]), 1024, 1024), np.dtype("u2")
    def __getitem__(self, index):
        z = np.arange(index[0].start, index[0].stop, dtype="u2")[:, None, None]
        plane = (np.arange(1024)[index[1], None] + np.arange(1024)[None, index[2]]).astype("u2")
        return z + plane

if sys.argv[1].endswith(".tif"):
    iio.imwrite(sys.argv[1], Volume(), axes="zyx", pyramid=True, compression="zstd")
elif "convert" in sys.argv[1]:
    how = bp.Execution(num_workers=2, progress=False)
    convert(Volume(), sys.argv[1], axes="zyx", pyramid=True, execution=how)
else:
    iio.imwrite(sys.argv[1], Volume(), axes="zyx", pyramid=True)
assert iio.improps(sys.argv[1]).shape == Volume.shape
assert len(iio.improps(sys.argv[1]).levels) > 1
print(peak_bytes() // 2**20)
"""


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "convert.ome.zarr"])
def test_memory_of_writing_does_not_grow_with_the_image(name: str, tmp_path: Path) -> None:
    peaks = []
    for planes in (200, 1000):
        call = [sys.executable, "-c", WRITING, str(tmp_path / f"{planes}-{name}"), str(planes)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        told = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=900)
        assert told.returncode == 0, told.stderr
        peaks.append(int(told.stdout.splitlines()[-1]))
    assert peaks[1] < 1024, peaks  # of 2 GB; buffers and a level take up to 256 MiB each
    assert peaks[1] - peaks[0] < 450, peaks
