"""Parts of a data set: filtered, cut, drawn and grouped into new ones; nothing that they share is changed."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from .. import __version__
from ..errors import IndexingError, ParameterError
from .annotations.annotation import Annotation
from .names import unknown
from .resources.resource import Resource
from .selection import Selection
from .splits import drawing, grouping
from .splits.history import StoredSplit
from .splits.result import SplitResult


class Parts(Selection):
    """What makes new data sets of one, and tells what it is of."""

    def subset(self, indices: Sequence[int]) -> Self:
        """Return these items, in this order, repeats too.

        Raises
        ------
        IndexingError
            There is no such item; names the length.
        """
        given = np.asarray(indices)
        if given.size == 0:
            given = given.astype(np.int64)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise IndexingError(f"{indices!r} are no indices.", remedy="pass a list of whole numbers")
        wrong = given[(given >= len(self)) | (given < -len(self))]
        if len(wrong):
            self._position(int(wrong[0]))
        return self._with(_rows=self._rows[given])

    def filter(
        self,
        *,
        tags: Sequence[str] | None = None,
        filename_pattern: str | None = None,
        has_annotations: bool | None = None,
        annotation_names: Sequence[str] | None = None,
        custom_fn: Callable[[Resource, Sequence[Annotation]], bool] | None = None,
    ) -> Self:
        """Return the items whose resources fit all that is asked for.

        Parameters
        ----------
        tags : sequence of str, optional
            At least one of these is set.
        filename_pattern : str, optional
            Pattern of names: "*" and "?" as for files.
        has_annotations : bool, optional
            Whether any annotation counts.
        annotation_names : sequence of str, optional
            An annotation has one of these names.
        custom_fn : callable, optional
            Given the resource and its annotations.

        Raises
        ------
        ParameterError
            Nothing is asked for.
        KeyNotFoundError
            There is no such tag or annotation.
        """
        for key, names_ in (("tags", tags), ("annotation_names", annotation_names)):
            if isinstance(names_, str):
                raise ParameterError(f"{key}={names_!r} is a text.", remedy=f"{key}=[{names_!r}]")
        asked = {
            "tags": None if tags is None else list(tags),
            "filename_pattern": filename_pattern,
            "has_annotations": has_annotations,
            "annotation_names": None if annotation_names is None else list(annotation_names),
            "custom_fn": custom_fn if custom_fn is None else repr(custom_fn),
        }
        asked = {name: value for name, value in asked.items() if value is not None}
        if not asked:
            raise ParameterError("Filter by what?", remedy='filter(tags=["Reviewed"]), or another criterion')
        for name in tags or ():
            if name not in (titles := self._store.titles):
                raise unknown("tag", name, titles)
        kept, names = [], set(self._labels.names())
        for number in self.resource_counts()[0]:
            resource = self._store.resource(number)
            needed = has_annotations is not None or annotation_names is not None or custom_fn is not None
            found = self.annotations_of(number) if needed else ()
            own = {ann.identifier for ann in found}
            names |= own
            if (
                (tags is None or any(resource.tags.get(tag) not in (None, False) for tag in tags))
                and (filename_pattern is None or fnmatch.fnmatchcase(resource.name, filename_pattern))
                and (has_annotations is None or bool(found) == has_annotations)
                and (annotation_names is None or not own.isdisjoint(annotation_names))
                and (custom_fn is None or custom_fn(resource, found))
            ):
                kept.append(number)
        for name in annotation_names or ():
            if name not in names:
                raise unknown("annotation", name, names)
        chosen = np.isin(self._rows[:, 0], np.array(kept, np.int64))
        return self._with(_rows=self._rows[chosen], _filters=(*self._filters, asked))

    def parts_of(self, stored: StoredSplit, source: str, as_of: str | None = None) -> dict[str, Self]:
        """Return the items of each part of a split, in the order that they have here."""
        parts = {}
        for name, ids in stored.parts.items():
            chosen = set(ids)
            mine = np.array([number for number, id in enumerate(self._store.ids) if id in chosen], np.int64)
            parts[name] = self._with(
                _rows=self._rows[np.isin(self._rows[:, 0], mine)],
                split_name=name,
                split_source=source,
                split_as_of_timestamp=as_of,
                split_seed=stored.seed,
                split_version=stored.version or None,
            )
        return parts

    def split(
        self,
        *,
        seed: int | None = None,
        use_server_splits: bool | None = None,
        use_project_splits: bool | None = None,
        as_of_timestamp: str | None = None,
        by_patient: bool = False,
        none_patient_id_strategy: str = "individual",
        group_by: Any = None,
        stratify: Any = None,
        method: str = "random",
        allow_empty: bool = False,
        **ratios: float,
    ) -> SplitResult:
        """Return parts: drawn by ratios, or as the project has them. What comes of one resource stays together.

        Parameters
        ----------
        seed : int, optional
            None: one is drawn, which the parts have as `split_seed`.
        use_project_splits : bool, optional
            The split that was saved in the project; what is meant without ratios.
        use_server_splits : bool, optional
            Deprecated: by tags "split:NAME".
        as_of_timestamp : str, optional
            RFC 3339; the split that the project had then.
        by_patient : bool, default False
            The same as ``group_by="patient"``.
        none_patient_id_strategy : {"individual", "group", "skip", "error"}
            What becomes of resources without a patient or group: a group each, one for all, left out, an error.
        group_by : str or callable, optional
            "patient", a level of grouping, a tag, or a function of a resource: groups are not torn. The largest come
            first, each into the part that lacks most items.
        stratify : str or callable, optional
            A label, category, tag, or a function of a resource and its annotations: ratios hold in every stratum.
        method : {"random", "hash"}
            "random" has exact sizes (largest remainder). "hash": each id falls by itself, so that added data moves
            nothing; sizes hold by chance.
        allow_empty : bool, default False
        **ratios : float
            Of each part by its name; sum 1.

        Returns
        -------
        SplitResult
            Data sets by name, with `save`, `to_json` and `check`.

        Raises
        ------
        ParameterError
            Ratios that make no sense, or arguments that exclude each other.
        DatasetError
            A part is empty, the project has no split, or one that tears groups.

        Examples
        --------
        >>> data = ImageDataset(resources=[np.zeros((4, 4))] * 3)
        >>> {name: len(part) for name, part in data.split(seed=1, train=0.7, test=0.3).items()}
        {'train': 2, 'test': 1}
        """
        drawing.check_mode(ratios, use_server_splits, use_project_splits, as_of_timestamp, by_patient)
        if ratios:
            return drawing.drawn(
                self,
                ratios,
                seed=seed,
                method=method,
                by_patient=by_patient,
                none=none_patient_id_strategy,
                group_by=group_by,
                stratify=stratify,
                allow_empty=allow_empty,
            )
        if use_project_splits or (self.project is not None and not use_server_splits):
            return drawing.of_project(self, as_of_timestamp, group_by)
        if as_of_timestamp is not None:
            raise ParameterError("as_of_timestamp is for splits of a project.", remedy="leave it out")
        return drawing.of_tags(self)

    def folds(
        self, n: int, *, seed: int | None = None, group_by: Any = None, stratify: Any = None
    ) -> list[dict[str, Self]]:
        """Return n pairs "train" and "val" for cross validation; every item is in one "val". See `split`."""
        return drawing.folds(self, n, seed, group_by, stratify)

    def group_by(self, key: Any = "patient", none: str = "individual") -> dict[str, Self]:
        """Return the items of each group: of a patient, level of grouping, tag, or function of a resource."""
        numbers = self.resource_counts()[0]
        tell = grouping.group_key(key, self._store.titles)
        return {
            str(name[1]): self._with(_rows=self._rows[np.isin(self._rows[:, 0], np.array(members, np.int64))])
            for name, members in grouping.grouped(self, numbers, tell, none).items()
        }

    def get_segmentationlabel_distribution(self, normalize: bool = False) -> dict[str, float]:
        """Return how many masks have each label, or their part of all."""
        return self._distribution("segmentation", self._labels.segmentation, normalize)

    def get_framelabel_distribution(self, normalize: bool = False) -> dict[str, float]:
        """Return how many frames were given each label, or their part of all."""
        return self._distribution("label", self._labels.frame, normalize)

    def _distribution(self, kind: str, labels: Sequence[str], normalize: bool) -> dict[str, float]:
        counts: Counter[str] = Counter()
        for number in self.resource_counts()[0]:
            for ann in self.annotations_of(number):
                if ann.annotation_type == kind and (kind != "label" or ann.is_frame_scoped()):
                    counts[ann.identifier] += 1
        total = sum(counts.values()) if normalize else 1
        return {name: counts[name] / total if normalize and total else float(counts[name]) for name in labels}

    def get_info(self) -> dict[str, Any]:
        """Return what it is of: class, project, numbers of items and resources, labels."""
        return {
            "class": type(self).__name__,
            "project": self.project,
            "items": len(self),
            "resources": len(self.resource_counts()[0]),
            "labels": asdict(self._labels),
            "skipped": list(self.skipped),
        }

    def provenance(self) -> dict[str, Any]:
        """Return what a training was done with, as JSON values: package, project, version of every resource, split."""
        config = {name: _plain(value) for name, value in vars(self._config).items()}
        split = {
            name: getattr(self, f"split_{name}") for name in ("name", "source", "as_of_timestamp", "seed", "version")
        }
        return {
            **self.get_info(),
            "package": __version__,
            "config": config,
            "filters": list(self._filters),
            "split": split,
            "versions": {resource.id: resource.version for resource in self.resources()},
        }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else repr(value)
