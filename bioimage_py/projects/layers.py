"""Layers of a project, and of its descriptors with their data."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ParameterError, SourceTypeError
from ..sources import Source
from ..sources.array import ArraySource
from ..system.files import write_once
from ..wrapper.view import AxesSource
from .drafts import Draft, check_known, checked_labels, fitting_dtype, label_dtype
from .remote.draft import RemoteDraft
from .remote.sending import send_table
from .storage.folder import Folder, new_stamp
from .storage.leases import LockToken
from .storage.versions import open_version
from .values.accessor import Accessor
from .values.kinds import PALETTE, LayerKind
from .values.models import Color, Label, Layer
from .values.names import plain
from .values.records import LayerRecord
from .values.sets import AnnotationSet, BoxSet, LandmarkSet, from_table, scale_of, to_table

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .project import Project


class LiveLayer(abc.ABC):
    """A layer of a project, or of one descriptor, where it has data.

    Parameters
    ----------
    owner : Project or Descriptor
    id : str
        Id of the layer.
    """

    kind: ClassVar[LayerKind]
    _suffix: ClassVar[str]

    def __init__(self, owner: Project | Descriptor, id: str) -> None:
        self._owner = owner
        self._id = id

    @property
    def id(self) -> str:
        """Id, which stays when the layer is renamed."""
        return self._id

    @property
    def project(self) -> Project:
        """The project."""
        return self._owner.project

    @property
    def descriptor(self) -> Descriptor | None:
        """The descriptor; None for a layer that was taken from the project, which has no data."""
        return self._owner.descriptor

    @property
    def _dataset(self) -> Descriptor:
        if self._owner.descriptor is None:
            raise ParameterError(
                f"The layer {self.name!r} was taken from the project, which has no annotations of its own.",
                remedy="take it from a descriptor, such as project.descriptors[0]",
            )
        return self._owner.descriptor

    @property
    def definition(self) -> Layer:
        """Name, kind and labels, as a copy."""
        return self.project._layer(self._id)

    @property
    def name(self) -> str:
        """Name."""
        return self.definition.name

    @property
    def index(self) -> int:
        """Position among the layers of its kind."""
        return [layer.id for layer in self.project._layers(self.kind)].index(self._id)

    @property
    def annotations(self) -> Accessor[Label]:
        """What can be labelled, by position or name."""
        labels = self.definition.labels
        return Accessor([label.bound(self._owner, i) for i, label in enumerate(labels)], "label")

    @property
    def folder(self) -> str:
        """Folder of the data of this layer of the descriptor; "" on a server."""
        if self.project.is_remote:
            return ""
        return str(self._folder.annotations(self._dataset.identifier, self._id))

    def has_data(self) -> bool:
        """Whether annotations are stored: a voxel that is not 0, a box, a landmark."""
        record = self._stored()
        return record is not None and record.units > 0

    @property
    def version(self) -> str:
        """Version of what is stored, which never changes; "" where nothing is."""
        record = self._stored()
        return "" if record is None else record.version

    def version_path(self, version: str) -> str:
        """Path of a version; it need not be there any more (`Project.prune`)."""
        return str(Path(self.folder) / f"{plain(version)}{self._suffix}")

    def _add(self, name: str, color: Color, value: int | None) -> Label:
        label = self.project._add_label(self._id, Label(name, self.kind, color, value=value))
        return label.bound(self._owner, self.definition.labels.names.index(name))

    @property
    def _folder(self) -> Folder:
        return self.project._session.folder

    def _stored(self) -> LayerRecord | None:
        return self._dataset._record.layers.get(self._id)

    def _path_of(self, record: LayerRecord) -> Path:
        return self._folder.annotations(self._dataset.identifier, self._id) / f"{plain(record.version)}{self._suffix}"

    @property
    def _token(self) -> str:
        return self.project._session.token(self._dataset.identifier)

    def _check_lock(self, token: LockToken | None) -> str:
        """Refuse early what the commit would refuse, and return the token."""
        given = self._token if token is None or token.is_none else token.proof_of(self._dataset.identifier)
        self.project._session.check_lock(self._dataset.identifier, given)
        return given

    def _publish(self, old: LayerRecord | None, new: LayerRecord, token: str, discard: Callable[[], None]) -> None:
        def unless_named() -> None:
            if not self._named(new):
                discard()

        self.project._session.publish(self._dataset.identifier, self._id, old, new, token, unless_named)

    def _named(self, record: LayerRecord) -> bool:
        """Whether a document of the project names a version, also one of a commit that others will end."""
        return self.project.is_remote or self._folder.tells(self._dataset.identifier, record.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiveLayer) and other._id == self._id and other._owner == self._owner

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class LabelMapLayer(LiveLayer):
    """A layer of voxel labels."""

    kind = LayerKind.PIXELWISE
    _suffix = ".zarr"

    @property
    def labels(self) -> Accessor[Label]:
        """The same as `annotations`."""
        return self.annotations

    @property
    def values(self) -> frozenset[int]:
        """Voxel values of the labels; empty where none is defined, so that any value may be stored."""
        return frozenset(label.value for label in self.definition.labels if label.value is not None)

    def add_annotation(self, name: str, value: int, color: Color | None = None) -> Label:
        """Add a label.

        Parameters
        ----------
        name : str
        value : int
            Voxel value.
        color : tuple of int, optional
            RGB, 0 to 255. None: black for 0, else one of a palette.

        Raises
        ------
        ParameterError
            The name or the value is taken.
        """
        if color is None:
            color = PALETTE[(value - 1) % len(PALETTE)] if value else (0, 0, 0)
        return self._add(name, color, value)

    add_label = add_annotation

    def load(self) -> Source | None:
        """Return the stored label map, read-only, over the spatial axes of the image; None where none is stored.

        What it reads stays the same, whatever is saved meanwhile.
        """
        record, remote = self._stored(), self.project._session.remote
        if record is None or remote is None:
            return None if record is None else open_version(self._path_of(record))
        found: Source = remote.label_map(self._dataset.identifier, self._id, record.version)
        return found

    def save_new_data(self, value: Any, lock_token: LockToken | None = None) -> bool:
        """Save a label map: at once, or at the end of the transaction.

        Parameters
        ----------
        value : source-like
            Integers over the spatial axes of the image: 0, and values of labels of the layer, if it has any. The stored
            data type stays where it holds all values.
        lock_token : LockToken, optional
            Lock of the descriptor, where it has one.

        Returns
        -------
        bool
            False where it is stored already; then nothing is written, and the time of the last edit stays.

        Raises
        ------
        ShapeError, DtypeError
            It does not fit the image, or holds no integers.
        ParameterError
            It has voxels, other than those stored, with a value that no label of the layer has.
        LockError
            Somebody else has locked the descriptor, or the lock has expired.
        ConflictError
            Somebody else saved another label map since this one was read.
        """
        self._check_lock(lock_token)
        source, record = checked_labels(value, self), self._stored()
        check_known(source, self)
        dtype = fitting_dtype(source, None if record is None else np.dtype(record.dtype))
        draft = self.draft(dtype=dtype)
        try:
            draft.fill(source)
            return draft.publish(lock_token)
        except BaseException:
            draft.discard()
            raise

    def draft(self, name: str = "", *, dtype: Any = None) -> Draft:
        """Return a label map to be written block by block, by any process; see `Draft`."""
        return (RemoteDraft if self.project.is_remote else Draft)(self, name, dtype)

    def create_empty_labelmap(self) -> Source:
        """Return zeros over the spatial axes of the image, in memory, writable; nothing is saved."""
        descriptor = self._dataset
        axes = [descriptor.axes[axis] for axis in descriptor.spatial_axes]
        record = self._stored()
        dtype = self._smallest_dtype() if record is None else np.dtype(record.dtype)
        return AxesSource(ArraySource(np.zeros(descriptor.spatial_shape, dtype)), axes)

    def path(self) -> str:
        """Path of the stored label map (an OME-Zarr group), "" where there is none, or on a server."""
        record = self._stored()
        return "" if record is None or self.project.is_remote else str(self._path_of(record))

    def thumbnail_path(self) -> str:
        """Path of the picture of the label map, which need not be there; "" on a server."""
        if self.project.is_remote:
            return ""
        return str(self._folder.root / "thumbnails" / f"{self._dataset.identifier}-{plain(self._id)}.png")

    def _smallest_dtype(self) -> np.dtype[Any]:
        return label_dtype(np.min_scalar_type(max(self.values, default=0)))


class TableLayer(LiveLayer):
    """A layer of boxes or landmarks."""

    _suffix = ".csv"
    _rows: ClassVar[type[AnnotationSet]]

    def add_annotation(self, name: str, color: Color = (255, 255, 255)) -> Label:
        """Add a type.

        Raises
        ------
        ParameterError
            The name is taken.
        """
        return self._add(name, color, None)

    def _load(self) -> AnnotationSet | None:
        if (record := self._stored()) is None:
            return None
        names = {label.id: label.name for label in self.definition.labels}
        text, where = self._text(record)
        return from_table(text, self._rows, names, where, scale_of(self._dataset.axes))

    def _same(self, old: LayerRecord, value: AnnotationSet) -> bool:
        """Whether the rows are those of a stored table, also of an older one that is written another way."""
        return old.units == len(value) and self._load() == value

    def _text(self, record: LayerRecord) -> tuple[str, str]:
        """What is stored, and how it is called."""
        if (remote := self.project._session.remote) is None:
            return (path := self._path_of(record)).read_text(encoding="utf-8"), str(path)
        return str(remote.table(self._dataset.identifier, self._id, record.version)), f"The table {record.version}"

    def save_new_data(self, value: AnnotationSet, lock_token: LockToken | None = None) -> bool:
        """Save a set: at once, or at the end of the transaction.

        Parameters
        ----------
        value : BoxSet or LandmarkSet
        lock_token : LockToken, optional
            Lock of the descriptor, where it has one.

        Returns
        -------
        bool
            False where it is stored already; then nothing is written, and the time of the last edit stays.

        Raises
        ------
        SourceTypeError
            A set of the other kind, or none.
        KeyNotFoundError
            The layer has no such type.
        LockError, ConflictError
            As for label maps.
        """
        if not isinstance(value, self._rows):
            raise SourceTypeError(
                f"The layer {self.name!r} stores a {self._rows.__name__}, not a {type(value).__name__}.",
                remedy=f"rows = {self._rows.__name__}.from_descriptor(descriptor, {self.name!r})",
            )
        self._check_lock(lock_token)
        data = to_table(value, {label.name: label.id for label in self.definition.labels}).encode()
        if (old := self._stored()) is not None and (self._text(old)[0].encode() == data or self._same(old, value)):
            return False
        token = "" if lock_token is None else lock_token.token
        if self.project.is_remote:
            return send_table(self, data.decode(), old, token)
        new = LayerRecord(version=new_stamp(), units=len(value))
        path = self._path_of(new)
        write_once(path, data, sync=True)
        try:
            self._publish(old, new, token, lambda: path.unlink(missing_ok=True))
        except BaseException:
            if not self._named(new):  # Ctrl-C may come after the commit
                path.unlink(missing_ok=True)
            raise
        return True


class BoundingBoxLayer(TableLayer):
    """A layer of boxes."""

    kind = LayerKind.BOUNDINGBOX
    _rows = BoxSet

    @property
    def boundingboxes(self) -> Accessor[Label]:
        """The same as `annotations`."""
        return self.annotations

    add_boundingbox = TableLayer.add_annotation

    def load(self) -> BoxSet | None:
        """Return the stored boxes, None where none were saved."""
        found = self._load()
        assert found is None or isinstance(found, BoxSet)
        return found


class LandmarkLayer(TableLayer):
    """A layer of landmarks."""

    kind = LayerKind.LANDMARK
    _rows = LandmarkSet

    @property
    def landmarks(self) -> Accessor[Label]:
        """The same as `annotations`."""
        return self.annotations

    add_landmark = TableLayer.add_annotation

    def load(self) -> LandmarkSet | None:
        """Return the stored landmarks, None where none were saved."""
        found = self._load()
        assert found is None or isinstance(found, LandmarkSet)
        return found


LIVE: dict[LayerKind, type[Any]] = {cls.kind: cls for cls in (LabelMapLayer, BoundingBoxLayer, LandmarkLayer)}
