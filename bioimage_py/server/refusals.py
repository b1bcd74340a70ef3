"""What a server refuses for who asks, beside the errors of the package."""

from __future__ import annotations

from ..errors import AccessError, KeyNotFoundError, StorageError


class UnknownCallerError(AccessError):
    """A request without valid credentials (HTTP 401); the text never tells why they are not valid."""

    def __init__(self, message: str = "Name or password, or the token, is wrong or has ended.") -> None:
        super().__init__(message, remedy="log in again")


class NotAllowedError(AccessError):
    """A request of somebody known who may not do this (HTTP 403)."""


class NoChunkError(KeyNotFoundError):
    """A chunk that is not stored, of an array that is there (HTTP 404): its voxels are 0.

    Readers of zarr take 404 for that. What has gone as a whole is told as another status (HTTP 410).
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no {key!r}.", remedy="a chunk that is not there holds zeros")


class StillWorkingError(StorageError):
    """What was asked for is being done, by an earlier request (HTTP 504): the same request again is told the answer."""

    def __init__(self) -> None:
        super().__init__("An earlier request is still being worked at.", remedy="send the same request again")


class DamagedError(StorageError):
    """What arrived is not what was sent (HTTP 400)."""


class LostChunkError(StorageError):
    """A stored chunk is empty, which none ever is: its disk has lost it (HTTP 500); it does not stand for zeros."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The stored chunk {key} is empty: the disk of the server has lost it.",
            remedy="tell who looks after the server, to restore it from a backup",
        )


class DiskFullError(StorageError):
    """The disk of the server is full (HTTP 507); nothing is saved by halves."""

    def __init__(self) -> None:
        super().__init__(
            "The disk of the server is full; what was sent is saved as a whole, or, more likely, not at all.",
            remedy="tell who looks after the server; then send it again, a commit with the same key",
        )


class TooManyError(StorageError):
    """Too many attempts (HTTP 429).

    Parameters
    ----------
    seconds : float
        How long to wait.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many attempts; wait {seconds:.0f} s.", remedy="wait, then try again")
        self.seconds = seconds
