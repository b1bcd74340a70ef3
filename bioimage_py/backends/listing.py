"""Which backends there are, with their limits and what is missing to use them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .base import Limits, backend_class, backend_names


@dataclass(frozen=True)
class BackendInfo:
    """What is known of a backend without starting anything.

    Attributes
    ----------
    name : str
        The ``job_type``.
    about : str
        What its workers are.
    where : str
        Module of its class.
    limits : Limits or None
        None where they depend on what the backend is given.
    missing : str
        What is missing to use it here, and what to type; empty where nothing is.
    """

    name: str
    about: str = ""
    where: str = ""
    limits: Limits | None = None
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def list_backends() -> list[BackendInfo]:
    """All backends that are known here, those of other packages too; one that cannot be imported says why."""
    return [_info(name) for name in backend_names()]


def _info(name: str) -> BackendInfo:
    try:
        cls = backend_class(name)
        about = (cls.__doc__ or "").strip().partition("\n")[0]
        return BackendInfo(name, about, cls.__module__, None if cls.limits_depend else cls.limits, cls.missing())
    except Exception as error:  # noqa: BLE001 - the package of somebody else, which may fail in any way
        return BackendInfo(name, missing=f"{type(error).__name__}: {error}")
