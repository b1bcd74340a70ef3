"""Running an algorithm over the data sets of a project, and storing what it makes of their label maps."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from ...blocks import Block, BlockWithHalo, normalize_block_shape, normalize_halo, to_roi
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...errors import ConfigError, ConflictError, LockError, ParameterError, ResumeConflict, RunnerError
from ...runner.execute import execute
from ...runner.execution import Execution, current_session, execution
from ...runner.planning.build import Where, blocks_stage, items_stage
from ...sources import Source, SourceSpec, from_spec
from ..descriptor import Descriptor
from ..drafts import Draft, label_dtype
from ..layers import LabelMapLayer
from ..remote.working import Worker
from ..storage.leases import LockToken
from .algorithm import SHOWN, Algorithm, Call, Journal, Kernel, opened, telling

if TYPE_CHECKING:
    from ..project import Project

_OTHER = ("mask", "block_ids", "resume_from", "roi", "skip_empty", "casting", "plan", "debug", "detach")


@dataclass(frozen=True)
class ApplyReport:
    """What `Project.apply` did, as identifiers of data sets.

    Attributes
    ----------
    changed, unchanged : tuple of str
        Data sets that have a new label map, and those whose label map is as it was.
    before : tuple of str
        Data sets that an earlier call, which did not come to its end, had done already.
    """

    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


@operation(omit=_OTHER)
def apply(
    project: Project,
    algorithm: Algorithm,
    *,
    layer: str | LabelMapLayer,
    descriptors: Iterable[Descriptor | str | int] | None = None,
    image: bool = True,
    halo: int | Sequence[int] | None = None,
    unknown: Literal["raise", "warn"] = "raise",
    dtype: npt.DTypeLike | None = None,
    lock_tokens: Mapping[str, LockToken] | None = None,
    **run: Unpack[RunKeywords],
) -> ApplyReport:
    """Apply an algorithm to the label maps of a layer, data set by data set.

    Every label map is published as a whole, by one rename, as soon as it is done; a call that was killed is continued
    by the same call, which does no data set twice. Inside ``with project:`` all are published together at its end.
    Outside of it, what was not saved yet is saved first.

    Without `block_shape` and `halo` the algorithm gets whole images, and the workers share the data sets. With one of
    them it gets blocks, and the workers share the blocks of one data set after the other.

    Parameters
    ----------
    algorithm : callable
        ``algorithm(image, labels) -> labels or None``. ``image`` is an array in the image's own axis order; `labels`,
        over its spatial axes, is what is stored, or zeros. None leaves the label map, or the block of it, as it is.
        For workers elsewhere it must be picklable.
    layer : str or LabelMapLayer
    descriptors : iterable of Descriptor, str or int, optional
        By default all.
    image : bool, default True
        With False no voxel of an image is read, and the algorithm gets None for it.
    block_shape : int or sequence of int, optional
        Voxels of a block along the spatial axes; chosen from the chunks where only `halo` is given, which may be 0.
    halo : int or sequence of int, optional
        Voxels around a block that the algorithm gets too; they are cut off its result.
    unknown : {"raise", "warn"}
        What happens to values that no label of the layer has; 0 is always known, as is any value in a layer without
        labels. With "warn" they are stored.
    dtype : dtype_like, optional
        Integer type of the label maps. By default that of the stored one, else the smallest unsigned for the values of
        the labels, uint32 for a layer without any.
    lock_tokens : mapping of str to LockToken, optional
        Locks of data sets, by identifier. Those that this project object took itself are known.

    Returns
    -------
    ApplyReport

    Raises
    ------
    LockError
        Somebody else has locked one of the data sets; nothing is run.
    ConflictError
        Somebody else saved another label map meanwhile. The same call begins anew with that one.
    RunnerError
        The algorithm failed, or gave values that no label has; names the data set. Those that are done stay so.
    """
    job = Job.of(run)
    if job.execution.resume not in ("auto", "never"):
        raise ConfigError(f"resume={job.execution.resume!r}: apply knows its own runs", remedy='resume="auto"')
    for setting in ("plan", "debug", "detach"):
        if getattr(job.execution, setting):
            raise ConfigError(f"apply publishes label maps, so {setting}=True is nothing for it.", remedy="drop it")
    if unknown not in ("raise", "warn"):
        raise ParameterError(f"unknown={unknown!r} is neither 'raise' nor 'warn'.", remedy='unknown="warn"')
    if not project._session.in_transaction:
        project.save()
    target = project.labelmap_layers[layer if isinstance(layer, str) else layer.name]
    chosen = [_found(project, key).identifier for key in (project.descriptors if descriptors is None else descriptors)]
    given = {identifier: token.token for identifier, token in (lock_tokens or {}).items()}
    tokens = {identifier: given.get(identifier) or project._session.token(identifier) for identifier in chosen}
    _check_locks(project, tokens)
    allowed = tuple(sorted(target.values | {0})) if target.values else ()
    kernel = Kernel(algorithm, target.name, allowed, unknown)
    stored = None if dtype is None else label_dtype(dtype).name
    call = Call(project.path, target.id, kernel, image, job.block_shape, _plain(halo), stored)
    with nullcontext() if current_session() is not None else execution(job.execution):
        return _applied(project, call, tokens, job.execution)


def _applied(project: Project, call: Call, tokens: Mapping[str, str], how: Execution) -> ApplyReport:
    session, journal = project._session, Journal.of(project, call, how)
    done = journal.done(set(tokens))
    todo = {identifier: token for identifier, token in tokens.items() if identifier not in done}
    if call.whole and not session.in_transaction:
        changed = dict(_whole_images(project, call, journal, todo, how))
        for identifier in todo:
            session.refresh(identifier)
    else:
        changed = {key: _in_blocks(project, call, journal, key, token, how) for key, token in todo.items()}
    journal.remove(tokens)
    by_flag = {flag: tuple(key for key in todo if changed[key] is flag) for flag in (True, False)}
    return ApplyReport(by_flag[True], by_flag[False], tuple(done))


def _found(project: Project, key: Descriptor | str | int) -> Descriptor:
    return key if isinstance(key, Descriptor) else project.descriptors[key]


def _plain(halo: Any) -> Any:
    return halo if halo is None or isinstance(halo, int) else tuple(halo)


def _check_locks(project: Project, tokens: Mapping[str, str]) -> None:
    for identifier, token in tokens.items():
        try:
            project._session.check_lock(identifier, token)
        except LockError as error:
            found = project.descriptors[identifier]
            raise LockError(f"{found.name!r}: {error.message}", remedy=error.remedy) from error


# whole images, many at once


@dataclass(frozen=True)
class ApplyImage:
    """The function of a run over data sets: whole images, each published by its worker."""

    call: Call
    journal: Journal
    tokens: tuple[tuple[str, str], ...]
    worker: Worker | None = None
    """How a project on a server is opened; None for one in a folder."""

    def __call__(self, index: int) -> tuple[bool, frozenset[int]]:
        """Return whether the label map changed, and values that no label has."""
        identifier, token = self.tokens[index]
        project = opened(self.call.path, self.journal.run, self.worker)
        project._session.refresh(identifier)
        descriptor = project.descriptors[identifier]
        layer = self.call.layer_of(descriptor)
        with telling(f"{descriptor.name!r} ({identifier})"):
            if self.journal.published(layer):
                changed, unknown = True, frozenset[int]()
            else:
                changed, unknown = self._made(descriptor, layer, LockToken(token))
        self.journal.add(identifier)
        return changed, unknown

    def _made(self, descriptor: Descriptor, layer: LabelMapLayer, token: LockToken) -> tuple[bool, frozenset[int]]:
        stored = layer.load()
        dtype = self.call.dtype_of(layer)
        labels = np.zeros(descriptor.spatial_shape, dtype) if stored is None else stored.read()
        image = descriptor.load_image().read() if self.call.image else None
        everything = (slice(None),) * labels.ndim
        result, unknown = self.call.kernel(image, labels, everything)
        if result is None:
            return False, unknown
        try:
            return self._published(layer.draft(dtype=dtype), result, token), unknown
        except (ConflictError, ParameterError):
            descriptor.project._session.refresh(descriptor.identifier)
            if self.journal.published(layer):  # by a worker of a driver that has died
                return True, unknown
            raise

    def _published(self, draft: Draft, result: npt.NDArray[Any], token: LockToken) -> bool:
        try:
            draft.fill(result)
            self.journal.stamp(draft)
            return draft.publish(token)
        except BaseException:
            draft.discard()
            raise


def _whole_images(
    project: Project, call: Call, journal: Journal, tokens: Mapping[str, str], how: Execution
) -> Iterator[tuple[str, bool]]:
    if not tokens:
        return
    # the journal tells what is left, so there is no run to be continued
    how = replace(how, resume="never")
    with _going_on(), Worker.of(project._session) as worker:
        function = ApplyImage(call, journal, tuple(tokens.items()), worker)
        stage = items_stage(function, len(tokens), None, name="apply")
        report = execute("apply", [stage], how, value=lambda results: list(results.each("apply")))
    for index, (changed, unknown) in report.results:
        identifier = function.tokens[index][0]
        _warn(call, identifier, unknown)
        yield identifier, changed


@contextmanager
def _going_on(prefix: str = "") -> Iterator[None]:
    """Have the error of a run say where it was, and how to go on."""
    try:
        yield
    except RunnerError as error:
        error.message, error.remedy = f"{prefix}{error.message}", "the same call goes on where this one stopped"
        raise


def _warn(call: Call, name: str, unknown: Iterable[int]) -> None:
    if values := sorted(unknown):
        warnings.warn(
            f"{name}: values {values[:SHOWN]} that no label of the layer {call.kernel.layer!r} has", stacklevel=2
        )


# blocks of one image after the other


@dataclass(frozen=True)
class OpenImage:
    """Open an image, once a process."""

    spec: SourceSpec

    def __call__(self, earlier: Any) -> Source:
        """Return the image."""
        return from_spec(self.spec)


@dataclass(frozen=True)
class ApplyBlock:
    """The block function: read, call the algorithm, cut off the halo, write.

    `kept` says that the output doesn't begin as what is stored, so that labels that stay are written too.
    """

    kernel: Kernel
    name: str
    spatial: tuple[int, ...]
    ndim: int
    kept: bool

    def __call__(
        self,
        block: Block | BlockWithHalo,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        context: Source | None = None,
    ) -> tuple[bool, frozenset[int]]:
        """Return whether the algorithm gave labels, and values that no label has."""
        if isinstance(block, BlockWithHalo):
            inner, outer = to_roi(block.inner_block), to_roi(block.outer_block)
            cut = to_roi(block.inner_block_local)
        else:
            inner = outer = to_roi(block)
            cut = (slice(None),) * len(inner)
        shape = tuple(part.stop - part.start for part in outer)
        labels = inputs[0].read(outer) if inputs else np.zeros(shape, outputs[0].dtype)
        image = None if context is None else context.read(self._in_image(outer))
        before = labels[cut].copy() if self.kept and inputs else None
        with telling(self.name):
            result, unknown = self.kernel(image, labels, cut)
            written = before if result is None else result
            if written is not None:
                outputs[0][inner] = written
        return result is not None, unknown

    def _in_image(self, roi: tuple[slice, ...]) -> tuple[slice, ...]:
        parts = [slice(None)] * self.ndim
        for axis, part in zip(self.spatial, roi, strict=True):
            parts[axis] = part
        return tuple(parts)


def _merged(one: tuple[bool, frozenset[int]], other: tuple[bool, frozenset[int]]) -> tuple[bool, frozenset[int]]:
    return one[0] or other[0], one[1] | other[1]


def _in_blocks(project: Project, call: Call, journal: Journal, identifier: str, token: str, how: Execution) -> bool:
    """Make and publish the label map of one data set; return whether it changed."""
    descriptor = project.descriptors[identifier]
    name, layer = f"{descriptor.name!r} ({identifier})", call.layer_of(descriptor)
    if not project._session.in_transaction:
        project._session.refresh(identifier)
    changed = journal.published(layer)
    if not changed:
        draft = _draft(call, journal, layer)
        how = replace(how, resume="auto" if draft.begun else "never")
        if journal.stamped(draft.path) or _filled(call, descriptor, layer, draft, how, name):
            journal.stamp(draft)
            with telling(name), project._session.during(journal.run):
                changed = draft.publish(LockToken(token))
        else:
            draft.discard()
    if not project._session.in_transaction:
        journal.add(identifier)
    return changed


def _draft(call: Call, journal: Journal, layer: LabelMapLayer) -> Draft:
    """The draft of this call for what is stored now."""
    record = layer._stored()
    # another call, and the same call on another label map, have drafts of other names: nobody's is pulled away
    name = f"apply-{journal.run}-{'empty' if record is None else record.version}"
    return layer.draft(name, dtype=call.dtype_of(layer))


def _filled(call: Call, descriptor: Descriptor, layer: LabelMapLayer, draft: Draft, how: Execution, name: str) -> bool:
    try:
        return _fill(call, descriptor, layer, draft, how, name)
    except ResumeConflict:  # other labels are allowed now; every block is computed from what is stored, so again
        return _fill(call, descriptor, layer, draft, replace(how, resume="never"), name)


def _fill(call: Call, descriptor: Descriptor, layer: LabelMapLayer, draft: Draft, how: Execution, name: str) -> bool:
    """Run the algorithm on all blocks; return whether it gave labels for any."""
    stored, image = layer.load(), descriptor.load_image() if call.image else None
    ndim = len(descriptor.spatial_shape)
    shape = descriptor.spatial_shape if call.whole else call.block_shape
    kept = stored is not None and stored.dtype != draft.source.dtype
    function = ApplyBlock(call.kernel, name, descriptor.spatial_axes, len(descriptor.shape), kept)
    per_voxel = 0.0 if image is None else image.nbytes / draft.source.nbytes
    stage = blocks_stage(
        function,
        [] if stored is None else [stored],
        [draft.source],
        Where(None if shape is None else normalize_block_shape(shape, ndim)),
        name="apply",
        halo=normalize_halo(call.halo, ndim) if call.halo else None,
        returns="fold",
        merge=_merged,
        setup=None if image is None else OpenImage(image.to_spec()),
        num_workers=how.num_workers,
        reads_outputs=False,
        memory_factor=3.0 * (1 + per_voxel),
    )
    with _going_on(f"{name}: "):
        report = execute("apply", [stage], how)
    given, unknown = report.results["apply"]
    _warn(call, name, unknown)
    return bool(given)
