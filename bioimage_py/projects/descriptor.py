"""One data set of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import BioimageError, KeyNotFoundError, ParameterError, ReadOnlyError
from ..markup import picture, table
from . import stored_spaces
from .image_properties import ImageProperties
from .layers import LIVE, BoundingBoxLayer, LabelMapLayer, LandmarkLayer
from .storage.leases import SECONDS, LockHolder, LockToken
from .values.accessor import Accessor
from .values.grouping import checked_grouping
from .values.kinds import LayerKind, TagKind
from .values.models import Group, Tag
from .values.records import is_annotated, n_frames
from .values.sets import AnnotationSet, BoxSet


class Descriptor(ImageProperties):
    """What a project knows of one data set: where its image is, what is said of it, its annotations.

    Reading and changing it opens its small file once; only `load_image` and `load_thumbnail` read voxels. Changes
    wait for `Project.save`, or for the end of ``with project:``.
    """

    __slots__ = ()

    @property
    def descriptor(self) -> Descriptor:
        """Itself."""
        return self

    @property
    def name(self) -> str:
        """Name; need not be unique. Settable."""
        return self._project._session.summary(self._identifier).name

    @name.setter
    def name(self, value: str) -> None:
        self._record.name = value

    @property
    def comments(self) -> str:
        """Any text. Settable."""
        return self._record.comments

    @comments.setter
    def comments(self, value: str) -> None:
        self._record.comments = value

    @property
    def grouping(self) -> tuple[Group, ...]:
        """One group for each level of the hierarchy, or none. Settable with strings or `Group`.

        Raises
        ------
        ParameterError
            On setting: another number of groups than the hierarchy has levels.
        """
        return tuple(self._record.grouping)

    @grouping.setter
    def grouping(self, value: Sequence[str | Group]) -> None:
        self._record.grouping = checked_grouping(value, self._project.grouping_hierarchy)

    @property
    def tags(self) -> Accessor[Tag]:
        """Tags, whose `value` is that of this data set; settable."""
        tags = self._project._session.settings.tags
        return Accessor([tag.bound(self, index) for index, tag in enumerate(tags)], "tag")

    def _tag_value(self, tag: Tag) -> bool | str | float | None:
        value = self._record.tags.get(tag.id)
        return None if tag.kind == TagKind.Enum and value not in tag.options else value

    def _set_tag_value(self, tag: Tag, value: bool | str | float | None) -> None:
        if tag.readonly:
            raise ReadOnlyError(f"The tag {tag.name!r} is read-only.", remedy="edit() it: tag.readonly = False")
        if value is None:
            self._record.tags.pop(tag.id, None)
        else:
            self._record.tags[tag.id] = tag.check(value)
        self._project._changed()

    @property
    def labelmap_layers(self) -> Accessor[LabelMapLayer]:
        """Label maps, by position or name."""
        return self._layers(LayerKind.PIXELWISE)

    @property
    def boundingbox_layers(self) -> Accessor[BoundingBoxLayer]:
        """Layers of boxes, by position or name."""
        return self._layers(LayerKind.BOUNDINGBOX)

    @property
    def landmark_layers(self) -> Accessor[LandmarkLayer]:
        """Layers of landmarks, by position or name."""
        return self._layers(LayerKind.LANDMARK)

    def _layers(self, kind: LayerKind) -> Accessor[Any]:
        layers = self._project._layers(kind)
        return Accessor([LIVE[kind](self, layer.id) for layer in layers], "layer")

    def _table_layers(self, rows: type[AnnotationSet]) -> Accessor[Any]:
        return self.boundingbox_layers if issubclass(rows, BoxSet) else self.landmark_layers

    @property
    def spaces(self) -> Accessor[Any]:
        """Annotation spaces, by position or name; there is always "root"."""
        spaces = self._project._spaces
        return Accessor([spaces.get(self, id) for id in spaces.ids(self)], "space")

    def space(self, id_or_name: str | None = None, *, kind: str | None = None) -> Any:
        """Return an annotation space; the same object each time.

        Parameters
        ----------
        id_or_name : str, optional
            May be left out where there is only one.
        kind : {"image", "sequence", "volume"}, optional
            What it must be; of "root" before its first use, what it becomes.

        Returns
        -------
        Space
            Changes wait for its `save`, for `Project.save` or the end of ``with project:``.

        Raises
        ------
        KeyNotFoundError
            There is no such space.
        ParameterError
            It is of another kind, or there are several and none is named.
        """
        return self._project._spaces.space(self, id_or_name, kind)

    def add_space(self, id: str, *, kind: str | None = None) -> Any:
        """Add an annotation space; ParameterError where there is one of that id."""
        return self._project._spaces.add(self, id, kind)

    @property
    def space_versions(self) -> dict[str, str]:
        """Stored version of each annotation space, by the space's id; one that was never saved has none."""
        return stored_spaces.versions(self)

    def read_space(self, id: str, version: str) -> Any:
        """Return an annotation space as a stored version has it: a value of its own, which is neither kept nor saved.

        Raises
        ------
        SourceNotFoundError
            There is no such version, or it was pruned.
        FormatError
            It is damaged.
        """
        return stored_spaces.read(self, id, version)

    def consider_frame_annotated(self, frame: int, annotated: bool) -> None:
        """Mark a frame as annotated, or not.

        Parameters
        ----------
        frame : int
            Along time where the image has several times, else along z.
        annotated : bool

        Raises
        ------
        ParameterError
            There is no such frame.
        """
        self._check_frame(frame)
        if annotated:
            self._record.frames[str(frame)] = True
        else:
            self._record.frames.pop(str(frame), None)
        self._project._changed()

    def is_considered_annotated(self, frame: int | None = None) -> bool:
        """Whether a frame is marked as annotated; with None, whether all frames are."""
        if frame is None:
            return is_annotated(self._record)
        self._check_frame(frame)
        return self._record.frames.get(str(frame), False)

    def _check_frame(self, frame: int) -> None:
        count = n_frames(self._record)
        if not 0 <= frame < count:
            raise ParameterError(f"{self.name!r} has no frame {frame}.", remedy=f"use 0 to {count - 1}")

    @property
    def is_locked(self) -> bool:
        """Whether anybody holds its lock now."""
        return self.locked_by is not None

    @property
    def locked_by(self) -> LockHolder | None:
        """Who holds its lock now, and until when; None where nobody does."""
        lease = self._project._session.lease(self._identifier)
        return lease.holder if lease is not None and lease.alive else None

    def lock(self, seconds: float = SECONDS) -> LockToken:
        """Lock it: until the token is released or expires, nobody else writes its annotations or deletes it.

        What others have saved by then is taken over. As a context manager the token is renewed.

        Parameters
        ----------
        seconds : float, default 300
            How long the lock lives without being renewed.

        Raises
        ------
        LockError
            Somebody else holds it.
        """
        session = self._project._session
        if not session.has(self._identifier):
            raise KeyNotFoundError(f"There is no descriptor {self._identifier!r}.", remedy="project.sync()")
        token = session.take_lock(self._identifier, seconds)
        session.held[self._identifier] = token
        session.refresh(self._identifier)
        return token

    def sync(self) -> None:
        """Take over what others have saved of it; what was changed here and not saved stays."""
        self._project._session.refresh(self._identifier)

    def revert(self) -> None:
        """Drop what was changed here and not saved."""
        self._project._session.revert(self._identifier)
        self._project._spaces.revert(self._identifier)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Descriptor)
            and other._identifier == self._identifier
            and other._project.path == self._project.path
        )

    def __hash__(self) -> int:
        return hash(self._identifier)

    def __reduce__(self) -> tuple[object, ...]:
        return (Descriptor, (self._project, self._identifier))

    def __repr__(self) -> str:
        return f"Descriptor({self.name!r}, identifier={self._identifier!r})"

    def _repr_html_(self) -> str:
        """What is said of it, and its picture where that can be had."""
        said = [(tag.name, tag.value) for tag in self.tags]
        rows = [("comments", self.comments), ("group", " / ".join(map(str, self.grouping))), *said]
        rows += [(layer.name, "label map") for layer in self.labelmap_layers]
        return table(f"{self.name}, shape {tuple(self.shape)}", ("", ""), rows) + self._picture()

    def _picture(self) -> str:
        try:
            found = self.load_thumbnail(generate=False)
            return "" if found is None else picture(found)
        except (BioimageError, OSError):  # a notebook shows the rest all the same
            return ""
