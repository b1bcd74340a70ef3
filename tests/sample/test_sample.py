"""The sample volume: a formula that gives the same bits for every block grid."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import ParameterError, ShapeError
from bioimage_py.sample import noise

SHAPE = (40, 72, 140)


@pytest.fixture(scope="module")
def whole():
    return bp.sample.neurites(SHAPE, seed=3).block((0, 0, 0), SHAPE)


@st.composite
def blocks(draw):
    begin = [draw(st.integers(0, n - 1)) for n in SHAPE]
    end = [draw(st.integers(b + 1, n)) for b, n in zip(begin, SHAPE, strict=True)]
    return begin, end


@settings(max_examples=25, deadline=None)
@given(blocks())
def test_any_block_equals_that_part_of_the_whole(whole, block):
    begin, end = block
    raw, labels = bp.sample.neurites(SHAPE, seed=3).block(begin, end)
    roi = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
    np.testing.assert_array_equal(raw, whole[0][roi])
    np.testing.assert_array_equal(labels, whole[1][roi])


@pytest.mark.parametrize("block_shape", [(16, 32, 64), (13, 72, 33)])
@pytest.mark.slow
def test_copies_with_other_block_grids_have_the_same_bits(whole, block_shape):
    volume = bp.sample.neurites(SHAPE, seed=3)
    for source, expected in zip((volume.raw, volume.labels), whole, strict=True):
        copied = bp.copy(
            source, np.zeros(SHAPE, expected.dtype), block_shape=block_shape, num_workers=2, progress=False
        )
        np.testing.assert_array_equal(copied, expected)


def test_a_larger_volume_begins_with_the_smaller_one(whole):
    larger = bp.sample.neurites((1000, 5000, 10**9), seed=3)
    np.testing.assert_array_equal(larger.raw[:20, 30:72, :64], whole[0][:20, 30:72, :64])
    np.testing.assert_array_equal(larger.labels[:20, 30:72, :64], whole[1][:20, 30:72, :64])


def test_far_from_the_origin_nothing_is_lost_to_rounding():
    volume = bp.sample.neurites((10**9, 10**9, 10**9))
    begin = (10**9 - 24, 10**9 - 48, 10**9 - 96)
    raw, labels = volume.block(begin, volume.shape)
    assert len(np.unique(labels)) > 2
    # Where coordinates lost digits, neighbouring voxels would become equal in steps.
    assert np.mean(np.diff(raw.astype(int), axis=2) == 0) < 0.1
    assert np.mean(np.diff(labels.astype(np.int64), axis=2) != 0) < 0.1


def test_the_seed_changes_everything(whole):
    raw, labels = bp.sample.neurites(SHAPE, seed=4).block((0, 0, 0), SHAPE)
    assert np.mean(raw == whole[0]) < 0.1
    assert np.mean(labels == whole[1]) < 0.5
    negative = bp.sample.neurites(SHAPE, seed=-1).raw[:4, :4, :4]
    assert not np.array_equal(negative, whole[0][:4, :4, :4])


@pytest.mark.slow
def test_every_voxel_has_an_owner_and_objects_are_in_one_piece():
    import cc3d

    shape = (96, 256, 256)
    labels = bp.sample.neurites(shape, seed=1).labels[...]
    ids, counts = np.unique(labels, return_counts=True)
    assert labels.dtype == np.uint64
    assert ids[0] > 0
    assert 80 < len(ids) < 250
    # An object may leave the volume and come back, so pieces at the surface count as whole.
    pieces = cc3d.connected_components(np.searchsorted(ids, labels).astype(np.uint32) + 1, connectivity=26)
    inside = np.setdiff1d(
        np.unique(pieces[1:-1, 1:-1, 1:-1]),
        np.unique(np.concatenate([np.take(pieces, [0, -1], axis=axis).ravel() for axis in range(3)])),
    )
    assert np.isin(pieces, inside).mean() < 0.02
    assert counts.max() < 0.1 * labels.size


@pytest.mark.slow
def test_membranes_are_dark_and_cells_bright():
    volume = bp.sample.neurites((48, 160, 160), seed=2, noise=0, gaps=0)
    raw, labels = volume.raw[...], volume.labels[...]
    edge = np.zeros(raw.shape, bool)
    for axis in (1, 2):
        differs = np.diff(labels.astype(np.int64), axis=axis) != 0
        low = [slice(None)] * 3
        low[axis] = slice(None, -1)
        edge[tuple(low)] |= differs
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(~edge, sampling=(30, 10, 10)) > 80
    assert raw[edge].mean() < 105
    assert raw[deep].mean() > 150
    assert np.mean(raw[edge] < 130) > 0.95


@pytest.mark.slow
def test_gaps_brighten_some_membranes_only():
    shape = (48, 160, 160)
    whole = bp.sample.neurites(shape, noise=0, gaps=0).raw[...].astype(int)
    gaps = bp.sample.neurites(shape, noise=0, gaps=0.05).raw[...].astype(int)
    assert (gaps >= whole).all()
    assert 0.002 < np.mean(gaps > whole + 20) < 0.05


def test_sources_say_what_they_are():
    volume = bp.sample.neurites((8, 16, 24), spacing=(40, 4, 5))
    assert volume.raw.shape == (8, 16, 24)
    assert volume.raw.dtype == np.uint8
    assert not volume.raw.writable
    assert [(axis.name, axis.unit, axis.scale) for axis in volume.labels.axes] == [
        ("z", "nanometer", 40.0),
        ("y", "nanometer", 4.0),
        ("x", "nanometer", 5.0),
    ]
    same = bp.sample.neurites([8, 16, 24], 0, spacing=[40, 4, 5])
    assert volume.raw.identity == same.raw.identity != volume.labels.identity
    with pytest.raises(TypeError, match="read-only"):
        volume.raw[0, 0, 0] = 1


def test_sources_reopen_from_their_spec_here_and_elsewhere():
    raw = bp.sample.neurites((16, 32, 32), seed=5, gaps=0.02).raw
    spec = raw.to_spec()
    reopened = bp.from_spec(bp.SourceSpec.from_json(spec.to_json()))
    assert reopened.identity == raw.identity
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(raw))[...], raw[...])
    code = (
        "import sys, bioimage_py as bp, bioimage_py.sample;"
        "print(int(bp.from_spec(bp.SourceSpec.from_json(sys.stdin.read()))[...].sum(dtype='int64')))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(spec.to_dict()), capture_output=True, text=True, check=True
    )
    assert int(elsewhere.stdout) == int(raw[...].sum(dtype="int64"))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"shape": (8, 8)}, ShapeError, "three positive whole numbers"),
        ({"shape": (8, 8, 0)}, ShapeError, "three positive whole numbers"),
        ({"shape": "888"}, ShapeError, "three positive whole numbers"),
        ({"seed": 1.5}, ParameterError, "seed is 1.5"),
        ({"spacing": (30, 10)}, ParameterError, "three positive numbers"),
        ({"spacing": (30, -10, 10)}, ParameterError, "three positive numbers"),
        ({"diameter": 0}, ParameterError, "diameter is 0"),
        ({"noise": -1}, ParameterError, "noise is -1"),
        ({"gaps": 0.5}, ParameterError, "gaps is 0.5"),
        ({"gaps": float("nan")}, ParameterError, "gaps is nan"),
    ],
)
def test_bad_parameters_are_named(arguments, error, text):
    with pytest.raises(error, match=text) as caught:
        bp.sample.neurites(**{"shape": (8, 8, 8), **arguments})
    assert caught.value.remedy


def test_blocks_outside_are_refused():
    with pytest.raises(ShapeError, match="leaves the volume"):
        bp.sample.neurites((8, 8, 8)).block((0, 0, 0), (8, 8, 9))


@given(
    st.integers(-(10**12), 10**12), st.integers(1, 40), st.integers(1, 60), st.sampled_from([1, 2]), st.integers(0, 39)
)
def test_fields_do_not_depend_on_the_extent(begin, length, period, order, skip):
    key = noise.stream(7, 1)
    values = noise.field(key, [(begin, begin + length)], [period], order)
    skip = min(skip, length - 1)
    np.testing.assert_array_equal(noise.field(key, [(begin + skip, begin + length)], [period], order), values[skip:])
    assert np.abs(values).max() <= 1.0


def test_noise_is_nearly_normal():
    values = noise.white(noise.stream(0, 0), [(0, 20), (5, 105), (0, 100)])
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    neighbours = [np.corrcoef(values[tuple(low)].ravel(), values[tuple(high)].ravel())[0, 1] for low, high in _pairs()]
    assert np.abs(neighbours).max() < 0.01


def _pairs():
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        yield low, high
