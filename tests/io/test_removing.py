"""An array of a pipeline's own that was half removed by a killed process is made anew, whatever is left of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.io.create import create_array
from bioimage_py.io.target import OwnPath


def made(path: Any, shape: tuple[int, ...], **how: Any) -> np.ndarray:
    with create_array(path, shape=shape, dtype="u1", chunks=(2, 2), **how) as array:
        array[...] = 7
        return np.asarray(array[...])


def ending(call: Any, steps: Iterator[int]) -> Any:
    """A function of the system, before which the process ends when no steps are left."""

    def counted(*arguments: Any, **keywords: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt  # as a kill: nothing handles it
        return call(*arguments, **keywords)

    return counted


@pytest.mark.parametrize("version", ["zarr", "n5"])
def test_wherever_the_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    folder = tmp_path / f"a.{version}"
    kills, left = 0, True
    while left:
        if not folder.exists():
            made(folder, (4, 4))
        steps = iter(range(kills))
        with monkeypatch.context() as patch:
            for name in ("unlink", "rmdir"):
                patch.setattr(os, name, ending(getattr(os, name), steps))
            try:
                shutil.rmtree(folder)
            except KeyboardInterrupt:
                pass
            else:
                left = False
        kills += 1
        if left:  # another shape is wanted in its place
            assert made(OwnPath(folder), (6, 2)).tolist() == [[7, 7]] * 6
            shutil.rmtree(folder)
    assert kills > 5
    assert not folder.exists()
