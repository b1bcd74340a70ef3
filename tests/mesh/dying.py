"""Meshes and skeletons by a process that dies in the middle, once: run by tests, here and as a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bioimage_py as bp
from bioimage_py.mesh.marching import surfaces_of
from bioimage_py.per_object import folder as folders
from bioimage_py.skeleton import tracing

BLOCKS = 12


def run(folder: str, what: str, output: str = "out") -> Any:
    """Make meshes or skeletons of the labels in a folder."""
    with bp.open_source(f"{folder}/labels.zarr", "x") as labels:
        how: dict[str, Any] = {"block_shape": BLOCKS, "num_workers": 2, "progress": False}
        if what == "skeleton":
            return bp.skeleton.trace(labels, f"{folder}/{output}", sharded=True, **how)
        files = {"ply": {"format": "ply"}, "levels": {}, "shards": {"sharded": True}}[what]
        return bp.mesh.surfaces(labels, f"{folder}/{output}", max_error=0.5, **files, **how)


def dies(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """A function that kills its process when it is called once too often."""
    left = [after]

    def counted(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return counted


def only_of(place: str, deadly: Callable[..., Any], harmless: Callable[..., Any]) -> Callable[..., Any]:
    """The deadly one of two functions for what is written in a place, the harmless one for everything else."""
    return lambda new, old: (deadly if os.fspath(old).startswith(place) else harmless)(new, old)


def child() -> None:
    folder, what, where, after = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if where == "pieces":
        from bioimage_py.mesh import surface_blocks

        surface_blocks.surfaces_of = dies(surfaces_of, after)  # type: ignore[attr-defined]
        tracing.edt.edt = dies(tracing.edt.edt, after)
    elif where == "files":
        os.replace = only_of(f"{folder}/.out.", dies(os.replace, after), os.replace)
    else:
        folders.swap.put = dies(folders.swap.put, 0)
    run(folder, what)


def content(folder: Path) -> dict[str, bytes]:
    """All files of a result, without what tells its run."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "provenance.json"}
