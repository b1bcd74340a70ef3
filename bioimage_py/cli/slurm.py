"""`bioimage-py slurm`: write the settings of a site, and check whether runs will work there."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError
from .common import Command, json_option, print_json


@click.group()
def slurm() -> None:
    """Set up runs on a SLURM cluster: init once, then check.

    \b
    Example:
      bioimage-py slurm init
    """  # noqa: D301


@slurm.command(cls=Command)
@click.option("--partition", help="Write a profile for this one only.  [default: for each that is up]")
@click.option("--profile", help="Name of the profile.  [default: that of its partition]")
@click.option("--account", help="Account to charge.")
@click.option("--qos", help="Quality of service.")
@click.option("--time", help="Wall time of a job.  [default: that of the partition, at most 4 hours]")
@click.option("--mem", help="Memory of a job.  [default: one core's share of a node]")
@click.option("--max-mem", help="Memory of a job at most, after memory kills.  [default: that of a node]")
@click.option("--setup", multiple=True, metavar="LINE", help="Shell line before a worker starts; may be repeated.")
@click.option("--file", "path", type=click.Path(dir_okay=False), help="Configuration file.  [default: the user's]")
@click.option("--replace", is_flag=True, help="Overwrite profiles that are there.")
@json_option
def init(
    partition: str | None,
    profile: str | None,
    setup: tuple[str, ...],
    path: str | None,
    replace: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Write profiles for the partitions of this site (sinfo) into the user's configuration file.

    Profiles that are there stay as they are; the first new one becomes the default if there is none.
    """
    from ..backends.config import write_slurm_config
    from ..backends.user_config import config_file_path, read_config, write_table

    common = {**{name: value for name, value in given.items() if value is not None}, "setup": list(setup) or None}
    table = read_config(config_file_path(path)).get("slurm", {})
    written: dict[str, dict[str, Any]] = {}
    for name, settings in _profiles(partition, profile).items():
        if replace or name not in table.get("profiles", {}):
            written[name] = {key: value for key, value in {**settings, **common}.items() if value is not None}
            write_slurm_config(path, profile=name, replace=True, **written[name])
    if written and (replace or "profile" not in table):
        write_table(path, None, {"profile": next(iter(written))}, replace=False)
    file = str(config_file_path(path))
    if as_json:
        print_json({"file": file, "profiles": written})
        return
    for name, settings in written.items():
        click.echo(f"{name}: {', '.join(f'{key}={value}' for key, value in settings.items())}")
    click.echo(f"{len(written)} profile(s) written to {file}. Next: bioimage-py slurm check")


def _profiles(partition: str | None, profile: str | None) -> dict[str, dict[str, Any]]:
    from ..backends.slurm.site import partitions

    found = {one.name: one for one in partitions()}
    if partition is not None:
        if partition not in found:
            raise ConfigError(f"there is no partition {partition!r}; up are {sorted(found)}", remedy="sinfo")
        return {profile or partition: found[partition].settings()}
    if profile is not None:
        one = next(iter(found.values()), None)
        return {} if one is None else {profile: one.settings()}
    return {one.name: one.settings() for one in found.values()}


@slurm.command(cls=Command)
@click.option("--profile", help="Profile to check.  [default: that of the configuration]")
@click.option("--folder", type=click.Path(file_okay=False), help="Where data and run folders lie.  [default: here]")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds for the job to answer.")
@json_option
@click.pass_context
def check(ctx: click.Context, profile: str | None, folder: str | None, timeout: float, as_json: bool) -> None:
    """Submit one small job and tell what it found; exit code 1 where something is missing that runs need.

    Without --folder: $BIOIMAGE_PY_RUN_ROOT, else the current folder.
    """
    from ..backends.config import SlurmConfig
    from ..backends.slurm.site_check import check_site

    config = SlurmConfig.load(**({} if profile is None else {"profile": profile}))
    where = Path(folder or config.tmp_root or os.environ.get("BIOIMAGE_PY_RUN_ROOT") or ".").absolute()
    findings = []
    for finding in check_site(config, where, timeout):
        findings.append(finding)
        if not as_json:
            mark = "ok" if finding.ok else "MISSING" if finding.needed else "note"
            click.echo(f"{mark:<8}{finding.what:<17}{finding.told}")
            if not finding.ok and finding.remedy:
                click.echo(f"{'':<25}remedy: {finding.remedy}")
    missing = [finding.what for finding in findings if finding.needed and not finding.ok]
    if as_json:
        told = [{**asdict(finding), "remedy": "" if finding.ok else finding.remedy} for finding in findings]
        print_json({"ok": not missing, "missing": missing, "findings": told})
    elif not missing:
        click.echo("Runs will work here.")
    if missing:
        ctx.exit(1)
