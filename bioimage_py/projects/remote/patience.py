"""How long a request is repeated that was not answered, or whose answer says to wait."""

from __future__ import annotations

import random
import time

SECONDS = 60.0
"""For which a server that is away is asked again."""
_SLOW = 3600.0
"""For which one is asked again that has taken a request and works at it."""
_WAITS = 5
_LONGEST_WAIT = 30.0


class Patience:
    """That of one request.

    Parameters
    ----------
    seconds : float, optional
        For which a server that is away is asked again; None: `SECONDS`.
    slow : bool
        Whether the work may take longer than an answer is waited for: by the client, or by a proxy in between.
    """

    def __init__(self, seconds: float | None = None, *, slow: bool = False) -> None:
        self._seconds = SECONDS if seconds is None else seconds
        self._until = time.monotonic() + self._seconds
        self._works = time.monotonic() + (_SLOW if slow else 0.0)
        self._waits = 0

    def waits(self, *, working: bool = False) -> bool:
        """Wait before the next attempt, or return False: it has been long enough.

        Parameters
        ----------
        working : bool
            The server has taken the request, and did not answer in time.
        """
        now = time.monotonic()
        if working and now < self._works:
            self._until = max(self._until, now + self._seconds)
        elif now > self._until:
            return False
        self._waits += 1
        time.sleep(_pause(self._waits))
        return True

    def waits_as_told(self, seconds: str) -> bool:
        """Wait as an answer says (its Retry-After), a few times; return False from then on."""
        if self._waits >= _WAITS:
            return False
        self._waits += 1
        told = float(seconds) if seconds.isdecimal() else _pause(self._waits)
        time.sleep(min(_LONGEST_WAIT, told) + random.uniform(0, 0.1))
        return True


def _pause(number: int) -> float:
    return min(5.0, 0.1 * 2.0**number) * random.uniform(0.5, 1.0)
