"""Ways to start workers; one module each, found by name."""

from .base import Backend, BackendEvent, Limits, Work, backend_class, backend_names, get_backend, register_backend

__all__ = [
    "Backend",
    "BackendEvent",
    "Limits",
    "Work",
    "backend_class",
    "backend_names",
    "get_backend",
    "register_backend",
]
