"""Annotations as arrays: grouped, loaded, coded and merged. Nothing that is passed in is changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, ParameterError
from ...sources import as_source
from .annotation import Annotation
from .masks import Bools
from .merging import MASK_STRATEGIES, check_strategy, merge_categories, merge_labels, merge_semantic

Array = npt.NDArray[Any]
ByAuthor = dict[str, Array]


class AnnotationProcessor:
    """Turns annotations into arrays.

    Parameters
    ----------
    seglabel2code : mapping
        Codes of segmentation labels, from 1.
    image_labels_set : sequence of str
        Image labels in order.
    image_lcodes : mapping
        ``{"multilabel": {label: index}, "multiclass": {(category, value): index}}``.
    allow_external_annotations : bool, default False
        Whether names that are not known get new codes.
    """

    def __init__(
        self,
        seglabel2code: Mapping[str, int],
        image_labels_set: Sequence[str],
        image_lcodes: Mapping[str, Mapping[Any, int]],
        allow_external_annotations: bool = False,
    ) -> None:
        self.seglabel2code = dict(seglabel2code)
        self.image_labels_set = list(image_labels_set)
        self.image_lcodes = {key: dict(codes) for key, codes in image_lcodes.items()}
        self.allow_external_annotations = allow_external_annotations

    @staticmethod
    def filter_annotations(
        annotations: Sequence[Annotation], type: str = "all", scope: str = "all"
    ) -> list[Annotation]:
        """Return those of a type ("label", "category", "segmentation", "box", ...) and scope ("image", "frame")."""
        return [a for a in annotations if type in ("all", a.annotation_type) and scope in ("all", a.scope)]

    @staticmethod
    def get_author(ann: Annotation) -> str:
        """Return who made it, else the model that did, else "unknown"."""
        return ann.author

    def group_annotations(
        self, annotations: Iterable[Annotation], by_author: bool = False, by_identifier: bool = False
    ) -> dict[tuple[str, ...], list[Annotation]]:
        """Return annotations by author, name or both.

        Raises
        ------
        ParameterError
            By neither.
        """
        if not (by_author or by_identifier):
            raise ParameterError("Group by what?", remedy="by_author=True, by_identifier=True, or both")
        groups: dict[tuple[str, ...], list[Annotation]] = defaultdict(list)
        for ann in annotations:
            groups[((ann.author,) if by_author else ()) + ((ann.identifier,) if by_identifier else ())].append(ann)
        return dict(groups)

    def resolve_seg_code(self, identifier: str) -> int:
        """Return the code of a label; a new one where external labels are allowed.

        Raises
        ------
        ParameterError
            It is not known.
        """
        if identifier not in self.seglabel2code:
            if not self.allow_external_annotations:
                raise ParameterError(
                    f"There is no segmentation label {identifier!r}.",
                    remedy=f"use one of {list(self.seglabel2code)}, or allow_external_annotations=True",
                )
            self.seglabel2code[identifier] = max(self.seglabel2code.values(), default=0) + 1
        return self.seglabel2code[identifier]

    def load_segmentation_data(self, ann: Annotation, auto_convert_gray: bool = True) -> Bools:
        """Return the mask of a segmentation, bool (N, H, W).

        Parameters
        ----------
        ann : Annotation
            With a `mask`, or a `file` that the package opens.
        auto_convert_gray : bool, default True
            Take one channel of a file whose channels (the last axis, 3 or 4) are all the same.

        Raises
        ------
        FormatError
            It has neither, or several channels that differ.
        """
        if ann.mask is not None:
            return ann.mask.read(tuple(slice(0, size) for size in ann.mask.shape))
        if not ann.file:
            raise FormatError(f"The segmentation {ann.id!r} has no mask.", remedy="Annotation.segmentation(name, mask)")
        array = as_source(Path(ann.file)).read()
        if array.ndim > 2 and array.shape[-1] in (3, 4):
            colors = array[..., :3]
            if not auto_convert_gray or (colors != colors[..., :1]).any():
                raise FormatError(
                    f"The segmentation {ann.id!r} ({ann.file}) has {array.shape[-1]} channels.",
                    remedy="store it with one channel",
                )
            array = colors[..., 0]
        if array.ndim not in (2, 3):
            raise FormatError(f"The segmentation {ann.id!r} has the shape {array.shape}.", remedy="store (N, H, W)")
        return np.asarray((array if array.ndim == 3 else array[None]) != 0)

    def load_image_segmentations(
        self, annotations: Iterable[Annotation]
    ) -> tuple[dict[str, list[Array]], dict[str, Array], dict[str, list[Annotation]]]:
        """Return masks (N, H, W), codes and annotations by author, of the scope "image"."""
        masks: dict[str, list[Array]] = defaultdict(list)
        codes: dict[str, list[int]] = defaultdict(list)
        found: dict[str, list[Annotation]] = defaultdict(list)
        for ann in self.filter_annotations(list(annotations), "segmentation", "image"):
            masks[ann.author].append(self.load_segmentation_data(ann).astype(np.uint8))
            codes[ann.author].append(self.resolve_seg_code(ann.identifier))
            found[ann.author].append(ann)
        return dict(masks), {name: np.array(c, np.int32) for name, c in codes.items()}, dict(found)

    def load_frame_segmentations(
        self, annotations: Iterable[Annotation], depth: int | None = None
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, list[list[Annotation]]]]:
        """Return stacks (instances, frames, H, W), codes and annotations by author; one instance a name."""
        framed = self.filter_annotations(list(annotations), "segmentation", "frame")
        if depth is None:
            depth = 1 + max((ann.frame_index or 0 for ann in framed), default=0)
        stacks: dict[str, list[Array]] = defaultdict(list)
        codes: dict[str, list[int]] = defaultdict(list)
        found: dict[str, list[list[Annotation]]] = defaultdict(list)
        for (author, _), group in self.group_annotations(framed, by_author=True, by_identifier=True).items():
            stack, code = self.collate_frame_segmentations(group, depth)
            if stack is not None:
                stacks[author].append(stack)
                codes[author].append(code)
                found[author].append(group)
        arrays = {author: np.stack(each) for author, each in stacks.items()}
        return arrays, {name: np.array(c, np.int32) for name, c in codes.items()}, dict(found)

    def load_segmentations(
        self, annotations: Iterable[Annotation]
    ) -> tuple[ByAuthor, ByAuthor, dict[str, list[Annotation]]]:
        """Return instances (n, N, H, W), codes and annotations by author, of both scopes."""
        given = list(annotations)
        images, image_codes, image_found = self.load_image_segmentations(given)
        depth = next((mask.shape[0] for masks in images.values() for mask in masks), None)
        frames, frame_codes, frame_found = self.load_frame_segmentations(given, depth)
        arrays, codes, found = {}, {}, {}
        for author in dict.fromkeys([*images, *frames]):
            parts = [*images.get(author, []), *frames.get(author, [])]
            arrays[author] = np.stack(parts)
            both = [part[author] for part in (image_codes, frame_codes) if author in part]
            codes[author] = np.concatenate(both)
            found[author] = [*image_found.get(author, []), *(g[0] for g in frame_found.get(author, []))]
        return arrays, codes, found

    def collate_frame_segmentations(
        self, fr_anns: Sequence[Annotation], depth: int | None = None
    ) -> tuple[Array | None, int]:
        """Return masks of several frames of one thing as a stack (depth, H, W), and its code.

        Raises
        ------
        FormatError
            They are of different labels.
        """
        if not fr_anns:
            return None, -1
        codes = {self.resolve_seg_code(ann.identifier) for ann in fr_anns}
        if len(codes) > 1:
            raise FormatError(
                f"Masks of several labels in one stack: {[(a.id, a.identifier) for a in fr_anns]}.",
                remedy="stack those of one label",
            )
        depth = 1 + max(ann.frame_index or 0 for ann in fr_anns) if depth is None else depth
        stack: Array | None = None
        for ann in fr_anns:
            mask, at = self.load_segmentation_data(ann), ann.frame_index or 0
            if not 0 <= at < depth:
                raise FormatError(f"The mask {ann.id!r} is of frame {at} of {depth}.", remedy="give its frame")
            stack = np.zeros((depth, *mask.shape[1:]), np.uint8) if stack is None else stack
            stack[at] |= mask[at if len(mask) == depth else 0].astype(np.uint8)
        return stack, codes.pop()

    def instance_to_semantic_segmentation(self, segmentations: Any, seg_labels: Any, num_labels: int) -> Any:
        """Return instances (n, ...) with codes (n,) as classes (num_labels + 1, ...), 0 being the background.

        Raises
        ------
        FormatError
            An instance has the code 0, which is the background's, or one above `num_labels`.
        """
        if segmentations is None:
            return None
        codes = np.asarray(seg_labels, np.int64)
        if len(wrong := codes[(codes < 1) | (codes > num_labels)]):
            raise FormatError(f"A mask has the code {int(wrong[0])}.", remedy=f"codes are 1 to {num_labels}")
        return like(segmentations, to_semantic(np.asarray(segmentations), codes, num_labels))

    def apply_merge_strategy(self, segmentations: Mapping[str, Any], strategy: str | None) -> Any:
        """Merge semantic masks of several authors; without a strategy they are returned as they are.

        Raises
        ------
        ParameterError
            There is nothing to merge, or no such strategy.
        """
        check_strategy("strategy", strategy, MASK_STRATEGIES)
        if strategy is None:
            return segmentations
        merged = merge_semantic({name: np.asarray(mask) for name, mask in segmentations.items()}, strategy)
        first = next(iter(segmentations.values()))
        return merged if isinstance(first, np.ndarray) else like(first, merged.astype(np.float32))

    def convert_image_labels(self, annotations: Sequence[Annotation]) -> ByAuthor:
        """Return labels of the image, int32 (labels,) by author: 1 for what is said."""
        codes = self.image_lcodes.get("multilabel") or {name: i for i, name in enumerate(self.image_labels_set)}
        found: ByAuthor = {}
        for ann in self.filter_annotations(annotations, "label", "image"):
            if ann.identifier in codes:
                found.setdefault(ann.author, np.zeros(len(codes), np.int32))[codes[ann.identifier]] = 1
        return found

    def convert_image_categories(self, annotations: Sequence[Annotation]) -> ByAuthor:
        """Return the category's index, int64 () by author; the first where there are several."""
        codes, found = self.image_lcodes.get("multiclass", {}), {}
        for ann in self.filter_annotations(annotations, "category", "image"):
            code = codes.get((ann.identifier, ann.text_value or ""))
            if code is not None and ann.author not in found:
                found[ann.author] = np.array(code, np.int64)
        return found

    def merge_image_labels(self, labels_by_user: Mapping[str, Any], strategy: str) -> Array:
        """Merge labels, int32 (labels,): what nobody said is 0."""
        if not labels_by_user:
            check_strategy("strategy", strategy)
            return np.zeros(len(self.image_labels_set), np.int32)
        return merge_labels({name: np.asarray(value) for name, value in labels_by_user.items()}, strategy)

    @staticmethod
    def merge_image_categories(
        categories_by_user: Mapping[str, Any], strategy: Literal["union", "intersection", "mode"], num_categories: int
    ) -> Array:
        """Merge categories; see `merge_categories`."""
        return merge_categories(categories_by_user, strategy, num_categories)


def to_semantic(masks: Array, codes: Array, num_labels: int) -> Array:
    """Return instances (n, ...) as classes, uint8 (num_labels + 1, ...); where no label is, there is background."""
    result = np.zeros((num_labels + 1, *masks.shape[1:]), np.uint8)
    for mask, code in zip(masks, codes, strict=True):
        result[int(code)] |= (mask != 0).astype(np.uint8)
    result[0] = ~result[1:].any(axis=0)
    return result


def like(kind: Any, array: Array) -> Any:
    """Return an array as what another one is: a tensor of torch, or an array."""
    if type(kind).__module__.partition(".")[0] == "torch":
        return kind.new_tensor(array)
    return array
