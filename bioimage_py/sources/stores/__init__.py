"""Where data lie: folders, buckets, web servers, archives."""

from .location import Location, locate
from .paths import is_url, resolve

__all__ = ["Location", "is_url", "locate", "resolve"]
