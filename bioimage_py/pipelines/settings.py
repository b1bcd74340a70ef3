"""A file of settings beside a script, so that one script serves laptop and cluster.

::

    [execution]                  # for all calls
    job_type = "slurm"
    num_workers = 200

    [parameters]                 # p.parameters["sigma"]
    sigma = 2.0

    [calls.label]                # keywords of an operation, by its name
    num_workers = 20
    threshold = 130
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ParameterError
from ..system.files import read_small

_TABLES = ("execution", "parameters", "calls")


@dataclass(frozen=True)
class Settings:
    """The content of a file of settings.

    Parameters
    ----------
    execution : dict
        Fields of `Execution` for all calls; they win over those of the script.
    parameters : dict
        For the script to use.
    calls : dict
        Keywords by the name of the operation; they win over those of the script.
    file : str
        Where it was read from.
    """

    execution: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    file: str = ""

    @classmethod
    def read(cls, path: Path) -> Settings:
        """The settings in a file.

        Raises
        ------
        ConfigError
            It is no TOML, or has tables that are not known.
        """
        try:
            told = tomllib.loads(read_small(path).decode())
        except FileNotFoundError:
            raise ConfigError(f"there is no file of settings {path}", remedy="name one that is there") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is no TOML: {error}", remedy="[execution]") from None
        unknown = [name for name in told if name not in _TABLES]
        if unknown:
            raise ConfigError(f"{path} has a table [{unknown[0]}]", remedy=f"one of {', '.join(_TABLES)}")
        for name, table in (*told.items(), *told.get("calls", {}).items()):
            if not isinstance(table, dict):
                raise ConfigError(f"{path}: {name} = {table!r} is no table", remedy=f"[{name}]")
        return cls(**told, file=str(path))

    def override(self, name: str, given: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
        """Keywords of a call of an operation that knows some, with those of the file in their place.

        Raises
        ------
        ParameterError
            The operation has no such keyword.
        """
        wanted = self.calls.get(name, {})
        if unknown := sorted(set(wanted) - set(known)):
            raise ParameterError(
                f"{self.file}: {name} has no keyword {unknown[0]!r}", remedy=f"one of {', '.join(sorted(known))}"
            )
        return {**given, **wanted}


def settings_beside(script: str) -> Settings:
    """The settings in the file that is called as a script, with the ending ``.toml``; none where there is no such."""
    path = Path(script).with_suffix(".toml") if script else None
    return Settings() if path is None or not path.is_file() else Settings.read(path)
