"""What operations declare: all do, the page shows it, and kernels keep within the memory that they declare."""

from __future__ import annotations

import importlib.util
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.catalogue.operations import declared
from bioimage_py.filters.derivative_kernels import GradientMagnitude, HessianEigenvalues, StructureTensorEigenvalues
from bioimage_py.filters.footprints import Footprint
from bioimage_py.filters.gaussian_kernel import Gaussian, LocalContrast
from bioimage_py.filters.rank_kernels import Rank, TopHat

DOCS = Path(bp.__file__).parents[1] / "docs"


def build() -> Any:
    spec = importlib.util.spec_from_file_location("build_operations", DOCS / "build_operations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_today() -> None:
    page = (DOCS / "operations.md").read_text()
    assert build().updated(page) == page, "type: python docs/build_operations.py"


NOT_DRAWN = {
    "apply_filter", "greater_equal", "less", "less_equal", "relabel_consecutive",
    "average_precision", "centroid_matching", "contingency_table", "cremi_score", "dice_score", "matching",
    "mean_segmentation_accuracy", "rand_index", "symmetric_best_dice_score", "variation_of_information",
}  # fmt: skip
"""Numbers, ids, and what looks as another one."""


def test_every_operation_is_drawn() -> None:
    scripts = "".join(path.read_text() for path in DOCS.glob("build_*pictures.py"))
    packages = ("filters", "morphology", "segmentation", "evaluation", "operations", "transformation")
    words = set(re.findall(r"\w+", scripts))
    assert {one.name for one in declared() if one.package in packages} - words <= NOT_DRAWN


@pytest.mark.parametrize("package", ["filters", "operations", "stats"])
def test_every_operation_declares(package: str) -> None:
    module = getattr(bp, package)
    missing = [name for name in module.__all__ if getattr(getattr(module, name), "declaration", 0) is None]
    assert missing == []


def test_names_are_told_once() -> None:
    names = [one.full_name for one in declared()]
    assert len(names) == len(set(names))
    assert {"copy", "pyramid", "filters.median", "stats.mean", "operations.add"} <= set(names)


KERNELS = {
    "gaussian_smoothing": (Gaussian((1.0,) * 3), 0),
    "normalize_local_contrast": (LocalContrast(Gaussian((1.0,) * 3), 1e-6), 0),
    "gaussian_gradient_magnitude": (GradientMagnitude((1.0,) * 3, (1.0,) * 3), 0),
    "hessian_of_gaussian_eigenvalues": (HessianEigenvalues((1.0,) * 3, (1.0,) * 3), 0),
    "structure_tensor_eigenvalues": (StructureTensorEigenvalues((1.0,) * 3, (1.0,) * 3, Gaussian((1.0,) * 3)), 0),
    "median": (Rank(Footprint((3, 3, 3)), 13), 2**23),
    "white_tophat": (TopHat(Footprint((5, 5, 5)), white=True), 2**23),
}


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_keep_within_their_memory(name: str, dtype: str) -> None:
    """Of a block that is read and written; ranks have some megabytes for a part of the block on top."""
    kernel, fixed = KERNELS[name]
    block = np.ones((96, 96, 96), dtype)
    kernel(block[:8])
    tracemalloc.start()
    result = kernel(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    factor = getattr(bp.filters, name).declaration.memory
    # the block itself is not counted, so one of it is taken off
    assert peak <= factor * (block.nbytes + result.nbytes) - block.nbytes + fixed
