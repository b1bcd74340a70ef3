"""The data sets of a project, as a list."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from ..errors import IndexingError, KeyNotFoundError, ParameterError
from .descriptor import Descriptor
from .values.records import Summary

if TYPE_CHECKING:
    from .project import Project

_FEW = 10


class DescriptorsAccessor(Sequence[Descriptor]):
    """Data sets in the order of import, found by position, identifier or name.

    Listing opens no file of a descriptor; names and filters come from an index where it is up to date.

    Parameters
    ----------
    project : Project
    identifiers : sequence of str, optional
        Which; None: all there are.
    """

    def __init__(self, project: Project, identifiers: Sequence[str] | None = None) -> None:
        self._project = project
        self._identifiers = identifiers

    @property
    def identifiers(self) -> list[str]:
        """Identifiers."""
        return list(self._all())

    def _all(self) -> Sequence[str]:
        return self._project._session.identifiers() if self._identifiers is None else self._identifiers

    @property
    def names(self) -> list[str]:
        """Names, which need not be unique."""
        return [summary.name for _, summary in self._project._session.summaries(self.identifiers)]

    def size(self) -> int:
        """Number of data sets; the same as ``len``."""
        return len(self)

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Descriptor]:
        return (Descriptor(self._project, identifier) for identifier in self.identifiers)

    @overload
    def __getitem__(self, key: int | str) -> Descriptor: ...

    @overload
    def __getitem__(self, key: slice) -> DescriptorsAccessor: ...

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return DescriptorsAccessor(self._project, self.identifiers[key])
        if isinstance(key, str):
            return Descriptor(self._project, self._find(key))
        identifiers = self._all()
        try:
            return Descriptor(self._project, identifiers[key])
        except IndexError:
            raise IndexingError(
                f"There is no descriptor {key}: there are {len(identifiers)}.", remedy="use another number"
            ) from None

    def _find(self, key: str) -> str:
        if self._project._session.has(key) and (self._identifiers is None or key in self._identifiers):
            return key
        known = {name: summary.name for name, summary in self._project._session.summaries(self.identifiers)}
        found = [identifier for identifier, name in known.items() if name == key]
        if len(found) == 1:
            return found[0]
        if not found:
            some = ", ".join(map(repr, list(known.values())[:_FEW])) + (", ..." if len(known) > _FEW else "")
            raise KeyNotFoundError(f"There is no descriptor {key!r}.", remedy=f"there are: {some}")
        raise ParameterError(
            f"{len(found)} descriptors are called {key!r}.", remedy=f"use an identifier, such as {found[0]!r}"
        )

    def __contains__(self, key: object) -> bool:
        if isinstance(key, Descriptor):
            return key.project.path == self._project.path and key.identifier in self.identifiers
        return key in self.identifiers or key in self.names

    def filter(
        self,
        *,
        name: str | None = None,
        tags: Mapping[str, bool | str | float | None] | None = None,
        group: Sequence[str] | str | None = None,
        annotated: bool | None = None,
        layer: str | None = None,
    ) -> DescriptorsAccessor:
        """Return the data sets that fit all that is asked for.

        Parameters
        ----------
        name : str, optional
            Pattern of names: "*" and "?" as for files.
        tags : mapping, optional
            Values of tags by name; None stands for a tag that is not set.
        group : str or sequence of str, optional
            Keys or display texts of the first levels of grouping.
        annotated : bool, optional
            Whether all frames are marked as annotated.
        layer : str, optional
            Name of a layer in which something was saved.

        Raises
        ------
        KeyNotFoundError
            There is no such tag or layer.
        """
        settings = self._project._session.settings
        by_id = {settings.tags[key].id: value for key, value in (tags or {}).items()}
        layer_id = None if layer is None else settings.layers[layer].id
        groups = [group] if isinstance(group, str) else list(group or ())

        def fits(summary: Summary) -> bool:
            levels = zip(groups, summary.grouping, strict=False)
            return (
                (name is None or fnmatch.fnmatchcase(summary.name, name))
                and all(summary.tags.get(tag) == value for tag, value in by_id.items())
                and len(groups) <= len(summary.grouping)
                and all(part in level for part, level in levels)
                and (annotated is None or summary.annotated == annotated)
                and (layer_id is None or layer_id in summary.layers)
            )

        session = self._project._session
        found = [identifier for identifier, summary in session.summaries(self.identifiers) if fits(summary)]
        session.listing.store()
        return DescriptorsAccessor(self._project, found)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{len(self)} descriptors of {self._project.name!r}>"
