"""`bioimage-py server`: serve label projects, and look after users, projects, backups and the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..extras import need
from .common import Command, json_option, print_json

if TYPE_CHECKING:
    from ..server.site import Site

_LIBRARIES = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "argon2", "jinja2", "pydantic")
folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
database_option = click.option(
    "--database", default="", metavar="URL", help="postgresql://...; by default SQLite in FOLDER."
)


@click.group()
def server() -> None:
    """Serve label projects to a group, over HTTP.

    FOLDER holds the projects and the database.

    \b
    Example:
      bioimage-py server run projects
    """  # noqa: D301


def _site(folder: Path, database: str, *, there: bool = True) -> Site:
    for library in _LIBRARIES:
        need(library, "A server")
    from ..errors import SourceNotFoundError
    from ..server.site import Site

    if there and not folder.is_dir():
        raise SourceNotFoundError(f"There is no folder {folder}.", remedy=f"bioimage-py server run {folder}")
    site = Site(folder, database)
    click.get_current_context().call_on_close(site.close)
    return site


@server.command(cls=Command)
@folder_argument
@database_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8123, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--tls-cert", default="", metavar="FILE", help="Certificate; with it, https.")
@click.option("--tls-key", default="", metavar="FILE", help="Key of the certificate.")
@click.option("--insecure", is_flag=True, help="Listen to other machines without encryption.")
@click.option("--trusted-proxy", default="", metavar="ADDRESS,...", help="Proxies whose X-Forwarded headers count.")
@click.option("--path", default="", help="Under which a proxy shows the server, such as /labels.")
@click.option(
    "--image-root",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of images of which small pictures are made; may be repeated. Who can write there must be trusted.",
)
@click.option(
    "--oidc",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of a provider of identities, with which users may sign in to the page (OpenID Connect).",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that answer.")
@click.option("--metrics", default="", metavar="[HOST:]PORT", help="Where Prometheus reads counts, without a token.")
@click.option(
    "--keep-events",
    default=90,
    show_default=True,
    metavar="DAYS",
    type=click.IntRange(90),
    help="Whoever was away for longer loads anew.",
)
@click.option(
    "--project-bytes", default=0, type=click.IntRange(0), help="What a project may take; 0: as much as the disk has."
)
@click.option(
    "--url",
    default="",
    envvar="BIOIMAGE_PY_SERVER_URL",
    show_envvar=True,
    help="Where people find it, such as https://labels.example.org, for the first administrator's link.",
)
@click.option("--access-seconds", default=900.0, hidden=True)
def run(
    folder: Path,
    database: str,
    host: str,
    port: int,
    tls_cert: str,
    tls_key: str,
    insecure: bool,
    trusted_proxy: str,
    path: str,
    image_root: tuple[Path, ...],
    oidc: Path | None,
    workers: int,
    metrics: str,
    keep_events: int,
    project_bytes: int,
    url: str,
    access_seconds: float,
) -> None:
    """Serve FOLDER until Ctrl-C; the first time, an administrator is made and the password is shown."""
    if oidc is not None:  # its extra brings the others, too
        need("joserfc", "--oidc")
    for library in _LIBRARIES:
        need(library, "A server")
    from ..server.running import Listening
    from ..server.running import run as serve
    from ..server.site import Times

    tls = (tls_cert, tls_key, insecure, trusted_proxy)
    listening = Listening(host, port, *tls, path, workers, metrics, keep_events, project_bytes, url)
    serve(folder, listening, database, Times(access=access_seconds), lambda text: click.echo(text), image_root, oidc)


@server.group()
def user() -> None:
    """Add users, keep them out, or give them another password."""


def _password() -> str:
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@user.command("add", cls=Command)
@folder_argument
@click.argument("name")
@click.option("--admin", is_flag=True, help="May look after users.")
@click.option("--again", is_flag=True, help="The one who had this name before the account was removed.")
@database_option
def add_user(folder: Path, name: str, admin: bool, again: bool, database: str) -> None:
    """Add the user NAME; the password is asked for."""
    site = _site(folder, database)
    found = site.users.add(name, _password(), admin=admin, again=again, by="server")
    click.echo(f"{found.name} was added.")


@user.command("password", cls=Command)
@folder_argument
@click.argument("name")
@database_option
def set_password(folder: Path, name: str, database: str) -> None:
    """Give the user NAME another password, which ends all logins."""
    site = _site(folder, database)
    site.users.set_password(site.users.named(name).id, _password(), by="server")
    click.echo("The password was changed.")


@user.command("disable", cls=Command)
@folder_argument
@click.argument("name")
@click.option("--enable", is_flag=True, help="Let the user in again.")
@database_option
def disable_user(folder: Path, name: str, enable: bool, database: str) -> None:
    """Keep the user NAME out, at once."""
    site = _site(folder, database)
    site.users.change(site.users.named(name).id, disabled=not enable, by="server")
    click.echo(f"{name} {'may come in again' if enable else 'is kept out'}.")


@user.command("link", cls=Command)
@folder_argument
@click.argument("name")
@click.argument("issuer")
@click.argument("subject")
@database_option
def link_user(folder: Path, name: str, issuer: str, subject: str, database: str) -> None:
    """Let the identity SUBJECT of the provider ISSUER be the user NAME."""
    _site(folder, database).identities.link(name, issuer, subject, "server")
    click.echo(f"{subject} is {name}.")


@server.group("project")
def projects() -> None:
    """Put project folders behind the server, and take them away."""


@projects.command("add", cls=Command)
@folder_argument
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--owner", required=True, help="Name of a user.")
@database_option
def add_project(folder: Path, project: Path, owner: str, database: str) -> None:
    """Serve the folder PROJECT where it lies."""
    site = _site(folder, database)
    click.echo(site.projects.add(project, site.users.named(owner).id, "server"))


@projects.command("remove", cls=Command)
@folder_argument
@click.argument("id")
@database_option
def remove_project(folder: Path, id: str, database: str) -> None:
    """Serve the project ID no more; its folder stays."""
    _site(folder, database).projects.remove(id, "server", files=False)
    click.echo(f"{id} is served no more.")


@server.command(cls=Command)
@folder_argument
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@database_option
def backup(folder: Path, file: Path, database: str) -> None:
    """Write all projects and the database into FILE, also while the server runs."""
    site = _site(folder, database)
    from ..server.backup import backup as write

    write(site, file)
    click.echo(f"{file}: {file.stat().st_size} bytes")


@server.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@folder_argument
@database_option
def restore(file: Path, folder: Path, database: str) -> None:
    """Make FOLDER of a backup, and fill the database, which has to be empty; whichever kind the backup's was."""
    for library in _LIBRARIES:
        need(library, "A server")
    from ..server.backup import restore as read

    read(file, folder, database)
    click.echo(f"{folder} is as it was.")


@server.command(cls=Command)
@folder_argument
@database_option
def check(folder: Path, database: str) -> None:
    """Look whether files, database and events agree; exit code 1 if something is wrong."""
    site = _site(folder, database)
    from ..server.backup import check as look

    found = list(look(site))
    for line in found:
        click.echo(line)
    if found:
        raise SystemExit(1)
    click.echo("All agree.")


@server.command("audit", cls=Command)
@folder_argument
@click.option("--verify", is_flag=True, help="Only look whether the log is whole; exit code 1 if not.")
@click.option("--after", default=0, help="Id of a row.")
@database_option
@json_option
def audit_log(folder: Path, verify: bool, after: int, database: str, as_json: bool) -> None:
    """Show the audit log."""
    site = _site(folder, database)
    from dataclasses import asdict

    from ..server.database import audit

    with site.database.reading() as connection:
        if verify:
            broken = audit.broken(connection)
            click.echo(
                "The log is whole." if broken is None else f"Row {broken} was changed, or one before it taken out."
            )
            if broken is not None:
                raise SystemExit(1)
            return
        rows = audit.entries(connection, after, 10**6)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        click.echo(f"{row.id}\t{row.time:.0f}\t{row.user}\t{row.action}\t{row.project}\t{row.details}")
