"""What a SLURM site says of itself: partitions, limits, accounting."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError
from ..config import wall_seconds
from . import commands

WALL_MINUTES = 240
"""Proposed wall time at most: short jobs find gaps, and another one takes over before it is up."""
_FIELDS = "%P|%a|%l|%m|%c|%G|%D"
_LINE = re.compile(r"[\w.-]+\*?\|(?P<state>\w+)\|[\w:/-]*\|\d{1,15}\+?\|\d{1,9}\+?\|[^|]*\|\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class Partition:
    """A partition with so many nodes that are up, and its longest wall time in minutes, None without a limit.

    ``mem`` (in MiB) and ``cpus`` are those of its smallest node, ``gpus`` tells whether all nodes have some.
    """

    name: str
    default: bool
    minutes: int | None
    mem: int
    cpus: int
    gpus: bool
    nodes: int

    def settings(self) -> dict[str, Any]:
        """Settings to begin with: one core's share of the memory, all of a node's after memory kills."""
        share = max(1, self.mem // max(1, self.cpus) // 1024)
        most = self.mem // 1024
        memory = {"mem": f"{share}G", "max_mem": f"{most}G"} if most > share else {"mem": f"{self.mem}M"}
        minutes = WALL_MINUTES if self.minutes is None else min(self.minutes, WALL_MINUTES)
        return {"partition": self.name, "time": minutes, **memory, **({"gpus": 1} if self.gpus else {})}


def partitions() -> list[Partition]:
    """Partitions that are up, the default one first.

    Raises
    ------
    ConfigError
        This host has no sinfo, or no answer from it.
    """
    told = commands.run("sinfo", "-h", "-o", _FIELDS)
    if told.returncode:
        raise ConfigError(f"sinfo does not answer: {told.stderr.strip()}", remedy="sinfo")
    found: dict[str, Partition] = {}
    for line in told.stdout.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match["state"] != "up":  # what a site prints besides is none
            continue
        name, _, limit, mem, cpus, gres, nodes = line.split("|")
        one = Partition(
            name.rstrip("*"),
            name.endswith("*"),
            minutes_of(limit),
            int(mem.rstrip("+")),
            int(cpus.rstrip("+")),
            "gpu" in gres,
            int(nodes),
        )
        if (other := found.get(one.name)) is not None:  # a line for each kind of node
            mem_, cpus_ = min(one.mem, other.mem), min(one.cpus, other.cpus)
            one = Partition(
                one.name, one.default, one.minutes, mem_, cpus_, one.gpus and other.gpus, one.nodes + other.nodes
            )
        found[one.name] = one
    return sorted(found.values(), key=lambda partition: (not partition.default, partition.name))


def minutes_of(limit: str) -> int | None:
    """Minutes of a limit as SLURM prints it; None where there is none (infinite, UNLIMITED, n/a)."""
    return (wall_seconds(limit) or 0) // 60 if any(map(str.isdigit, limit)) else None


def accounting() -> str:
    """Why sacct does not answer; empty where it does."""
    told = commands.run("sacct", "-n", "-X", "-j", "1", "--format=JobID")
    return (told.stderr.strip().splitlines() or ["it failed"])[0] if told.returncode else ""


def max_submit(user: str) -> int | None:
    """Jobs that a user may have in the queue; None without a limit that is told."""
    told = commands.run("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=MaxSubmit")
    numbers = [int(line) for line in told.stdout.split() if line.isdigit()] if told.returncode == 0 else []
    return min(numbers, default=None)
