"""The demonstration: make a volume, segment it with the defaults, score it, and draw it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ParameterError
from ..extras import DISTRIBUTION, need
from ..io.create import create_array
from ..operations.copying import copy
from ..pipelines.script import job_pipeline
from ..runner.driver.report import joined
from ..runner.execution import Execution, current_execution, current_session
from ..sample import neurites
from ..sources import Source
from ..sources.file import open_source
from .pyramids import write_pyramid
from .scoring import Scores, evaluate
from .segmentation import Segmentation
from .segmenting import segment

_LIBRARIES = ("numpy", "zarr", "tensorstore", "bioimage-cpp", "connected-components-3d", "scikit-image")


@dataclass(frozen=True)
class Demo:
    """What `demo` left.

    Attributes
    ----------
    folder : str
    volume : str
        OME-Zarr with the image and, under "labels", segmentation and ground truth; all with pyramids.
    overview : str
        The picture.
    segmentation : Segmentation
    scores : Scores
    stages : tuple of (str, float)
        Names and seconds.
    """

    folder: str
    volume: str
    overview: str
    segmentation: Segmentation
    scores: Scores
    stages: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        """Wall time of all of it."""
        return sum(seconds for _, seconds in self.stages)


def demo(
    folder: str | os.PathLike[str] = "demo",
    shape: Sequence[int] = (256, 256, 256),
    *,
    seed: int = 0,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Make an EM-like volume, segment it with the defaults, score it against the ground truth, and draw an overview.

    Parameters
    ----------
    folder : str or os.PathLike, default "demo"
        Where the results go: neurites.ome.zarr, overview.png, metrics.json, metrics.md, report.json,
        report.txt, and run.html, the report of its runs. What
        an earlier demonstration left there is replaced; one that was interrupted goes on.
    shape : sequence of three int, default (256, 256, 256)
        Size in voxels: z, y, x.
    seed : int, default 0
        Another seed gives another volume.
    execution : Execution, optional
        How to run.
    tell : callable, optional
        Called with a line of text before every step.

    Returns
    -------
    Demo

    Raises
    ------
    ParameterError
        If the folder holds a "neurites.ome.zarr" that isn't a demonstration's.
    MissingDependencyError
        If matplotlib is not installed.
    """
    need("matplotlib", "The overview of the demonstration")
    how = current_execution(execution)
    target = Path(os.path.abspath(os.fspath(folder)))
    volume = target / "neurites.ome.zarr"
    sample = neurites(shape, seed)
    stages: list[tuple[str, float]] = []

    @contextmanager
    def step(name: str, line: str) -> Iterator[None]:
        tell(line)
        begin = time.perf_counter()
        yield
        stages.append((name, time.perf_counter() - begin))

    size = "x".join(str(n) for n in sample.shape)
    purpose = json.dumps({"shape": sample.shape, "seed": seed, "version": __version__})
    _check(target, volume)
    with job_pipeline(target / "neurites.run", purpose, how) as p:
        if p.new:
            _clear(target, volume)
            # Says whose folder it is, also after an interruption.
            _json(target / "report.json", {"finished": False})
        with step("sample", f"making {size} voxels of neurites with known ground truth (seed {seed}) ..."):
            raw = _write(sample.raw, volume, "", how, name="neurites", method="mean")
            truth = _write(sample.labels, volume, "labels/groundtruth", how, name="groundtruth", method="mode")
        with step("segment", f"segmenting them by watershed, block by block, {how.num_workers} workers ..."):
            found = segment(raw, volume / "labels" / "segmentation", execution=how)
        with step("evaluate", "comparing with the ground truth ..."):
            labels = open_source(volume, "labels/segmentation/0")
            scores = evaluate(labels, truth, execution=how)
        session = current_session()
        reports = [] if session is None else session.reports
    with step("overview", "drawing the overview ..."):
        from ..viz import overview, write_report

        title = f"neurites {size}: VI {scores.vi_sum:.2f} bits, adapted Rand error {scores.adapted_rand_error:.3f}"
        picture = overview(raw, labels, truth, path=target / "overview.png", title=title)
    write_report(joined("demo", reports), target / "run.html")
    for source in (raw, truth, labels):
        source.close()
    done = Demo(str(target), str(volume), picture, found, scores, tuple(stages))
    _write_tables(target, done)
    return done


def _check(folder: Path, volume: Path) -> None:
    if volume.exists() and not (folder / "report.json").is_file():
        raise ParameterError(
            f"{volume} exists, and was not left by a demonstration.", remedy="remove it, or use another folder"
        )


def _clear(folder: Path, volume: Path) -> None:
    for leftover in (volume, volume.with_name(f"{volume.name}-labels-segmentation.scratch")):
        shutil.rmtree(leftover, ignore_errors=True)


def _write(source: Source, volume: Path, key: str, how: Execution, *, name: str, method: Any) -> Source:
    first = f"{key}/0" if key else "0"
    array = create_array(volume, first, shape=source.shape, dtype=source.dtype, axes=source.axes, format="zarr")
    copy(source, array, execution=how)
    label = bool(key)
    write_pyramid(volume, key, method=method, name=name, label=label, source="../../" if label else None, execution=how)
    return array


def _write_tables(folder: Path, done: Demo) -> None:
    _json(folder / "metrics.json", done.scores.to_dict())
    rows = "\n".join(f"| {name} | {value} | {meaning} |" for name, value, meaning in done.scores.lines())
    (folder / "metrics.md").write_text(f"| score | value | meaning |\n|---|---|---|\n{rows}\n", encoding="utf-8")
    report = {
        "finished": True,
        "seconds": round(done.seconds, 3),
        "steps": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in done.stages],
        "segmentation": {**done.segmentation.to_dict(), "path": os.path.relpath(done.segmentation.path, folder)},
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "libraries": {DISTRIBUTION: __version__, **{name: version(name) for name in _LIBRARIES}},
    }
    _json(folder / "report.json", report)
    steps = [f"  {name:<12} {seconds:>9.2f}" for name, seconds in done.stages]
    text = [
        f"{'step':<14} {'seconds':>9}",
        *steps,
        f"  {'all':<12} {done.seconds:>9.2f}",
        "",
        done.segmentation.summary(),
    ]
    (folder / "report.txt").write_text("\n".join(text) + "\n", encoding="utf-8")


def _json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
