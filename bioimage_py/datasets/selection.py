"""Which resources a data set is of, what counts of their annotations, and under which labels."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, BioimageError, DatasetError, IndexingError
from .annotations.annotation import Annotation
from .annotations.label_sets import LabelSets
from .annotations.processor import AnnotationProcessor
from .config import DatasetConfig
from .layout import Frames, Layout
from .names import nearest, unknown
from .resources.resource import Resource
from .resources.store import ListStore, Store, occurring
from .transforms import Transform, checked_transform

Rows = npt.NDArray[np.signedinteger[Any]]


class Selection:
    """Resources of a project, or of a list, what counts of their annotations, and rows that say what items are.

    Parameters
    ----------
    project : str, os.PathLike or Project, optional
        Folder of a label project, or its URL on a server. What is saved counts.
    resources : sequence, optional
        Of `Resource`, arrays, Sources or paths.
    auto_update : bool, default True
    api_key, server_url : str, optional
        API token for a project on a server, by default the login that is kept; and the server, of which `project` is an
        id or name then. Neither is kept: workers read with a token of their own.
    config : DatasetConfig, optional
        All other keywords as one value.
    **options
        Fields of `DatasetConfig`.

    Raises
    ------
    DatasetError
        Project and resources are given, or neither.
    ParameterError, DatasetError, ArgumentError
        See `DatasetConfig`.
    KeyNotFoundError
        There is no such project or worklist; with ``strict=True``, no such name.
    """

    _frames: ClassVar[Frames] = "z"

    split_name: str | None = None
    split_source: str | None = None
    split_as_of_timestamp: str | None = None
    split_seed: int | None = None
    split_version: int | None = None

    def __init__(
        self,
        project: Any = None,
        resources: Sequence[Any] | None = None,
        auto_update: bool = True,
        api_key: str | None = None,
        server_url: str | None = None,
        *,
        config: DatasetConfig | None = None,
        **options: Any,
    ) -> None:
        if (project is None) == (resources is None):
            both = "both project and resources" if project is not None else "neither project nor resources"
            raise DatasetError(f"A data set was given {both}.", remedy="give one of them")
        if config is not None and options:
            raise ArgumentError(
                f"config and {sorted(options)} are both given.", remedy="dataclasses.replace(config, ...)"
            )
        self._config = config or DatasetConfig.of({"auto_update": auto_update, **options})
        self._store = _store(project, resources, self._config, api_key, server_url)
        self._transform: Transform | None = checked_transform(self._config.alb_transform)
        self._filters: tuple[dict[str, Any], ...] = ()
        self._names: Mapping[str, str] = {}
        self._epoch = 0
        self.skipped: tuple[tuple[str, str], ...] = ()
        self._labels = LabelSets()
        numbers = np.arange(len(self._store.ids), dtype=np.int64)
        if self._config.on_error == "skip":
            numbers = self._readable(numbers)
        self._labels = self._known_labels()
        self._check_names()
        if not self._config.include_unannotated:
            numbers = numbers[[bool(self.annotations_of(int(n))) for n in numbers]] if len(numbers) else numbers
        self._rows: Rows = self._rows_of(numbers)

    def _rows_of(self, numbers: Rows) -> Rows:
        """Return a row for each item: the number of its resource, and what else says which part of it."""
        return numbers[:, None]

    def _readable(self, numbers: Rows) -> Rows:
        kept, skipped = [], []
        for number in numbers.tolist():
            resource = self._store.resource(number)
            try:
                resource.open()
                for ann in resource.annotations(self._layout(resource)):
                    if ann.mask is not None:
                        ann.mask.over(self._layout(resource).shape[1:], ann.id)
                kept.append(number)
            except (BioimageError, OSError) as error:
                skipped.append((resource.id, str(error)))
        self.skipped = tuple(skipped)
        return np.array(kept, np.int64)

    def _known_labels(self) -> LabelSets:
        config = self._config
        found = self._store.definitions(config.worklists)
        if found is None:
            found = occurring(self._counting())
        elif config.allow_external_annotations:
            found = found.extended(occurring(self._counting()))
        return replace(
            found,
            segmentation=_chosen(found.segmentation, config, "segmentation_names"),
            image=_chosen(found.image, config, "image_label_names"),
            frame=_chosen(found.frame, config, "frame_label_names"),
        )

    def _counting(self) -> Iterator[tuple[Annotation, ...]]:
        """All annotations that these settings keep, resource by resource."""
        left_out = {id for id, _ in self.skipped}
        for number, id in enumerate(self._store.ids):
            if id not in left_out:
                found = self._said(self._store.resource(number))
                yield tuple(ann for ann in found if self._config.counts(ann))

    def _said(self, resource: Resource, exact: bool = True) -> tuple[Annotation, ...]:
        return () if resource.is_silent else resource.annotations(self._layout(resource), exact)

    def _check_names(self) -> None:
        """Warn of names to include or exclude that occur nowhere, or raise."""
        named = {kind: names for kind, names in self._config.named().items() if names}
        if not named:
            return
        defined = self._store.definitions(self._config.worklists)
        authors = self._store.authors() if "annotators" in named else set()
        every = LabelSets()
        if defined is None or authors is None:
            for number in range(len(self._store.ids)):
                found = self._said(self._store.resource(number))
                every = every.extended(LabelSets.inferred(found))
                authors = (authors or set()) | {ann.author for ann in found}
        sets = every if defined is None else defined
        known = {
            "annotators": authors or set(),
            "segmentation_names": set(sets.segmentation),
            "image_label_names": set(sets.image),
            "frame_label_names": set(sets.frame),
        }
        for kind, names in named.items():
            for name in names:
                if name in known[kind]:
                    continue
                if self._config.strict:
                    raise unknown(f"name among {kind}", name, known[kind])
                warnings.warn(f"{kind}: {name!r} occurs nowhere; {nearest(name, known[kind])}", stacklevel=4)

    @property
    def config(self) -> DatasetConfig:
        """How it reads its resources."""
        return self._config

    @property
    def epoch(self) -> int:
        """Epoch of the random numbers."""
        return self._epoch

    @property
    def store(self) -> Store:
        """All resources that its items may come from."""
        return self._store

    @property
    def project(self) -> str | None:
        """Folder of its project; None where it has none."""
        return self._store.project

    @property
    def label_sets(self) -> LabelSets:
        """All labels and categories."""
        return self._labels

    @property
    def segmentation_labels_set(self) -> list[str]:
        """Labels of masks; the code of one is its place + 1."""
        return list(self._labels.segmentation)

    @property
    def image_labels_set(self) -> list[str]:
        """Labels of images."""
        return list(self._labels.image)

    @property
    def frame_labels_set(self) -> list[str]:
        """Labels of planes or frames."""
        return list(self._labels.frame)

    @property
    def box_labels_set(self) -> list[str]:
        """Labels of boxes; the code of one is its place + 1."""
        return list(self._labels.box)

    @property
    def image_categories_set(self) -> list[tuple[str, str]]:
        """Categories of images and their values."""
        return list(self._labels.image_categories)

    @property
    def frame_categories_set(self) -> list[tuple[str, str]]:
        """Categories of planes or frames and their values."""
        return list(self._labels.frame_categories)

    def _layout(self, resource: Resource) -> Layout:
        return resource.layout(self._frames)

    def annotations_of(self, number: int, exact: bool = True) -> tuple[Annotation, ...]:
        """Return what counts of a resource of the store; not `exact`: also labels that it may not have."""
        resource = self._store.resource(number)
        found = []
        for ann in self._said(resource, exact):
            if self._config.counts(ann):
                name = self._names.get(ann.identifier)
                ann = ann if name is None else replace(ann, identifier=name)
                if self._labels.knows(ann):
                    found.append(ann)
        return tuple(found)

    def __len__(self) -> int:
        return len(self._rows)

    def get_resource(self, index: int) -> Resource:
        """Return the resource of an item."""
        return self._store.resource(int(self._rows[self._position(index), 0]))

    def get_annotations(self, index: int, type: str = "all", scope: str = "all") -> list[Annotation]:
        """Return what counts of an item's resource, of a type and scope."""
        found = self.annotations_of(int(self._rows[self._position(index), 0]))
        return AnnotationProcessor.filter_annotations(found, type, scope)

    @property
    def resource_annotations(self) -> Sequence[tuple[Annotation, ...]]:
        """What counts of each item's resource; read when asked for."""
        return _Annotations(self)

    def resources(self) -> Iterator[Resource]:
        """Resources of the items, each once, in order."""
        return (self._store.resource(number) for number in self.resource_counts()[0])

    def get_resources_ids(self) -> list[str]:
        """Ids of these."""
        return [self._store.ids[number] for number in self.resource_counts()[0]]

    def resource_counts(self) -> tuple[list[int], list[int]]:
        """Numbers of the resources of the items in order, each once, and how many items each has."""
        numbers, first, counts = np.unique(self._rows[:, 0], return_index=True, return_counts=True)
        order = np.argsort(first)
        return numbers[order].tolist(), counts[order].tolist()

    def _position(self, index: Any) -> int:
        if isinstance(index, bool) or not isinstance(index, int | np.integer):
            raise IndexingError(f"{index!r} is no index.", remedy="use a whole number or a slice")
        if not -len(self) <= index < len(self):
            raise IndexingError(
                f"There is no item {index}: the data set has the length {len(self)}.",
                remedy=f"use {-len(self)} to {len(self) - 1}" if len(self) else "look at its filters",
            )
        return int(index) % len(self)

    def _with(self, **changes: Any) -> Self:
        """Return a copy that differs in some attributes; the others never change, so they are shared."""
        made = copy.copy(self)
        made.__dict__.update(changes)
        return made

    def __repr__(self) -> str:
        name = "" if self.split_name is None else f" {self.split_name!r}"
        return f"<{type(self).__name__}{name}: {len(self)} items of {len(self.resource_counts()[0])} resources>"


class _Annotations(Sequence[tuple[Annotation, ...]]):
    """Annotations by item, without keeping them."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def __len__(self) -> int:
        return len(self._selection)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return tuple(self._selection.get_annotations(index))


def _store(
    project: Any,
    resources: Sequence[Any] | None,
    config: DatasetConfig,
    api_key: str | None,
    server_url: str | None,
) -> Store:
    if resources is not None:
        return ListStore(resources)
    from .resources.project_store import ProjectStore, at_server  # label projects need what others do without

    return ProjectStore(at_server(project, api_key, server_url), config.auto_update, config.allow_external_annotations)


def _chosen(names: Sequence[str], config: DatasetConfig, kind: str) -> tuple[str, ...]:
    include, exclude = getattr(config, f"include_{kind}"), getattr(config, f"exclude_{kind}")
    kept = names if include is None else [name for name in names if name in include]
    return tuple(name for name in kept if exclude is None or name not in exclude)
