"""Passwords: argon2id, as OWASP's password storage cheat sheet has it (19 MiB, 2 passes, 1 lane)."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ...errors import ParameterError

SHORTEST, LONGEST = 10, 1024
_AT_ONCE = threading.BoundedSemaphore(2)
"""Each takes 19 MiB and a core for 30 ms: logins must not stop everything else."""
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _common() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("common_passwords.txt").read_text().split())


@cache
def _nobody() -> str:
    return _hasher.hash("the password of nobody")


def hashed(password: str, name: str = "") -> str:
    """Return what is stored of a password.

    Parameters
    ----------
    password : str
        10 to 1024 characters of any kind.
    name : str
        Of the user.

    Raises
    ------
    ParameterError
        It is too short, too long, or easily guessed.
    """
    given = _normal(password)
    if not SHORTEST <= len(given) <= LONGEST:
        raise ParameterError(
            f"A password has {SHORTEST} to {LONGEST} characters, this one {len(given)}.", remedy="choose another one"
        )
    plain = given.casefold()
    if plain in _common() or len(set(plain)) < 4 or (name and plain in (name * (SHORTEST + 1))):
        raise ParameterError("This password is easily guessed.", remedy="choose another one, such as four words")
    return rehashed(password)


def rehashed(password: str) -> str:
    """Return what is stored of a password, whatever it is."""
    with _AT_ONCE:
        return _hasher.hash(_normal(password))


def fits(password: str, stored: str | None) -> bool:
    """Whether a password is the stored one; as slow where there is no such user (None)."""
    given = _normal(password)[:LONGEST]
    with _AT_ONCE:
        try:
            _hasher.verify(_nobody() if stored is None else stored, given)
        except (VerificationError, InvalidHashError):
            return False
    return stored is not None


def is_outdated(stored: str) -> bool:
    """Whether a password was hashed with less than is asked for now."""
    return _hasher.check_needs_rehash(stored)


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)
