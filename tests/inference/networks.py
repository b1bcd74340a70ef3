"""Small networks for the tests: convolutions with weights of a fixed seed, as ONNX files, and the same in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage

REACH = 2
"""Voxels to each side that a value depends on: two convolutions of three voxels."""


def weights(made: int, taken: int, ndim: int, seed: int) -> np.ndarray:
    """Of a convolution: (made, taken, 3, ...)."""
    values = np.random.default_rng(seed).normal(size=(made, taken, *(3,) * ndim))
    return np.asarray(values / np.sqrt(taken * 3**ndim), np.float32)


def network(
    path: Path,
    ndim: int = 3,
    taken: int = 1,
    made: int = 1,
    *,
    tile: Any = None,
    batch: Any = "batch",
    hidden: int = 4,
    pads: int = 1,
) -> Path:
    """Write convolution, rectifier, convolution, sigmoid."""
    sizes = [f"s{axis}" for axis in range(ndim)] if tile is None else list(tile)
    node = helper.make_node
    keep = {"pads": [pads] * 2 * ndim}
    graph = helper.make_graph(
        [
            node("Conv", ["raw", "w1"], ["a"], **keep),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "w2"], ["c"], **keep),
            node("Sigmoid", ["c"], ["out"]),
        ],
        "network",
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [batch, taken, *sizes])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, made, *(sizes if pads else ["?"] * ndim)])],
        [
            numpy_helper.from_array(weights(hidden, taken, ndim, 1), "w1"),
            numpy_helper.from_array(weights(made, hidden, ndim, 2), "w2"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def whole(volume: np.ndarray, made: int = 1, hidden: int = 4) -> np.ndarray:
    """What the network makes of a whole volume (channels, *shape), in float64: (made, *shape)."""
    ndim = volume.ndim - 1

    def convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                sum(
                    ndimage.correlate(channel, part, mode="constant")
                    for channel, part in zip(image, row.astype(np.float64), strict=True)
                )
                for row in kernel
            ]
        )

    first = np.maximum(convolved(volume.astype(np.float64), weights(hidden, len(volume), ndim, 1)), 0)
    return np.asarray(1 / (1 + np.exp(-convolved(first, weights(made, hidden, ndim, 2)))))
