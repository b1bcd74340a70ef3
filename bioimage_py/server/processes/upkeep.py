"""What a server does by itself now and then: events that are kept long enough go, and so does what was left behind."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import select

from ...errors import BioimageError
from ..database.tables import projects
from ..keeping import sweep
from ..site import Site
from ..transfer.uploads import Uploads

log = logging.getLogger("bioimage_py.server")
KEEP_DAYS = 90
"""Days for which events are kept at least."""
_EVERY = 86400.0
_FIRST = 60.0


def keep_up(site: Site, keep_days: float) -> None:
    """Look after a site once a day, from a thread; several processes may do so.

    Parameters
    ----------
    site : Site
    keep_days : float
        For so many days events are kept.
    """

    def work() -> None:
        pause = _FIRST
        while not over.wait(pause):
            tidy(site, time.time() - keep_days * 86400)
            pause = _EVERY

    over = threading.Event()
    threading.Thread(target=work, daemon=True, name="upkeep").start()


def tidy(site: Site, before: float, now: float | None = None) -> int:
    """Remove what nobody needs any more, in all projects, and return how many events went.

    These are events that are older than a time (seconds since 1970), drafts, copies and projects that were sent and not
    gone on with for a week, and folders of projects that a process was killed at.
    """
    with site.database.reading() as connection:
        ids = connection.execute(select(projects.c.id)).scalars().all()
    count = 0
    for id in ids:
        try:
            served = site.projects.served(id)
            count += served.forget(before)
            sweep(served, now)
        except (BioimageError, OSError) as error:  # one project, or the database for a moment: the next day does it
            log.error("upkeep", extra={"about": {"project": id, "error": type(error).__name__}})
    Uploads(site.root / "uploads").sweep(now)
    site.projects.sweep(now)
    return count
