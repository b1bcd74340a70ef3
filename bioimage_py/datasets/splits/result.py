"""Parts of a data set, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ...errors import DatasetError
from . import history
from .history import StoredSplit

if TYPE_CHECKING:
    from ..parts import Parts


class SplitResult(dict[str, Any]):
    """Data sets by the names of their parts; which resources are where can be stored, and checked.

    Parameters
    ----------
    parts : mapping
        Data sets.
    stored : StoredSplit
        Ids and how they were drawn.
    project : str, optional
        Folder of the project.
    groups : callable, optional
        Key of the group of a resource, for `check`.
    strata : mapping, optional
        Number of items by stratum and part, for `check`.
    """

    def __init__(
        self,
        parts: Mapping[str, Parts],
        stored: StoredSplit,
        project: str | None = None,
        groups: Callable[[Any], Any] | None = None,
        strata: Mapping[Any, Mapping[str, int]] | None = None,
    ) -> None:
        super().__init__(parts)
        self.stored, self._project, self._groups, self._strata = stored, project, groups, strata

    def save(self, force: bool = False) -> StoredSplit:
        """Store the split in the project, which then has it for ``split()`` without ratios.

        Parameters
        ----------
        force : bool, default False
            Whether one that is there stays in the history only.

        Raises
        ------
        DatasetError
            There is one already; or the data set comes from no project.
        """
        if self._project is None:
            raise DatasetError("The data set comes from no project.", remedy="keep to_json() in a file of your own")
        self.stored = history.store(self._project, self.stored, force)
        for part in self.values():
            part.split_version = self.stored.version
        return self.stored

    def to_json(self) -> str:
        """Return ids, ratios, seed, method and version as JSON."""
        return self.stored.to_json()

    @classmethod
    def from_json(cls, text: str, dataset: Parts) -> Self:
        """Return the parts of a data set that a JSON text tells.

        Raises
        ------
        FormatError
            It is no split.
        """
        stored = StoredSplit.from_json(text)
        return cls(dataset.parts_of(stored, stored.source), stored, dataset.project)

    def check(self, content: bool = False) -> dict[str, Any]:
        """Look for what several parts have in common.

        Parameters
        ----------
        content : bool, default False
            Whether to compare voxels too, which reads all images once.

        Returns
        -------
        dict
            "sizes": items by part. "shared_resources", "shared_groups" (patients, or what `split` was grouped by),
            "shared_content": keys with the parts that have them. "strata": for each, how far its items in each part are
            from their wish.
        """
        resources: dict[str, list[str]] = defaultdict(list)
        groups: dict[Any, set[str]] = defaultdict(set)
        contents: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for name, part in self.items():
            for resource in part.resources():
                resources[resource.id].append(name)
                key = resource.patient if self._groups is None else self._groups(resource)
                if key is not None:
                    groups[key].add(name)
                if content:
                    contents[resource.content_hash()].add((name, resource.id))
        strata = {}
        for stratum, counts in (self._strata or {}).items():
            total = sum(counts.values())
            strata[stratum] = {name: counts[name] - self.stored.ratios[name] * total for name in counts}
        return {
            "sizes": {name: len(part) for name, part in self.items()},
            "shared_resources": {id: names for id, names in resources.items() if len(set(names)) > 1},
            "shared_groups": {key: sorted(names) for key, names in groups.items() if len(names) > 1},
            "shared_content": {
                key: sorted(found) for key, found in contents.items() if len({name for name, _ in found}) > 1
            },
            "strata": strata,
        }
