"""What is applied to the label maps of a project, and what of it has been done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import ShapeError, ValueRangeError
from ...runner.execution import Execution
from ...runner.identity.digest import tell
from ...system.files import write_once
from ..content import Content
from ..descriptor import Descriptor
from ..drafts import Draft, label_dtype
from ..layers import LabelMapLayer
from ..remote.working import Worker
from ..storage.folder import new_stamp

if TYPE_CHECKING:
    from ..project import Project

Algorithm = Callable[[Any, npt.NDArray[Any]], Any]

SHOWN = 20
"""Values that a message lists at most."""

_STAMP = ".applied"


@dataclass(frozen=True)
class Kernel:
    """The algorithm, with the checks of what it returns."""

    algorithm: Algorithm
    layer: str
    allowed: tuple[int, ...]
    unknown: Literal["raise", "warn"]

    def __call__(
        self, image: Any, labels: npt.NDArray[Any], inner: tuple[slice, ...]
    ) -> tuple[npt.NDArray[Any] | None, frozenset[int]]:
        """Return the labels of the inner region, and values that no label has."""
        shape = labels.shape
        given = self.algorithm(image, labels)
        if given is None:
            return None, frozenset()
        result = np.asarray(given)
        label_dtype(result.dtype)
        if result.shape != shape:
            raise ShapeError(
                f"The algorithm returned labels of the shape {result.shape} for labels of the shape {shape}.",
                remedy="return labels over the spatial axes, with the halo",
            )
        result = result[inner]
        return result, self._check(result)

    def _check(self, labels: npt.NDArray[Any]) -> frozenset[int]:
        if not self.allowed:
            return frozenset()
        # as Python's numbers: numpy compares uint64 and int64 as floats
        found = sorted(set(np.unique(labels).tolist()).difference(self.allowed))[:SHOWN]
        if found and self.unknown == "raise":
            raise ValueRangeError(
                f"The algorithm returned the values {found}; the labels of the layer {self.layer!r} have"
                f" {list(self.allowed)}.",
                remedy='add labels to the layer, or pass unknown="warn"',
            )
        return frozenset(found)


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Have errors name a data set."""
    try:
        yield
    except Exception as error:  # whatever an algorithm raises goes on, with a note
        error.add_note(f"data set: {name}")
        raise


@dataclass(frozen=True)
class Call:
    """What is applied to what, the same for all data sets, in values that any process can use."""

    path: str
    layer: str
    kernel: Kernel
    image: bool
    block_shape: Any
    halo: Any
    dtype: str | None

    @property
    def whole(self) -> bool:
        """Whether the algorithm gets whole images."""
        return self.block_shape is None and self.halo is None

    def layer_of(self, descriptor: Descriptor) -> LabelMapLayer:
        """The layer of one data set."""
        return LabelMapLayer(descriptor, self.layer)

    def dtype_of(self, layer: LabelMapLayer) -> np.dtype[Any]:
        """Data type of a label map that is made."""
        record = layer._stored()
        if self.dtype is not None or record is not None:
            return np.dtype(self.dtype or (record.dtype if record is not None else None))
        return layer._smallest_dtype() if layer.values else np.dtype(np.uint32)


@lru_cache(maxsize=4)
def opened(path: str, run: str, worker: Worker | None) -> Content:
    """The project, opened once a process for each call: of 100,000 data sets the listing alone takes a second."""
    if worker is None:
        return Content.load(path)
    project = Content.__new__(Content)
    project._hold(worker.session(run))
    return project


@dataclass(frozen=True)
class Journal:
    """What an unfinished call has done: a file for each data set, and a stamp in each label map that it publishes.

    The stamp comes with the rename that publishes the label map, so nothing is done twice, whenever the call dies.
    """

    folder: Path
    run: str

    @classmethod
    def of(cls, project: Project, call: Call, how: Execution) -> Journal:
        """The journal of the unfinished call that this one continues, or a new one."""
        what = how.version if how.version is not None else tell(call.kernel.algorithm)
        # what is checked does not count: who adds a label after an error goes on
        parts = (what, call.layer, call.image, call.block_shape, call.halo, call.dtype)
        key = new_stamp() if what.startswith("untellable") else tell(parts)[:16]
        folder = project._session.folder.notes / key
        if how.resume == "never":
            shutil.rmtree(folder, ignore_errors=True)
        if project._session.in_transaction:
            return cls(folder, new_stamp())
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "run").exists():
            write_once(folder / "run", new_stamp().encode())
        return cls(folder, (folder / "run").read_text())

    @property
    def _marks(self) -> Path:
        # of each run its own: a worker that outlives the call marks nothing for the next one
        return self.folder / self.run

    def done(self, identifiers: set[str]) -> list[str]:
        """Data sets that are done."""
        there = os.listdir(self._marks) if self._marks.exists() else ()
        return sorted(identifiers.intersection(there))

    def add(self, identifier: str) -> None:
        """Note a data set as done."""
        write_once(self._marks / identifier, b"")

    def remove(self, identifiers: Iterable[str]) -> None:
        """Forget data sets, when the call is over."""
        for identifier in identifiers:
            (self._marks / identifier).unlink(missing_ok=True)
        left = os.listdir(self._marks) if self._marks.exists() else ()
        if all(name.startswith(".") for name in left):  # what a process was writing when it died
            shutil.rmtree(self.folder, ignore_errors=True)

    def stamp(self, draft: Draft) -> None:
        """Mark a draft as complete; a server knows by the key of its commit what was published."""
        if not draft.path:
            return
        write_once(Path(draft.path) / _STAMP, self.run.encode())

    def published(self, layer: LabelMapLayer) -> bool:
        """Whether this call has published a label map."""
        session, descriptor = layer.project._session, layer._dataset
        if session.remote is None:
            return self.stamped(layer.path())
        return bool(session.remote.made(self.run, descriptor.identifier))

    def stamped(self, version: str) -> bool:
        """Whether a label map was made by this call, and is complete."""
        path = Path(version) / _STAMP
        return bool(version) and path.exists() and path.read_text() == self.run
