"""Parts of a data set: drawn by ratios, read from its project, or from tags."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DatasetError, ParameterError
from . import history
from .assign import assign, checked_ratios
from .grouping import Key, common, counted, group_key, grouped, stratum_of
from .history import StoredSplit
from .result import SplitResult

if TYPE_CHECKING:
    from ..parts import Parts

METHODS = ("random", "hash")
_TAG = "split:"


def drawn(
    dataset: Parts,
    ratios: Mapping[str, float],
    *,
    seed: int | None,
    method: str,
    by_patient: bool,
    none: str,
    group_by: str | Key | None,
    stratify: str | Callable[..., Any] | None,
    allow_empty: bool,
) -> SplitResult:
    """Return parts drawn by ratios; see `Parts.split`. What comes of one resource stays together."""
    names, wishes = list(ratios), list(checked_ratios(ratios).values())
    if method not in METHODS:
        raise ParameterError(f"method is {method!r}.", remedy=f"use one of {list(METHODS)}")
    if method == "hash" and stratify is not None:
        raise ParameterError("method='hash' looks at ids only, so it can't stratify.", remedy='method="random"')
    if by_patient and group_by not in (None, "patient"):
        raise ParameterError(f"by_patient=True and group_by={group_by!r}.", remedy="give one of them")
    group_by = "patient" if by_patient else group_by
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
        raise ParameterError(f"seed is {seed!r}.", remedy="a whole number")
    seed = secrets.randbits(32) if seed is None else int(seed)
    numbers, items = dataset.resource_counts()
    weight = dict(zip(numbers, items, strict=True))
    titles = dataset.store.titles if isinstance(group_by, str) or isinstance(stratify, str) else set()
    key = None if group_by is None else group_key(group_by, titles)
    units: dict[Any, list[int]] = {}
    if key is None:
        ids = dataset.store.ids
        for number in numbers:
            units.setdefault(ids[number], []).append(number)
    else:
        units.update(grouped(dataset, numbers, key, none))
    strata: dict[int, Hashable] = {}
    if stratify is not None:
        tell = stratum_of(stratify, dataset.label_sets, titles)
        strata = {n: tell(dataset.store.resource(n), dataset.annotations_of(n)) for n in numbers}
    weights = [sum(weight[number] for number in members) for members in units.values()]
    found = assign(
        [str(unit) if key is None else repr(unit) for unit in units],
        wishes,
        seed,
        method=method,
        weights=weights,
        strata=None if stratify is None else [common([strata[n] for n in members]) for members in units.values()],
        grouped=key is not None or len(set(weights)) > 1,
    )
    chosen = {name: [] for name in names}  # type: dict[str, list[int]]
    for part, members in zip(found, units.values(), strict=True):
        chosen[names[part]] += members
    if not allow_empty and (empty := [name for name in names if not chosen[name]]):
        raise DatasetError(
            f"The part {empty[0]!r} of {len(units)} {'resources' if key is None else 'groups'} is empty.",
            remedy="other ratios, more data, or allow_empty=True",
        )
    stored = StoredSplit(
        {name: [dataset.store.ids[number] for number in sorted(chosen[name])] for name in names},
        dict(zip(names, wishes, strict=True)),
        seed,
        method,
        "local_by_patient" if group_by == "patient" else "local",
    )
    by_part = {name: [strata[n] for n in chosen[name] for _ in range(weight[n])] for name in names} if strata else {}
    parts = dataset.parts_of(stored, stored.source)
    return SplitResult(parts, stored, dataset.project, key, counted(by_part))


def of_project(dataset: Parts, as_of_timestamp: Any, group_by: str | Key | None) -> SplitResult:
    """Return the parts that the project had at a time.

    Raises
    ------
    DatasetError
        It had none then; or a group is in several parts.
    """
    if dataset.project is None:
        raise ParameterError("The data set comes from no project.", remedy="split(train=0.8, test=0.2)")
    moment = datetime.now(UTC) if as_of_timestamp is None else history.instant(as_of_timestamp)
    stored = history.stored(dataset.project, moment)
    known = {id for ids in stored.parts.values() for id in ids}
    numbers, _ = dataset.resource_counts()
    mine = {dataset.store.ids[number] for number in numbers}
    if new := mine - known:
        warnings.warn(
            f"{len(new)} resources are in no part of the stored split (of {stored.created}), such as {min(new)!r}.",
            stacklevel=4,
        )
    if gone := known - mine:
        warnings.warn(
            f"{len(gone)} resources of the stored split (of {stored.created}) are not in this data set, such as"
            f" {min(gone)!r}.",
            stacklevel=4,
        )
    at = as_of_timestamp if as_of_timestamp is not None else history.told(moment)
    parts = dataset.parts_of(stored, "project_api", at)
    key = None if group_by is None else group_key(group_by, dataset.store.titles)
    result = SplitResult(parts, stored, dataset.project, key)
    if key is not None and (shared := result.check()["shared_groups"]):
        raise DatasetError(
            f"Groups are in several parts of the stored split: {dict(list(shared.items())[:5])}.",
            remedy="split(..., group_by=...).save(force=True)",
        )
    return result


def of_tags(dataset: Parts) -> SplitResult:
    """Return the parts that tags "split:NAME" tell.

    Raises
    ------
    DatasetError
        No resource has one, or one has several.
    """
    warnings.warn(
        "Splits by tags are old; keep them in the project: split(...).save()", DeprecationWarning, stacklevel=4
    )
    parts: dict[str, list[str]] = {}
    for resource in dataset.resources():
        names = [tag.removeprefix(_TAG) for tag, value in resource.tags.items() if tag.startswith(_TAG) and value]
        if len(names) > 1:
            raise DatasetError(f"{resource.name!r} (id {resource.id!r}) is in {names}.", remedy="leave it one tag")
        for name in names:
            parts.setdefault(name, []).append(resource.id)
    if not parts:
        raise DatasetError('No resource has a tag "split:NAME".', remedy="split(train=0.8, test=0.2, seed=0)")
    stored = StoredSplit(parts, {}, None, "tags", "server")
    return SplitResult(dataset.parts_of(stored, "server"), stored, dataset.project)


def folds(dataset: Parts, n: int, seed: int | None, group_by: Any, stratify: Any) -> list[dict[str, Any]]:
    """Return n pairs of parts, "train" and "val"; every item is in one "val"."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise ParameterError(f"n is {n!r}.", remedy="use a whole number of at least 2")
    ratios = {f"fold{i}": 1 / n for i in range(n)}
    options: dict[str, Any] = {"seed": seed, "method": "random", "by_patient": False, "none": "individual"}
    result = drawn(dataset, ratios, group_by=group_by, stratify=stratify, allow_empty=False, **options)
    found = []
    for name in ratios:
        held = set(result.stored.parts[name])
        rest = [id for other, ids in result.stored.parts.items() if other != name for id in ids]
        pair = StoredSplit({"train": rest, "val": sorted(held)}, {}, result.stored.seed, "random", "local")
        found.append(dataset.parts_of(pair, "local"))
    return found


def check_mode(
    ratios: Mapping[str, float], server: bool | None, project: bool | None, as_of: Sequence[str] | Any, by_patient: bool
) -> None:
    """Raise ParameterError for flags and ratios that exclude each other."""
    if server and project:
        raise ParameterError("use_server_splits and use_project_splits are both True.", remedy="take one")
    if ratios and (server or project):
        raise ParameterError(f"Ratios {dict(ratios)} and a split that is stored.", remedy="leave one of them out")
    if as_of is not None and (ratios or server):
        raise ParameterError("as_of_timestamp is for splits of the project.", remedy="use_project_splits=True")
    if by_patient and not ratios:
        raise ParameterError("by_patient=True without ratios.", remedy="split(train=0.8, test=0.2, by_patient=True)")
