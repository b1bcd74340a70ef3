"""Lists whose items are found by position or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

from ...errors import IndexingError, KeyNotFoundError


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """What it is called."""


T = TypeVar("T", bound=Named)


class Accessor(Sequence[T], Generic[T]):
    """A list whose items are found by position, or by name (the first of that name).

    Parameters
    ----------
    items : iterable
        Objects with a `name`.
    what : str, default "item"
        What one of them is, for messages.
    """

    def __init__(self, items: Iterable[T] = (), what: str = "item") -> None:
        self._items = list(items)
        self._what = what

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [item.name for item in self._items]

    @property
    def active(self) -> T | None:
        """The item that the user of a graphical program works on; None, as there is none."""
        return None

    def size(self) -> int:
        """Number of items; the same as ``len``."""
        return len(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self.names if isinstance(key, str) else key in self._items

    @overload
    def __getitem__(self, key: int | str) -> T: ...

    @overload
    def __getitem__(self, key: slice) -> Accessor[T]: ...

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return Accessor(self._items[key], self._what)
        if isinstance(key, str):
            for item in self._items:
                if item.name == key:
                    return item
            raise KeyNotFoundError(f"There is no {self._what} {key!r}.", remedy=f"there are: {self.names}")
        try:
            return self._items[key]
        except IndexError:
            raise IndexingError(
                f"There is no {self._what} {key}: there are {len(self)}.", remedy=f"there are: {self.names}"
            ) from None

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return repr(self._items)
