"""What a project holds: settings, tags, layers and data sets, and how they are saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from ..errors import KeyNotFoundError
from ..sources import Axis
from ..spaces import Ontology
from .creating import add_arguments, new_record
from .descriptor import Descriptor
from .descriptors import DescriptorsAccessor
from .images import remove_copy
from .layers import LIVE, BoundingBoxLayer, LabelMapLayer, LandmarkLayer
from .opened import Opened
from .values.accessor import Accessor
from .values.kinds import DataType, LayerKind, TagKind
from .values.models import Color, Group, ImageInfo, Label, Layer, Tag
from .values.settings import ProjectSettings

if TYPE_CHECKING:
    from .project import Project


class Content(Opened):
    """A project without the jobs over its data sets; `Project` adds these.

    Parameters
    ----------
    name : str
        Name of a new project.
    path : str or os.PathLike
        Its folder, which must be empty or missing.
    """

    @property
    def project(self) -> Project:
        """Itself."""
        return cast("Project", self)

    @property
    def descriptor(self) -> None:
        """None: what is taken from a project belongs to no single data set."""
        return

    @property
    def data_type(self) -> DataType:
        """Which images are accepted. Settable."""
        return self._session.settings.data_type

    @data_type.setter
    def data_type(self, value: DataType) -> None:
        self._session.settings.data_type = value
        self._changed()

    @property
    def grouping_hierarchy(self) -> list[str]:
        """Titles of the levels of grouping. Settable."""
        return list(self._session.settings.grouping_hierarchy)

    @grouping_hierarchy.setter
    def grouping_hierarchy(self, value: Sequence[str]) -> None:
        self._session.settings.grouping_hierarchy = [value] if isinstance(value, str) else list(value)
        self._changed()

    @property
    def configuration(self) -> dict[str, Any]:
        """JSON values of the user's own, by name. Settable as a whole."""
        return dict(self._session.settings.configuration)

    @configuration.setter
    def configuration(self, value: dict[str, Any]) -> None:
        self._session.settings.configuration = dict(value)
        self._changed()

    @property
    def descriptors(self) -> DescriptorsAccessor:
        """Data sets, by position, identifier or name."""
        return DescriptorsAccessor(self.project)

    def add_descriptor(
        self,
        *args: Any,
        shared_image_set: Any = None,
        name: str | None = None,
        own_copy: bool | None = None,
        grouping: Sequence[str | Group] = (),
        axes: Iterable[Axis | str] | None = None,
        image_info: ImageInfo | None = None,
        original_data_path: str = "",
    ) -> Descriptor:
        """Add a data set.

        The image stays where it is, unless it lies in memory or `own_copy` is True; a copy is made block by block.

        Parameters
        ----------
        *args
            ``(image, name, own_copy)`` or ``(name, image, own_copy)``; all but the image may be left out.
        shared_image_set : source-like
            The image, by name: a Source, an array, or a path (of two strings the first is the name).
        name : str, optional
            None: that of the file.
        own_copy : bool, default False
            Copy the image into the project's folder.
        grouping : sequence of str or Group
            One group for each level of the hierarchy.
        axes : sequence of Axis or str, optional
            Axes of the image, where it does not know them itself, such as ``("y", "x", "c")``.
        image_info : ImageInfo, optional
            Patient, study and series.
        original_data_path : str
            Where the image came from; by default the path that it is read from.

        Returns
        -------
        Descriptor
            Usable at once; saved with `save`, or with its first annotations.

        Raises
        ------
        ParameterError
            The image is not of the project's `data_type`, has no x and y, or `grouping` has another depth.
        SourceTypeError
            No image is given, or something that is none.
        """
        given, title, copied = add_arguments(args, shared_image_set, name, own_copy)
        record = new_record(self.project, given, title, copied, grouping, axes, image_info, original_data_path)
        self._session.add(record)
        if record.image.own_copy:
            self._session.on_rollback(lambda: remove_copy(self._session.folder, record.identifier))
        self._changed()
        return Descriptor(self.project, record.identifier)

    def delete_descriptors(self, descriptors: Iterable[Descriptor]) -> None:
        """Delete data sets from the project, with their annotations; images that are not copies stay.

        Raises
        ------
        KeyNotFoundError
            One of them is not there.
        """
        identifiers = [descriptor.identifier for descriptor in descriptors]
        for identifier in identifiers:
            if not self._session.has(identifier):
                raise KeyNotFoundError(f"There is no descriptor {identifier!r}.", remedy="project.sync()")
        self._session.delete(identifiers)
        self._changed()

    @property
    def tags(self) -> Accessor[Tag]:
        """Tags, by position or name."""
        return Accessor(
            [tag.bound(self.project, index) for index, tag in enumerate(self._session.settings.tags)], "tag"
        )

    @property
    def labelmap_layers(self) -> Accessor[LabelMapLayer]:
        """Pixelwise layers, by position or name."""
        return self._live(LayerKind.PIXELWISE)

    @property
    def boundingbox_layers(self) -> Accessor[BoundingBoxLayer]:
        """Layers of boxes, by position or name."""
        return self._live(LayerKind.BOUNDINGBOX)

    @property
    def landmark_layers(self) -> Accessor[LandmarkLayer]:
        """Layers of landmarks, by position or name."""
        return self._live(LayerKind.LANDMARK)

    def _live(self, kind: LayerKind) -> Accessor[Any]:
        return Accessor([LIVE[kind](self.project, layer.id) for layer in self._layers(kind)], "layer")

    def _layers(self, kind: LayerKind) -> list[Layer]:
        return [layer for layer in self._session.settings.layers if layer.kind == kind]

    def _layer(self, id: str) -> Layer:
        for layer in self._session.settings.layers:
            if layer.id == id:
                return layer
        raise KeyNotFoundError(f"The layer {id!r} was removed.", remedy="take it from the project again")

    @property
    def ontology(self) -> Ontology:
        """What may be annotated in spaces; `edit` changes it."""
        return self._session.settings.ontology

    @property
    def user(self) -> str:
        """Who makes what is put into spaces without an author: on a server who has signed in, else user@host."""
        return self._spaces.user

    def add_tag(self, name: str, kind: TagKind, color: Color = (255, 255, 255), options: Iterable[str] = ()) -> Tag:
        """Add a tag.

        Parameters
        ----------
        name : str
        kind : TagKind
        color : tuple of int, default (255, 255, 255)
            RGB, 0 to 255.
        options : sequence of str
            Of an Enum tag.

        Raises
        ------
        ParameterError
            The name is taken.
        """
        settings = self._copied()
        settings.add_tag(Tag(name, kind, color, options))
        self._set(settings)
        return self.tags[name]

    def _add_option(self, id: str, option: str) -> None:
        next(tag for tag in self._session.settings.tags if tag.id == id).options.append(option)
        self._changed()

    def add_labelmap_layer(self, name: str) -> LabelMapLayer:
        """Add a layer of voxel labels; ParameterError if the name is taken."""
        self._add_layer(name, LayerKind.PIXELWISE)
        return self.labelmap_layers[name]

    def add_boundingbox_layer(self, name: str) -> BoundingBoxLayer:
        """Add a layer of boxes; ParameterError if the name is taken."""
        self._add_layer(name, LayerKind.BOUNDINGBOX)
        return self.boundingbox_layers[name]

    def add_landmark_layer(self, name: str) -> LandmarkLayer:
        """Add a layer of landmarks; ParameterError if the name is taken."""
        self._add_layer(name, LayerKind.LANDMARK)
        return self.landmark_layers[name]

    def _add_layer(self, name: str, kind: LayerKind) -> None:
        settings = self._copied()
        settings.add_layer(Layer(name, kind))
        self._set(settings)

    def _add_label(self, layer: str, label: Label) -> Label:
        settings = self._copied()
        found = next(item for item in settings.layers if item.id == layer)
        found.add_label(label)
        self._set(settings)
        return self._layer(layer).labels[label.name]

    def _set(self, settings: ProjectSettings) -> None:
        self._session.memory.settings = settings.with_ids()
        self._changed()

    def _copied(self) -> ProjectSettings:
        return self._session.settings.model_copy(deep=True)

    def save(self) -> None:
        """Save what was changed, all of it or nothing; fields that others changed meanwhile keep their values.

        Raises
        ------
        ConflictError
            Somebody else changed a field that was changed here; names it.
        LockError
            Somebody else has locked a data set that is deleted here.
        """
        self._spaces.save_all()

    def sync(self) -> int:
        """Take over what others have saved, and return the number of changes.

        What was changed here and not saved stays; `save` tells where both changed the same.
        """
        count = self._session.sync()
        self._spaces.take_over()
        return count

    def revert(self) -> None:
        """Drop all that was changed here and not saved."""
        self._session.revert()
        self._spaces.revert()

    def settings(self) -> ProjectSettings:
        """Return the settings as a value of its own; changing it changes nothing before `edit`."""
        return self._copied()

    def __enter__(self) -> Self:
        self._session.begin()
        self._spaces.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._spaces.end(failed=kind is not None)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self).load, (self.path,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, path={self.path!r})"
