"""Segmentation of an image whose objects are brighter, or darker, than what is between them."""

from __future__ import annotations

import numpy as np

from .. import stats
from ..engine.reducing import run_reduce
from ..errors import ParameterError
from ..segmentation import label, size_filter
from ..segmentation.forest.running import flood_once
from ..sources import Source
from .segmentation_kernels import Brightness, Darkness, Flood, Histogram, SeedMask, add, otsu
from .work import Work


def components(work: Work, result: Source) -> float:
    """Connected components of what lies above the threshold, which is returned."""
    smooth, kept, shown = _above(work)
    filtered = work.settings.min_size > 1
    target = work.array("components", np.uint64) if filtered else result
    work.stage("components", lambda: work.run(label, smooth, target, threshold=kept))
    if filtered:
        work.stage("filter", lambda: work.run(size_filter, target, result, min_size=work.settings.min_size))
    return shown


def watershed(work: Work, result: Source) -> float:
    """Seeds deep inside of what lies above the threshold, which is returned, grown over the image."""
    settings = work.settings
    smooth, kept, shown = _above(work)
    mask = work.array("seed_mask", np.bool_)
    seeds = work.array("seeds", np.uint64)
    inside = SeedMask(kept, settings.sampling, settings.seed_distance)
    work.stage("seed mask", lambda: work.map(inside, [smooth], mask, halo=inside.halo, factor=8.0))
    work.stage("seeds", lambda: work.run(label, mask, seeds))
    darkness = Darkness(None if settings.fill else kept)
    filtered = settings.min_size > 1
    flooded = work.array("flooded", np.uint64) if filtered else result
    work.stage("watershed", lambda: _flood(work, darkness, smooth, seeds, flooded))
    if filtered:
        large = work.array("kept", np.uint64) if settings.fill else result
        work.stage("filter", lambda: work.run(size_filter, flooded, large, min_size=settings.min_size))
        if settings.fill:
            work.stage("refill", lambda: _flood(work, darkness, smooth, large, result))
    return shown


def _flood(work: Work, darkness: Darkness, smooth: Source, seeds: Source, output: Source) -> None:
    """Each voxel once, unless a halo was asked for."""
    halo = work.settings.halo
    if any(halo):
        work.map(Flood(darkness), [smooth, seeds], output, halo=halo, factor=4.0)
    else:
        along = tuple(range(smooth.ndim))
        flood_once(smooth, seeds, output, work.job, name="flood", along=along, prepare=darkness)


def _above(work: Work) -> tuple[Source, float, float]:
    """The smoothed image, the threshold in it, and the threshold in grey values of the input."""
    settings = work.settings
    bright = Brightness(work.source.dtype.str, settings.sigma, settings.objects == "dark")
    smooth = work.array("smooth", bright.kept)
    work.stage("smooth", lambda: work.map(bright, [work.source], smooth, halo=bright.halo))
    if settings.threshold is None:
        kept = float(work.stage("threshold", lambda: _otsu(work, bright, smooth)))
    else:
        kept = bright.keep(settings.threshold)
    return smooth, kept, bright.show(kept)


def _otsu(work: Work, bright: Brightness, smooth: Source) -> float:
    low, high = (0, 65536)
    if not bright.fixed:
        low, high = work.value(lambda: stats.min_and_max(smooth, **work.how), planned=(0.0, 1.0))
    if not np.isfinite([low, high]).all():
        raise ParameterError("The image has NaN or infinite values.", remedy="replace them with numpy.nan_to_num")
    histogram = Histogram(float(low), float(max(high, np.nextafter(low, np.inf))))
    counts = run_reduce(histogram, add, [smooth], work.job, name="histogram", memory_factor=12.0)
    return otsu(histogram, counts)
