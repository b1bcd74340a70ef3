"""Outputs that only one process may write (HDF5): workers write a scratch zarr beside the file, then one copies it in.

The process that calls has the file open, and HDF5 lets no other one in; so it is the one that copies, when all blocks
are done and before the run is complete. It can be repeated: what is in the scratch array stays until then. Where
workers read from the same file, they do so without HDF5's lock; nobody writes it meanwhile.

Threads of the calling process write a scratch zarr as well: HDF5 keeps in memory what is written, in a state that has
no whole form on the disk before it is flushed, and a flush that is killed tears the file. So it is written for a short
time at the end, with an image of what that may tear (`file_image`). For that time the data set carries a stamp of the
run: where the run folder and the scratch array are lost together, the file itself tells that it holds a part.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ...blocks.boxes import Bounds
from ...errors import DtypeError, ResumeConflict, ShapeError, StorageError
from ...io.create import create_array
from ...run_folder import LATE_SECONDS, RunFolder, copying_began
from ...sources import from_spec
from ...sources.array import ArraySource
from ...sources.base import Source
from ...sources.file import FileSource, absolute_path
from ...sources.indexing import Roi
from ...sources.spec import FrozenParams, SourceSpec
from ...system.faults import fault
from ...system.files import write_once
from ...system.processes import identify, rebooted
from ...wrapper.base import WrapperSource
from ..identity.locations import container_of
from ..lease.stamp_places import InHDF5
from ..lease.stamps import Output, put_stamps, remove_stamps
from ..planning.stage import Plan, Stage
from .file_image import keep_image, put_image_back

_SLAB_BYTES = 64 * 2**20
_kept: dict[str, int] = {}
"""Images that this process has made, and of which opening of their file."""


@dataclass
class Handed:
    """An output that is handed over through a scratch array; ``region`` is what the run may write.

    In a copy from another process the output is opened from its spec. ``in_place``: the run reads the output, too.
    """

    spec: SourceSpec
    scratch: FileSource
    region: Roi
    output: Source | None = None
    in_place: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "output": None}

    @contextmanager
    def opened(self) -> Iterator[Source]:
        """The output: that of this process, else one that is opened and closed."""
        if self.output is not None:
            yield self.output
            return
        with _opened(self.spec) as own:
            yield own

    def stamped(self) -> list[Output]:
        """What carries a stamp while results are copied in; nothing where the output is not open in this process."""
        found = None if self.output is None else _stored(self, self.output)
        return [] if found is None else [_stamped(self, *found)]

    def fill(self) -> None:
        """Give the scratch array what the output holds; what an earlier run had left in it goes."""
        with self.opened() as output:
            output.flush()
            for part in _slabs(self.region, output):
                self.scratch[part] = output[part]


class Unlocked(WrapperSource):
    """A source whose file is open for writing in this process, which writes nothing while workers read it."""

    def _getitem(self, roi: Roi) -> Any:
        return self._source._getitem(roi)

    def to_spec(self) -> SourceSpec:
        """Spec that opens the file without HDF5's lock."""
        return _unlocked(self._source.to_spec())


def hand_over(plan: Plan) -> Plan:
    """The plan with scratch arrays in the place of outputs that one process alone may write."""
    handed: dict[int, Handed] = {}
    for stage in plan.stages:
        for output in stage.outputs:
            if output.concurrency == "single-writer" and container_of(output) is not None:
                handed[id(output)] = _handed(stage, output)
    if not handed:
        return plan
    files = {container_of(kept.output) for kept in handed.values() if kept.output is not None}

    def read(given: Source) -> Source:
        return Unlocked(given) if container_of(given) in files else given

    def written(given: Source) -> Source:
        return handed[id(given)].scratch if id(given) in handed else given

    stages = []
    for stage in plan.stages:
        in_place = stage.in_place and not all(id(output) in handed for output in stage.outputs)
        stages.append(replace(stage.over(read, written), in_place=in_place))
    return replace(plan, stages=tuple(stages), handed=tuple(handed.values()))


def fill_scratch(plan: Plan, folder: Path) -> None:
    """Give all scratch arrays of a run what the outputs hold, once a run, and after a reboot again."""
    inside = RunFolder(folder)
    mark = inside.filled
    if inside.copying.exists():
        return
    if not mark.exists() or rebooted(json.loads(mark.read_text())):
        for handed in plan.handed:
            handed.fill()
        write_once(mark, json.dumps({**identify(), "synced": plan.execution.durability == "node"}).encode())


def copy_in(plan: Plan, folder: Path, *, last: bool) -> None:
    """Copy all scratch arrays of a run into the outputs; after the ``last`` time that is not repeated.

    Before that, what a kill may tear of their files is kept in the run folder; where one was torn, it is put back.

    Raises
    ------
    ResumeConflict
        A file that was half written by a run that was killed has been written by somebody else since.
    StorageError
        Such a file has been put back, but this process had opened it before.
    """
    inside = RunFolder(folder)
    if inside.copied.exists():
        return
    copying, images = inside.copying, []
    if not copying_began(folder):
        os.sync()  # from here on the scratch arrays are all that is left of what the outputs held
        copying.write_text("")
    with ExitStack() as stack:
        outputs = [(handed, stack.enter_context(handed.opened())) for handed in plan.handed]
        found = [(handed, stored) for handed, output in outputs if (stored := _stored(handed, output)) is not None]
        files: dict[Path | None, list[tuple[ArraySource, Bounds | None]]] = {}
        for _, stored in found:
            files.setdefault(container_of(stored[0]), []).append(stored)
        for number, group in enumerate(files.values()):
            images.append(inside.image(number))
            _protect(images[-1], group, copying)
        stamps = [_stamped(handed, *stored) for handed, stored in found]
        put_stamps(stamps, folder.name, folder, plan.name)

        def settle(*, over: bool = False) -> None:
            for _, output in outputs:
                output.flush()
            if over:
                remove_stamps(stamps, folder.name)
            for _, output in outputs:
                output.durable().flush()
            fault("after-copy")
            for image in images:
                image.unlink(missing_ok=True)

        try:
            for handed, output in outputs:
                for part in _slabs(handed.region, output):
                    output[part] = handed.scratch[part]
                    os.utime(copying)
                    fault("before-copy")
        except OSError:  # what HDF5 holds in memory is of no use after that: the image stays
            raise
        except BaseException:
            settle()
            raise
        settle(over=True)
    copying.write_text("over")
    if last:
        inside.copied.touch()


def _stored(handed: Handed, output: Source) -> tuple[ArraySource, Bounds | None] | None:
    """The HDF5 data set below an output, and the box of it that is written, None for all."""
    source, box = output, cast("Bounds | None", tuple((part.start, part.stop) for part in handed.region))
    while isinstance(source, WrapperSource):
        box = None if box is None else source.inner_box(box)
        source = source.source
    is_hdf5 = isinstance(source, ArraySource) and type(source.array).__module__.partition(".")[0] == "h5py"
    return (cast(ArraySource, source), box) if is_hdf5 else None


def _stamped(handed: Handed, source: ArraySource, box: Bounds | None) -> Output:
    whole = tuple((0, size) for size in source.shape)
    return Output(InHDF5(source.array), [box or whole], handed.in_place, late=True)


def _protect(image: Path, group: Sequence[tuple[ArraySource, Bounds | None]], copying: Path) -> None:
    """Have an image of a file before it is written; where one was left by a kill, put it back."""
    first = group[0][0]
    if not image.exists():
        for source, _ in group:
            source.flush()
        keep_image(first.array.file, {str(source.array.name).strip("/"): box for source, box in group}, image)
    else:
        path, here = Path(first.array.file.filename), _kept.get(str(image))
        if here is None and path.stat().st_mtime > copying.stat().st_mtime + LATE_SECONDS:
            raise ResumeConflict(
                f"{path} was written after the run in {image.parent} had died while it copied its results into it;"
                " to put back what that may have torn would overwrite it",
                remedy=f"to go on with the file as it is now: bioimage-py runs clean {image.parent} --yes",
            )
        stale, changed = here == _number(first.array), []
        alone = first.renew(lambda: changed.append(put_image_back(image, str(path)))) and len(group) == 1
        if (stale or any(changed)) and not alone:
            raise StorageError(
                f"{path} was left half written, by a kill or on a full disk. It has been put back, but this process"
                " had opened it before that",
                remedy="close the file, open it again, and repeat the call (or run the script again)",
            )
    _kept[str(image)] = _number(first.array)


def _number(dataset: Any) -> int:
    """Which opening of a file in this process it is."""
    import h5py

    return int(h5py.h5o.get_info(dataset.id).fileno)


def _handed(stage: Stage, output: Source) -> Handed:
    assert stage.units.groups is not None
    grid, spec = stage.units.groups.grid, output.to_spec()
    file = container_of(output)
    lead = output.shape[: output.ndim - grid.ndim]
    units = output.write_chunks
    if units is None:  # any voxel may be written alone, so a chunk may not cross the border of a block
        cuts = zip(grid.block_shape, grid.roi, output.shape[len(lead) :], strict=True)
        units = (*lead, *(math.gcd(block, begin) if begin else min(block, size) for block, (begin, _), size in cuts))
    digest = hashlib.sha1(spec.to_json().encode(), usedforsecurity=False).hexdigest()[:10]
    path = f"{file}.{digest}.scratch.zarr"
    wanted: dict[str, Any] = {"shape": output.shape, "dtype": output.dtype, "chunks": units, "axes": output.axes}
    try:
        scratch = create_array(path, "", format="zarr", **wanted)
    except (ShapeError, DtypeError):  # left by a run on a file that was made anew since
        scratch = create_array(path, "", format="zarr", overwrite=True, **wanted)
    region = (*(slice(0, size) for size in lead), *(slice(begin, end) for begin, end in grid.roi))
    return Handed(spec, scratch, region, output, stage.in_place or stage.reads_outputs)


def _slabs(region: Roi, source: Source) -> Iterator[Roi]:
    """Cut a region along its first axis into parts of whole chunks, of about 64 MiB."""
    if not region:
        yield region
        return
    plane = math.prod(part.stop - part.start for part in region[1:]) * source.dtype.itemsize
    step = 1 if source.chunks is None else source.chunks[0]
    thick = max(step, _SLAB_BYTES // max(1, plane) // step * step)
    for start in range(region[0].start // step * step, region[0].stop, thick):
        yield (slice(max(start, region[0].start), min(start + thick, region[0].stop)), *region[1:])


@contextmanager
def _opened(spec: SourceSpec) -> Iterator[Source]:
    try:
        own = from_spec(spec)
    except StorageError as error:
        if "locking flag" not in str(error):
            raise
        # an input of this process is in the file, without HDF5's lock; all openings must be alike
        own = from_spec(_unlocked(spec))
        with own, open(absolute_path(str(_inner(spec).path)), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise error from None
            yield own
        return
    with own:
        yield own


def _inner(spec: SourceSpec) -> SourceSpec:
    return spec if spec.wrapped is None else _inner(spec.wrapped)


def _unlocked(spec: SourceSpec) -> SourceSpec:
    if spec.wrapped is not None:
        return replace(spec, wrapped=_unlocked(spec.wrapped))
    return replace(spec, params=FrozenParams({**spec.params, "locking": False}))
