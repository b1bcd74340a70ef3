"""What ``plugin=`` names: a format of this package, a class, or a backend of imageio."""

from __future__ import annotations

import importlib.util
from typing import Any

from ...errors import ParameterError
from ...extras import missing
from ..formats import Format, format_named, supported_formats

PREFIX = "imageio:"
_ALIASES = {"tifffile": "tif"}
"""Names of backends of imageio that read what a format of this package does."""


def is_foreign(plugin: Any) -> bool:
    """Tell whether a plugin is one of imageio's."""
    return isinstance(plugin, str) and plugin.lower().startswith(PREFIX)


def plugin_names() -> list[str]:
    """Return what `plugin` may be: the formats in their order, then the backends of imageio if that is installed."""
    names = list(supported_formats())
    if importlib.util.find_spec("imageio") is not None:
        from imageio.config import known_plugins

        names += [PREFIX + name for name in known_plugins]
    return names


def format_of_plugin(plugin: Any) -> Format:
    """Return the format that a plugin stands for: the name of one, or a class whose objects are containers.

    Raises
    ------
    ParameterError
        If there is none of that name; lists them.
    """
    if isinstance(plugin, type):
        return Format(plugin.__name__, (), plugin, reads=None)
    name = _ALIASES.get(plugin, plugin) if isinstance(plugin, str) else plugin
    if name in supported_formats():
        return format_named(name)
    known = plugin_names()
    near = PREFIX + str(plugin)
    raise ParameterError(
        f"Unknown plugin {plugin!r}; there are {', '.join(known)}.",
        remedy=f"plugin={near!r}" if near in known else "leave plugin out",
    )


def imageio_backend(plugin: str) -> tuple[Any, str]:
    """Return the module ``imageio.v3`` and the name of one of its backends."""
    if importlib.util.find_spec("imageio") is None:
        raise missing(f"plugin={plugin!r}", "imageio")
    import imageio.v3
    from imageio.config import known_plugins

    name = plugin[len(PREFIX) :]
    if name not in known_plugins:
        raise ParameterError(
            f"imageio has no plugin {name!r}; it has {', '.join(known_plugins)}.", remedy=f"plugin='{PREFIX}pillow'"
        )
    return imageio.v3, name
