"""What a server does by itself now and then: events that are kept long enough go."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import select

from ..errors import BioimageError
from .database.tables import projects
from .site import Site

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


def tidy(site: Site, before: float) -> int:
    """Keep events of all projects no more that are older than a time (seconds since 1970); return how many went."""
    with site.database.reading() as connection:
        ids = connection.execute(select(projects.c.id)).scalars().all()
    count = 0
    for id in ids:
        try:
            count += site.projects.served(id).forget(before)
        except (BioimageError, OSError) as error:  # one project, or the database for a moment: the next day does it
            log.error("upkeep", extra={"about": {"project": id, "error": type(error).__name__}})
    return count
