"""`bioimage-py runs`: list, show, attach to, resume, cancel, clean, replay and report runs on disk."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BioimageError, ConfigError
from .common import Command, json_option, print_json

if TYPE_CHECKING:
    from ..runner.control.inspect import RunStatus
    from ..runner.driver.report import RunReport
    from ..runner.planning.stage import Plan

_TAIL = 8
_DAY = 86400.0


@click.group()
def runs() -> None:
    """List, show, watch, serve, resume, cancel and clean runs, and replay single blocks.

    RUN is a run folder or the name that `runs list` shows.

    \b
    Example:
      bioimage-py runs list
    """  # noqa: D301


@runs.command("list", cls=Command)
@click.argument("paths", nargs=-1, type=click.Path(exists=True))
@json_option
def list_runs(paths: tuple[str, ...], as_json: bool) -> None:
    """List runs at, beside and below PATHS: run folders, outputs, or folders.

    Without PATHS: those of the current folder, of $BIOIMAGE_PY_RUN_ROOT and of the user's cache.
    """
    from ..runner.control.inspect import find_runs

    found = find_runs(paths)
    if as_json:
        print_json([run.to_dict() for run in found])
    elif not found:
        click.echo("No runs.")
    else:
        rows = [("RUN", "STATE", "BLOCKS", "LAST SIGN", "HOST", "FOLDER")]
        rows += [
            (r.run, r.state, _progress(r), f"{_span(time.time() - r.active)} ago", r.host, r.folder) for r in found
        ]
        for line in _columns(rows):
            click.echo(_plain(line))


@runs.command(cls=Command)
@click.argument("run")
@json_option
def show(run: str, as_json: bool) -> None:
    """Show what RUN is doing or has done, its first error, and how to go on."""
    from ..run_folder import RunState
    from ..runner.control.inspect import described, errors_of, events_of
    from ..system.files import read_small

    status = find(run)
    folder = Path(status.folder)
    state, about, errors, events = RunState.read(folder), described(folder), errors_of(folder), events_of(folder)
    claims = [] if state is None else state.claims
    first = read_small(errors[0]).decode(errors="replace") if errors else None
    if as_json:
        writes = [{"storage": claim.storage, "box": claim.box} for claim in claims]
        print_json(
            {**status.to_dict(), "plan": about, "writes": writes, "first_error": first, "events": events[-_TAIL:]}
        )
        return
    click.echo(f"{_plain(status.run)}: {_STATES.get(status.state, 'unknown')}")
    for name, value in _facts(status, about, claims):
        click.echo(_plain(f"  {name:<9} {value}"))
    for stage in status.stages:
        click.echo(_plain(f"  stage     {stage.name}: {_counts(stage)}"))
    if first is not None:
        click.echo(_plain(f"\nFirst error ({errors[0]}, {len(errors)} in all):\n{first.rstrip()}"))
    if events:
        click.echo("\nLast events:")
        for event in events[-_TAIL:]:
            click.echo(_plain(f"  {_event(event)}"))
    if advice := _advice(status, bool(errors)):
        click.echo(f"\n{advice}")


@runs.command(cls=Command)
@click.argument("run")
@click.option("--workers", type=click.IntRange(min=1), help="Workers at once.  [default: as many as it had]")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def resume(run: str, workers: int | None, quiet: bool, as_json: bool) -> None:
    """Do what is left of RUN, as it was planned.

    Values that it returns stay in its folder: the call that began it takes them from there.
    """
    from ..runner.execute import resume_run

    status = find(run)
    changes: dict[str, Any] = {"progress": not (quiet or as_json)}
    if workers is not None:
        changes["num_workers"] = workers
    keep = _opened(status).stages[-1].returns != "none"
    report = resume_run(status.folder, lambda how: how.updated(changes), keep=keep)
    _tell(report, status, keep, as_json)


def _opened(status: RunStatus) -> Plan:
    """The plan of a run, which is code: it is named before it is opened."""
    from ..runner.planning.plan_file import kept_plan

    begun = datetime.fromtimestamp(status.created).astimezone()
    about = f"{status.name or status.run}, begun {begun:%Y-%m-%d %H:%M} on {status.host}"
    click.echo(_plain(f"Opening the plan of {status.folder} ({about}), which runs its code."), err=True)
    return kept_plan(status.folder)


def _tell(report: RunReport, status: RunStatus, keep: bool, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    click.echo(report.summary())
    if keep:
        click.echo(f"The values are in {status.folder}; the call that began the run returns them now.")


@runs.command(cls=Command)
@click.argument("run")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def attach(run: str, quiet: bool, as_json: bool) -> None:
    """Come back to RUN: wait for its end while somebody drives it, then do what is left.

    Jobs that live are not submitted again. Ctrl-C leaves it as it is.
    """
    from ..runner.control.attach import attach as attach_to

    status = find(run)
    progress = not (quiet or as_json)
    keep = _opened(status).stages[-1].returns != "none"
    report = attach_to(status.folder, lambda how: how.updated({"progress": progress}), keep=keep)
    _tell(report, status, keep, as_json)


@runs.command(cls=Command)
@click.argument("run")
@click.option("--force", is_flag=True, help="Kill the process that drives it, such as a notebook's kernel.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for it.")
def cancel(run: str, force: bool, timeout: float) -> None:
    """End RUN as Ctrl-C does; what is done stays done."""
    from ..runner.control.cancel import cancel_run

    status = find(run)
    left = cancel_run(status.folder, force=force, timeout=timeout)
    if left is None:
        click.echo(f"{status.run} finished before it was ended.")
    else:
        click.echo(f"{left.run} was ended: {_progress(left)}.\n{_advice(left, False)}")


@runs.command(cls=Command)
@click.argument("run", nargs=-1)
@click.option("--finished", is_flag=True, help="All whose end was seen and of which only the folder is left.")
@click.option("--older", type=click.FloatRange(min=0), metavar="DAYS", help="All without a sign of life for so long.")
@click.option("--yes", is_flag=True, help="Unfinished ones too: they cannot be continued any more.")
@json_option
def clean(run: tuple[str, ...], finished: bool, older: float | None, yes: bool, as_json: bool) -> None:
    """Remove the folders of dead runs, and their stamps in the outputs."""
    from ..runner.control.cancel import forget_run
    from ..runner.control.inspect import find_runs
    from ..system.owner import is_own

    if not run and not finished and older is None:
        raise click.UsageError("name a RUN, or give --finished or --older DAYS")
    chosen = [find(name) for name in run]
    if finished or older is not None:
        dead = [status for status in find_runs() if not status.alive and _matches(status, finished, older)]
        chosen += [status for status in dead if is_own(status.folder)]
    unfinished = [status for status in chosen if not status.alive and status.state != "finished"]
    if unfinished and not yes:
        raise ConfigError(
            "not finished: "
            + ", ".join(f"{status.run} ({_progress(status)})" for status in unfinished)
            + ". Without their folders they cannot be continued, and what they changed in place stays half changed",
            remedy="--yes removes them; bioimage-py runs resume RUN finishes one",
        )
    for status in chosen:
        forget_run(status.folder)
    if as_json:
        print_json([status.run for status in chosen])
    else:
        click.echo("\n".join(f"removed {status.run}" for status in chosen) or "Nothing to remove.")


@runs.command(cls=Command)
@click.argument("path")
@click.argument("key", required=False)
def forget(path: str, key: str | None) -> None:
    """Take the array at PATH (KEY in it) as it is, although a run that was changing it is lost.

    For arrays whose run folder is gone, or that are copies of an array that a run was changing: what the run had
    changed stays changed.
    """
    from ..runner.control.cancel import forget_lost

    names = forget_lost(path, key)
    click.echo("\n".join(f"forgot {name}" for name in names) or "Nothing to forget.")


@runs.command(cls=Command)
@click.argument("run")
@click.argument("block", type=int)
@click.option("--stage", help="Name of the stage.  [default: the one with an error, else the only one]")
@click.pass_context
def replay(ctx: click.Context, run: str, block: int, stage: str | None) -> None:
    """Run one BLOCK of RUN in this process; what it writes stays in memory.

    Prints what it returned and wrote, or the whole traceback (exit code 1).
    """
    from ..runner.control.replay import check_block, replay_block
    from ..runner.ledger.worker_side import FolderWork
    from ..runner.planning.placing import placed_in_folder

    status = find(run)
    plan = placed_in_folder(_opened(status), Path(status.folder))
    number = _stage_number(plan, stage, Path(status.folder))
    chosen = plan.stages[number]
    check_block(chosen, block)
    click.echo(f"{chosen.name} {block} {chosen.where(block)}".rstrip())
    begin = time.perf_counter()
    try:
        done = replay_block(plan, number, block, FolderWork(Path(status.folder), plan))
    except BioimageError:
        raise
    except Exception:  # noqa: BLE001 - the user's function may raise anything: it is what they want to see
        click.echo(traceback.format_exc(), err=True)
        ctx.exit(1)
    click.echo(f"  took {time.perf_counter() - begin:.3g} s and returned {_value(done.value)}")
    for index, writes in enumerate(done.written):
        for region, array in writes:
            where = ", ".join(f"{part.start}:{part.stop}" for part in region)
            click.echo(f"  wrote output {index} [{where}]: {_value(array)}")


@runs.command(cls=Command)
@click.argument("run")
@click.argument("path", type=click.Path())
def report(run: str, path: str) -> None:
    """Write what happened in RUN so far to PATH (.html, .png, .json or .jsonl)."""
    from ..runner.control.inspect import report_of
    from ..viz import write_report

    click.echo(write_report(report_of(find(run).folder), path))


_STATES = {
    "starting": "starting",
    "running": "running",
    "failed": "failed or was ended; not finished",
    "detached": "detached: its driver has left; workers go on with the current stage",
    "interrupted": "interrupted: the process that drove it has died",
    "complete": "complete, but nobody was told",
    "forgotten": "forgotten: what it has changed is being put back; the next call ends that",
    "finished": "finished; only the folder is left",
}


def find(run: str) -> RunStatus:
    """The run of a folder or name."""
    from ..run_folder import RunFolder
    from ..runner.control.inspect import find_runs, status_of

    if RunFolder(Path(run)).state.exists():
        return status_of(run)
    found = [status for status in find_runs() if status.run.startswith(run)]
    exact = [status for status in found if status.run == run]
    if len(exact or found) != 1:
        known = f"several begin so: {', '.join(status.run for status in found)}" if found else "no such run"
        raise ConfigError(
            f"{run!r} is neither a run folder nor the name of one run ({known})", remedy="bioimage-py runs list"
        )
    return (exact or found)[0]


def _matches(status: RunStatus, finished: bool, older: float | None) -> bool:
    old = older is None or time.time() - status.active > older * _DAY
    return old and (not finished or status.state == "finished")


def _stage_number(plan: Plan, name: str | None, folder: Path) -> int:
    from ..runner.control.inspect import errors_of

    names = [stage.name for stage in plan.stages]
    if name is not None:
        if name not in names:
            raise ConfigError(f"there is no stage {name!r}; there are {names}", remedy=f"--stage {names[0]}")
        return names.index(name)
    if len(names) == 1:
        return 0
    if failed := errors_of(folder):
        return int(failed[0].name.partition("-")[0])
    raise ConfigError(f"the run has several stages: {names}", remedy=f"--stage {names[-1]}")


def _progress(status: RunStatus) -> str:
    parts = [f"{s.name} {s.done}/{s.blocks}" + (f" ({s.failed} failed)" if s.failed else "") for s in status.stages]
    return ", ".join(parts) or "nothing planned"


def _counts(stage: Any) -> str:
    text = f"{stage.done} of {stage.blocks} {'blocks' if stage.kind == 'blocks' else 'items'} done"
    if stage.kind == "once":
        text = "done" if stage.done else "to do"
    return text + (f", {stage.failed} failed" if stage.failed else "")


def _facts(status: RunStatus, about: dict[str, Any], claims: Sequence[Any]) -> Iterator[tuple[str, str]]:
    now = time.time()
    yield "folder", status.folder
    begun = datetime.fromtimestamp(status.created).astimezone()
    sessions = f", {status.sessions} sessions" if status.sessions > 1 else ""
    yield "begun", f"{begun:%Y-%m-%d %H:%M:%S}, last sign of life {_span(now - status.active)} ago{sessions}"
    yield "driver", f"process {status.pid} on {status.host}"
    if "execution" in about:
        yield "how", ", ".join(f"{name}={value}" for name, value in about["execution"].items()) or "as by default"
    for stage in about["stages"]:
        for kind in ("inputs", "outputs"):
            for source in stage[kind]:
                yield kind[:-1], f"{source} ({stage['name']})"
    for claim in claims:
        yield "writes", f"{claim.storage} [{', '.join(f'{begin}:{end}' for begin, end in claim.box)}]"


def _event(event: dict[str, Any]) -> str:
    rest = {key: value for key, value in event.items() if key not in ("session", "seconds", "time", "event")}
    told = ", ".join(f"{key} {value}" for key, value in rest.items() if value not in ("", None, [], ()))
    return f"{datetime.fromtimestamp(event['time']):%H:%M:%S} {event['event']} {told.splitlines()[0] if told else ''}"


def _advice(status: RunStatus, replayable: bool) -> str:
    if status.alive:
        return f"End it: bioimage-py runs cancel {status.folder}"
    if status.state in ("finished", "forgotten"):
        return f"Remove it: bioimage-py runs clean {status.folder}"
    if status.state == "detached":
        cancel = f"Cancel its jobs: bioimage-py runs cancel {status.folder}"
        return f"Come back: the same call again, or bioimage-py runs attach {status.folder}\n{cancel}"
    lines = [f"Go on: the same call again, or bioimage-py runs resume {status.folder}"]
    if replayable:
        lines.append(f"Look for the bug: bioimage-py runs replay {status.folder} BLOCK")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A text of a file without what would move a terminal's cursor or change its state."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)


def _value(value: Any) -> str:
    import numpy as np

    if not isinstance(value, np.ndarray):
        text = repr(value)
        return text if len(text) <= 300 else text[:300] + " …"
    text = f"{'x'.join(map(str, value.shape)) or 'one'} {value.dtype}"
    if value.size and value.dtype.kind in "biuf":
        text += f", {value.min()} to {value.max()}"
    return text


def _span(seconds: float) -> str:
    for unit, size in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
