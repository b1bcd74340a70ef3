"""Spaces: the records of an image, a volume, or the frames of a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ..errors import ParameterError
from ..sources import Axis
from .bulk import Ids, put_many
from .exchange.methods import Exchanging
from .history import MISSING
from .putting import FrameOverlapStrategy, Putting, check_missing
from .reading import SPACES
from .records import Record
from .values.audit import Naive, audited
from .values.frames import frame_numbers
from .values.geometry import Geometry
from .values.grid import Grid, Outside, Units, extent_of
from .values.instances import ClassificationInstance, ObjectInstance
from .values.ontology import Ontology


class Space(Putting, Exchanging):
    """Objects and classifications of one image; `for_image` makes one.

    Examples
    --------
    >>> ontology = Ontology([ObjectClass("nucleus", "bounding_box")])
    >>> space = Space.for_image((80, 100), ("y", "x"), ontology)
    >>> nucleus = ObjectInstance(ontology.object_class("nucleus"))
    >>> space.put_object_instance(nucleus, Box((10, 10), (20, 30))).geometry.size.tolist()
    [10.0, 20.0]
    """

    @staticmethod
    def for_image(
        source_or_shape: Any,
        axes: Iterable[Axis | str] | None = None,
        ontology: Ontology | None = None,
        *,
        kind: str | None = None,
        frames: str | None = None,
        space_id: str = "root",
        user: str | None = None,
        sizes: Sequence[Sequence[int]] | None = None,
    ) -> Any:
        """Return an empty space, in memory.

        Parameters
        ----------
        source_or_shape : source-like or sequence of int
        axes : sequence of Axis or str, optional
            Of the image; None: what the source says.
        ontology : Ontology, optional
            What may be annotated; None: nothing.
        kind : {"image", "sequence", "volume"}, optional
            None: "sequence" where there are several times, else "volume" where there is a z, else "image".
        frames : str, optional
            Axis of the frames of a sequence; None: that of time, else z.
        space_id : str, default "root"
        user : str, optional
            Author of what is put without one; None: user@host.
        sizes : sequence of (height, width), optional
            Of each frame, where they differ.

        Returns
        -------
        ImageSpace, SequenceSpace or VolumeSpace

        Raises
        ------
        ParameterError
            There is no x or y, or no axis for the frames.
        ShapeError
            Shape and axes are of different lengths.
        """
        shape, known = extent_of(source_or_shape, axes)
        names = {axis.name.lower(): n for axis, n in zip(known, shape, strict=False)}
        time = next((axis.name.lower() for axis in known if axis.kind == "time"), None)
        moving = frames is not None or names.get(time or "", 1) > 1
        if kind is None:
            kind = "sequence" if moving else "volume" if names.get("z", 1) > 1 else "image"
        if kind not in SPACES:
            raise ParameterError(f"kind={kind!r} is none of {list(SPACES)}.", remedy="kind='image'")
        if kind == "sequence":
            frames = frames or time or "z"
        elif frames is not None:
            raise ParameterError(f"frames={frames!r} of the kind {kind!r}.", remedy="kind='sequence'")
        if kind == "image":
            kept = [(axis, n) for axis, n in zip(known, shape, strict=False) if axis.name.lower() != "z" or n > 1]
            if any(axis.name.lower() == "z" for axis, _ in kept):
                raise ParameterError(f"An image with {names['z']} slices.", remedy="kind='volume' or 'sequence'")
            known, shape = (axis for axis, _ in kept), (n for _, n in kept)
        grid = Grid(tuple(known), tuple(shape), frames, sizes)
        return SPACES[kind](grid, Ontology() if ontology is None else ontology, space_id, user)

    def put_many(self, classes: Any, geometries: Any, frames: Any = 0, ids: Any = None, **given: Any) -> Ids:
        """Put many objects: all, or none.

        Parameters
        ----------
        classes : str, class, or sequence of these
            By name or id; one, or one for each object.
        geometries : array (n, 4) or (n, 6), or sequence of Geometry
            An array holds boxes: top left, then lower right, each x, y(, z).
        frames : int or int array, default 0
        ids : sequence of str, optional
            None: 16 random hexadecimal characters each.
        on_overlap : {"error", "replace", "skip"}
        units : {"world", "pixel", "normalised"}
        outside : {"keep", "clip", "error"}
            What of a geometry that reaches out of the image.
        source : {"manual", "model"}, optional
            "model": `manual_annotation` is False where it is not given.
        confidence : float or array, optional
        created_at, last_edited_at : datetime, optional
            One time for all.
        created_by, last_edited_by, manual_annotation : optional
            One value for all, or one a row.

        Returns
        -------
        str array
            Ids.

        Raises
        ------
        LabelRowError
            An object is there already.
        ParameterError, ShapeError
            A row is wrong; names the first and how many there are, and nothing is stored.
        """
        return put_many(self, classes, geometries, frames, ids, **given)

    def save(self, lock_token: Any = None) -> bool:
        """Save a space of a project: at once, or at the end of the transaction.

        What others have saved meanwhile stays; `project.save()` saves all spaces.

        Parameters
        ----------
        lock_token : LockToken, optional
            Lock of the descriptor, where it has one.

        Returns
        -------
        bool
            False where it is stored already; then nothing is written.

        Raises
        ------
        ConflictError
            Somebody else changed a record that was changed here.
        LockError
            Somebody else has locked the descriptor.
        ParameterError
            The space stands alone.
        """
        if self._save is None:
            raise ParameterError("The space stands alone.", remedy="write_space(space, 'space.json')")
        return self._save(lock_token)

    def remove_object_instance(self, object_hash: str, frames: Any = None, missing: str = "ignore") -> Any:
        """Remove an object.

        Parameters
        ----------
        object_hash : str
            Its id.
        frames : optional
            Only from these; with the last one it is gone. Frames that it is not on are ignored.
        missing : {"ignore", "error"}
            What where there is none.

        Returns
        -------
        ObjectInstance or None
            None where there is none.

        Raises
        ------
        KeyNotFoundError
            There is none, with ``missing="error"``.
        """
        return self._remove("object", object_hash, frames, missing)

    def remove_classification_instance(
        self, classification_hash: str, frames: Any = None, missing: str = "ignore"
    ) -> Any:
        """Remove a classification instance; as `remove_object_instance`."""
        return self._remove("classification", classification_hash, frames, missing)

    remove_object, remove_classification = remove_object_instance, remove_classification_instance


class ImageSpace(Space):
    """The records of one image."""

    kind = "image"

    def put_object_instance(
        self,
        object_instance: ObjectInstance,
        coordinates: Geometry,
        *,
        on_overlap: FrameOverlapStrategy = "error",
        created_at: datetime | None = None,
        created_by: str | None = None,
        last_edited_at: datetime | None = None,
        last_edited_by: str | None = None,
        confidence: float | None = None,
        manual_annotation: bool | None = None,
        units: Units = "world",
        outside: Outside = "keep",
        naive: Naive = "error",
    ) -> Record:
        """Put an object.

        Parameters
        ----------
        object_instance : ObjectInstance
        coordinates : Geometry
            Of the shape of its class.
        on_overlap : {"error", "replace", "skip"}
            What where it is there already; "replace" changes the geometry and what else is given, "skip" nothing.
        created_at, last_edited_at : datetime, optional
            None: now.
        created_by, last_edited_by : str, optional
            None: the user of the space.
        confidence : float, optional
            0 to 1. None: 1.
        manual_annotation : bool, optional
            None: True.
        units : {"world", "pixel", "normalised"}
            Of the coordinates.
        outside : {"keep", "clip", "error"}
            What of a geometry that reaches out of the image.
        naive : {"error", "utc"}
            What of times without a zone.

        Returns
        -------
        Record

        Raises
        ------
        LabelRowError
            It is there already (also a `ConflictError`).
        ParameterError, ShapeError, ReadOnlyError, KeyNotFoundError
            A value makes no sense, the class is archived or not in the ontology. Nothing changes then.
        """
        audit = audited(created_at, created_by, last_edited_at, last_edited_by, confidence, manual_annotation, naive)
        return self._put_object(object_instance, [0], coordinates, on_overlap, audit, units, outside)[0]

    def put_classification_instance(
        self,
        classification_instance: ClassificationInstance,
        *,
        on_overlap: FrameOverlapStrategy = "error",
        created_at: datetime | None = None,
        created_by: str | None = None,
        last_edited_at: datetime | None = None,
        last_edited_by: str | None = None,
        confidence: float | None = None,
        manual_annotation: bool | None = None,
        naive: Naive = "error",
    ) -> Record:
        """Answer a classification; parameters as of `put_object_instance`.

        There is one answer to it, unless it allows several and `on_overlap` is "keep_both". "replace" removes the
        earlier ones.
        """
        audit = audited(created_at, created_by, last_edited_at, last_edited_by, confidence, manual_annotation, naive)
        return self._put_classification(classification_instance, None, on_overlap, audit)[0]

    put_object, put_classification = put_object_instance, put_classification_instance


class VolumeSpace(ImageSpace):
    """The records of one volume: geometry in x, y and z."""

    kind = "volume"


class SequenceSpace(Space):
    """The records of a sequence of frames, along time or z."""

    kind = "sequence"

    def put_object_instance(
        self,
        object_instance: ObjectInstance,
        frames: Any,
        coordinates: Geometry,
        *,
        on_overlap: FrameOverlapStrategy = "error",
        created_at: datetime | None = None,
        created_by: str | None = None,
        last_edited_at: datetime | None = None,
        last_edited_by: str | None = None,
        confidence: float | None = None,
        manual_annotation: bool | None = None,
        units: Units = "world",
        outside: Outside = "keep",
        naive: Naive = "error",
    ) -> list[Record]:
        """Put an object on frames; other parameters and errors as of `ImageSpace.put_object_instance`.

        Parameters
        ----------
        frames : int, Range, range, slice, or an iterable of these
            `Range` is closed, `range` and slices are half-open.

        Returns
        -------
        list of Record, one a frame
        """
        audit = audited(created_at, created_by, last_edited_at, last_edited_by, confidence, manual_annotation, naive)
        numbers = frame_numbers(frames, self.n_frames)
        return self._put_object(object_instance, numbers, coordinates, on_overlap, audit, units, outside)

    def put_classification_instance(
        self,
        classification_instance: ClassificationInstance,
        frames: Any = None,
        *,
        on_overlap: FrameOverlapStrategy = "error",
        created_at: datetime | None = None,
        created_by: str | None = None,
        last_edited_at: datetime | None = None,
        last_edited_by: str | None = None,
        confidence: float | None = None,
        manual_annotation: bool | None = None,
        naive: Naive = "error",
    ) -> list[Record]:
        """Answer a classification on frames, or, with None, a global one for the whole space."""
        audit = audited(created_at, created_by, last_edited_at, last_edited_by, confidence, manual_annotation, naive)
        return self._put_classification(classification_instance, frames, on_overlap, audit)

    put_object, put_classification = put_object_instance, put_classification_instance

    def set_dynamic_answer(
        self, instance: ObjectInstance, frames: Any, answer: Any, attribute: Any = None, missing: str = "error"
    ) -> None:
        """Answer a dynamic attribute of an object on frames.

        Parameters
        ----------
        instance : ObjectInstance
        frames : as of `put_object_instance`
        answer : str, number or list of str
        attribute : str or Attribute, optional
            May be left out where the class has only one.
        missing : {"error", "ignore"}
            What of frames that the object is not on.

        Raises
        ------
        ParameterError
            The attribute is not dynamic, or the object is not on a frame.
        """
        known = instance._known(attribute)
        self._set_dynamic(instance, frames, known, known.attribute.check(answer), missing)

    def remove_dynamic_answer(self, instance: ObjectInstance, frames: Any, attribute: Any = None) -> None:
        """Remove the answer on frames; those without one are ignored."""
        self._set_dynamic(instance, frames, instance._known(attribute), MISSING, "ignore")

    def _set_dynamic(self, instance: ObjectInstance, frames: Any, known: Any, value: Any, missing: str) -> None:
        attribute = known.attribute
        check_missing(missing)
        if not attribute.dynamic:
            raise ParameterError(f"{attribute.name!r} is the same on all frames.", remedy="instance.set_answer(...)")
        numbers = frame_numbers(frames, self.n_frames)
        lost = [frame for frame in numbers if self._tables["object"].row(instance.id, frame) < 0]
        if lost and missing != "ignore":
            raise ParameterError(
                f"The object {instance.id!r} is not on frame {lost[0]}.", remedy="missing='ignore' to skip such frames"
            )
        step = self._step("set_dynamic_answer")
        for frame in (frame for frame in numbers if frame not in lost):
            before = self._dynamic.get((instance.id, frame), {})
            after = {key: other for key, other in before.items() if key != attribute.id}
            if value is not MISSING:
                known.check_asked(before)
                after[attribute.id] = value
            if after != before:
                step.entries.append((self._dynamic, (instance.id, frame), before or MISSING, after or MISSING))
        self._steps.do(step)
