"""How a data set reads its resources: one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from ..arguments import data_type
from ..errors import ArgumentError, DatasetError, ParameterError
from .annotations.annotation import Annotation
from .annotations.merging import MASK_STRATEGIES, check_strategy
from .names import nearest

_KINDS = ("annotators", "segmentation_names", "image_label_names", "frame_label_names")
Names = Sequence[str] | None


def _check_names(kind: str, names: Any) -> None:
    if names is None or (not isinstance(names, str) and isinstance(names, Iterable)):
        return
    raise ParameterError(f"{kind}: {names!r} is no list of names.", remedy=f"a list, such as [{str(names)!r}]")


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """What a data set returns, and which annotations count.

    Parameters
    ----------
    auto_update : bool, default True
        Of projects: annotations are those saved when an item is read; False: when the data set was made.
    return_metainfo, return_segmentations : bool, default True
        Whether items have `metainfo`, `segmentations` and `seg_labels`.
    return_boxes : bool, default False
        Whether items have `boxes` and `box_labels`.
    return_as_semantic_segmentation : bool, default False
        Masks of classes (L + 1, ...), channel 0 being background, instead of instances (n, ...).
    semantic_seg_merge_strategy : {"union", "intersection", "mode", "soft", "staple"}, optional
        How semantic masks of several authors become one; None: a dict by author.
    image_labels_merge_strategy, image_categories_merge_strategy : {"union", "intersection", "mode"}, optional
        The same of labels and categories.
    alb_transform : callable, optional
        See `BaseDataset.set_transform`.
    include_unannotated : bool, default True
        Whether resources stay of which no annotation is left after these filters.
    include_annotators, exclude_annotators, include_segmentation_names, ... : sequence of str, optional
        Which annotations count; of one kind one or the other.
    allow_external_annotations : bool, default False
        Whether labels count that the project does not define; they come after the others, in alphabetic order.
    trusted_annotation_sources : sequence of str, optional
        Annotations of other sources are left out, so that no model learns from its own output. Those that say none
        count, unless they name a model as their author. None: all count.
    worklists : "all", sequence of str, or None
        Layers whose definitions count ("tags" for tags); None: labels are those that occur.
    all_annotations : bool, default False
        Also those with a status other than "published".
    axes : str, optional
        Order of the axes of item images, of letters of "CDHW" (volumes, video) or "CHW".
    dtype : dtype_like, optional
        Data type of item images; None: as stored.
    seed : int, optional
        Of transforms and patches.
    strict : bool, default False
        Whether a name to include or exclude that occurs nowhere is an error rather than a warning.
    exclusive : bool, default False
        Of semantic masks: one map of codes instead of classes; the later label wins.
    background : {"rest", "voted"}
        What channel 0 of merged masks is: what no label has, or merged like any label.
    ties : {"positive", "negative"}
        What a tie of "mode" is.
    voters : sequence of str, optional
        Authors who count when masks are merged; one without a mask says no.
    sparse : bool, default False
        Instances as crops: dicts of "crop" and "origin".
    on_error : {"raise", "skip"}
        "skip" leaves out resources whose image or masks cannot be read, and lists them in `skipped`.

    Raises
    ------
    ParameterError, DatasetError, ArgumentError
        Values that are none, or that contradict each other.
    """

    auto_update: bool = True
    return_metainfo: bool = True
    return_segmentations: bool = True
    return_boxes: bool = False
    return_as_semantic_segmentation: bool = False
    semantic_seg_merge_strategy: str | None = None
    alb_transform: Callable[..., Any] | Mapping[str, Any] | None = None
    include_unannotated: bool = True
    include_annotators: Names = None
    exclude_annotators: Names = None
    include_segmentation_names: Names = None
    exclude_segmentation_names: Names = None
    include_image_label_names: Names = None
    exclude_image_label_names: Names = None
    include_frame_label_names: Names = None
    exclude_frame_label_names: Names = None
    allow_external_annotations: bool = False
    image_labels_merge_strategy: str | None = None
    image_categories_merge_strategy: str | None = None
    trusted_annotation_sources: Names = ("imported", "manual")
    worklists: Any = "all"
    all_annotations: bool = False
    axes: str | None = None
    dtype: Any = None
    seed: int | None = None
    strict: bool = False
    exclusive: bool = False
    background: str = "rest"
    ties: str = "positive"
    voters: Names = None
    sparse: bool = False
    on_error: str = "raise"

    def __post_init__(self) -> None:
        for kind in _KINDS:
            both = [getattr(self, f"{side}_{kind}") for side in ("include", "exclude")]
            if all(names is not None for names in both):
                raise DatasetError(
                    f"include_{kind} and exclude_{kind} are both given.", remedy=f"give one: what to keep of {kind}"
                )
            for names in both:
                _check_names(kind, names)
        check_strategy("semantic_seg_merge_strategy", self.semantic_seg_merge_strategy, MASK_STRATEGIES)
        check_strategy("image_labels_merge_strategy", self.image_labels_merge_strategy)
        check_strategy("image_categories_merge_strategy", self.image_categories_merge_strategy)
        self._needs("return_as_semantic_segmentation", "return_segmentations")
        self._needs("semantic_seg_merge_strategy", "return_as_semantic_segmentation")
        self._needs("exclusive", "return_as_semantic_segmentation")
        self._needs("sparse", "return_segmentations")
        if self.sparse and self.return_as_semantic_segmentation:
            raise ParameterError("sparse and return_as_semantic_segmentation exclude each other.", remedy="take one")
        for name, allowed in (
            ("background", ("rest", "voted")),
            ("ties", ("positive", "negative")),
            ("on_error", ("raise", "skip")),
        ):
            if getattr(self, name) not in allowed:
                raise ParameterError(f"{name} is {getattr(self, name)!r}.", remedy=f"use one of {list(allowed)}")
        if self.worklists is not None and isinstance(self.worklists, str) and self.worklists != "all":
            raise ParameterError(f"worklists is {self.worklists!r}.", remedy='"all", None, or a list of names')
        for name in ("trusted_annotation_sources", "voters"):
            _check_names(name, getattr(self, name))
        if self.axes is not None and sorted(self.axes) not in (sorted("CDHW"), sorted("CHW")):
            raise ParameterError(f"axes is {self.axes!r}.", remedy='an order of the letters of "CDHW" or "CHW"')
        if self.dtype is not None:
            data_type(self.dtype)
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer)):
            raise ParameterError(f"seed is {self.seed!r}.", remedy="a whole number")

    def _needs(self, name: str, needed: str) -> None:
        if getattr(self, name) and not getattr(self, needed):
            raise ParameterError(f"{name}={getattr(self, name)!r} needs {needed}=True.", remedy=f"{needed}=True")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the config of keywords.

        Raises
        ------
        ArgumentError
            There is no such keyword.
        """
        known = [item.name for item in fields(cls)]
        for name in options:
            if name not in known:
                raise ArgumentError(f"A data set has no parameter {name!r}.", remedy=nearest(name, known))
        return cls(**options)

    def counts(self, annotation: Annotation) -> bool:
        """Whether these settings keep an annotation, but for its label's definition."""
        if annotation.deleted or not (self.all_annotations or annotation.status in (None, "published")):
            return False
        trusted = self.trusted_annotation_sources
        if trusted is not None and annotation.source is not None and annotation.source not in trusted:
            return False
        if trusted is not None and annotation.source is None and annotation.created_by_model and "model" not in trusted:
            return False
        kinds = {"annotators": annotation.author}
        if annotation.is_segmentation():
            kinds["segmentation_names"] = annotation.identifier
        elif annotation.is_label():
            scope = "frame" if annotation.is_frame_scoped() else "image"
            kinds[f"{scope}_label_names"] = annotation.identifier
        for kind, name in kinds.items():
            include, exclude = getattr(self, f"include_{kind}"), getattr(self, f"exclude_{kind}")
            if (include is not None and name not in include) or (exclude is not None and name in exclude):
                return False
        return True

    def named(self) -> dict[str, list[str]]:
        """Names that are to be included or excluded, by kind."""
        sides = ("include", "exclude")
        return {kind: [name for side in sides for name in getattr(self, f"{side}_{kind}") or ()] for kind in _KINDS}
