"""The command `bioimage-py`."""

from .main import main

__all__ = ["main"]
