"""Ways to start workers; one module each, found by name."""

from .base import Backend, BackendEvent, Limits, Work, backend_class, backend_names, get_backend, register_backend
from .listing import BackendInfo, list_backends

__all__ = [
    "Backend",
    "BackendEvent",
    "BackendInfo",
    "Limits",
    "Work",
    "backend_class",
    "backend_names",
    "get_backend",
    "list_backends",
    "register_backend",
]
