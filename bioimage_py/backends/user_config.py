"""The user's configuration file: TOML, with the table ``[slurm]`` and named profiles ``[slurm.profiles.<name>]``."""

from __future__ import annotations

import os
import threading
import tomllib
from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import ConfigError

_PROFILES = "profiles"


def config_file_path(path: str | PathLike[str] | None = None) -> Path:
    """Where the user's configuration file lies.

    Parameters
    ----------
    path : path, optional
        Goes before ``$BIOIMAGE_PY_CONFIG``, ``$XDG_CONFIG_HOME/bioimage-py/config.toml`` and
        ``~/.config/bioimage-py/config.toml``.
    """
    if path is not None:
        return Path(path)
    if given := os.environ.get("BIOIMAGE_PY_CONFIG"):
        return Path(given)
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "bioimage-py" / "config.toml"


def read_config(path: str | PathLike[str] | None = None) -> dict[str, Any]:
    """All tables of the configuration file; none where there is no file, or ``$BIOIMAGE_PY_NO_CONFIG`` is set.

    Raises
    ------
    ConfigError
        The file is no TOML.
    """
    if path is None and os.environ.get("BIOIMAGE_PY_NO_CONFIG"):
        return {}
    return _read(config_file_path(path))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}", remedy=f"edit {file}") from error


def read_table(path: str | PathLike[str] | None, profile: str | None, known: Collection[str]) -> dict[str, Any]:
    """The slurm settings in the configuration file, those of a profile before the common ones.

    Raises
    ------
    ConfigError
        The profile is not in the file, or a setting is unknown.
    """
    table = dict(read_config(path).get("slurm", {}))
    profiles = table.pop(_PROFILES, {})
    profile = profile or table.get("profile")
    if profile is not None:
        if profile not in profiles:
            raise ConfigError(
                f"there is no profile {profile!r} in {config_file_path(path)}; known are {sorted(profiles)}",
                remedy=f"write_slurm_config(profile={profile!r}, partition=...)",
            )
        table.update(profiles[profile], profile=profile)
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(
            f"{config_file_path(path)}: unknown slurm setting(s) {unknown}; known are {sorted(known)}",
            remedy=f"options = {{ {unknown[0]} = ... }}",
        )
    return table


def write_table(
    path: str | PathLike[str] | None, profile: str | None, settings: dict[str, Any], *, replace: bool
) -> Path:
    """Put slurm settings into the configuration file and leave the rest of it as it is."""
    import tomli_w

    file = config_file_path(path)
    tables = _read(file)
    slurm = tables.setdefault("slurm", {})
    if profile is None:
        before = {} if replace else {name: value for name, value in slurm.items() if name != _PROFILES}
        profiles = {_PROFILES: slurm[_PROFILES]} if _PROFILES in slurm else {}
        tables["slurm"] = {**before, **settings, **profiles}
    else:
        profiles = slurm.setdefault(_PROFILES, {})
        profiles[profile] = {**({} if replace else profiles.get(profile, {})), **settings}
    file.parent.mkdir(parents=True, exist_ok=True)
    private = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    private.write_text(tomli_w.dumps(tables))
    os.replace(private, file)
    return file
