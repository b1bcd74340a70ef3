"""What a project defines, as its properties."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import KeyNotFoundError
from .layers import LIVE, BoundingBoxLayer, LabelMapLayer, LandmarkLayer
from .values.accessor import Accessor
from .values.kinds import LayerKind, TagKind
from .values.models import Color, Label, Layer, Tag

if TYPE_CHECKING:
    from .storage.session import Session
    from .values.settings import ProjectSettings


class Definitions:
    """The part of a project that is about its tags and layers; changes wait for `Project.save`."""

    _session: Session

    @property
    def tags(self) -> Accessor[Tag]:
        """Tags, by position or name."""
        return Accessor([tag.bound(self, index) for index, tag in enumerate(self._session.settings.tags)], "tag")

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
        return Accessor([LIVE[kind](self, layer.id) for layer in self._layers(kind)], "layer")

    def _layers(self, kind: LayerKind) -> list[Layer]:
        return [layer for layer in self._session.settings.layers if layer.kind == kind]

    def _layer(self, id: str) -> Layer:
        for layer in self._session.settings.layers:
            if layer.id == id:
                return layer
        raise KeyNotFoundError(f"The layer {id!r} was removed.", remedy="take it from the project again")

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
        self._session.memory.settings = settings.with_ids()
        return self.tags[name]

    def _add_option(self, id: str, option: str) -> None:
        next(tag for tag in self._session.settings.tags if tag.id == id).options.append(option)

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
        self._session.memory.settings = settings.with_ids()

    def _add_label(self, layer: str, label: Label) -> Label:
        settings = self._copied()
        found = next(item for item in settings.layers if item.id == layer)
        found.add_label(label)
        self._session.memory.settings = settings.with_ids()
        return self._layer(layer).labels[label.name]

    def _copied(self) -> ProjectSettings:
        return self._session.settings.model_copy(deep=True)
