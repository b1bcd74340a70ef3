"""Access to stores: which credentials are tried, and the errors of tensorstore in words."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from ...errors import AccessError, SourceNotFoundError, StorageError
from .credentials import aws_credentials

if TYPE_CHECKING:
    from .location import Location


_STATUS = re.compile(r"(?:\[HTTP code |\[http_response_code=')(\d+)")
_OS_CODE = re.compile(r"\[os_error_code='(\d+)'\]")
_DAMAGED = re.compile(
    r"DATA_LOSS|Blosc error|Invalid blosc|inflate\(\) failed|decompress\w*\(?\)? (?:failed|error)|Truncated|truncated"
    r"|Expected header of length|Data corruption|Digest mismatch|bad input data|Unexpected N5 chunk mode"
    r"|Requested byte range \[.*?\) (?:is not valid for value|was not satisfied by response with byte range)"
)
_UNSUPPORTED = re.compile(r"varlength chunks not supported")

DELETED = "restore it from a copy, or delete it: its voxels then read as {fill}"
"""What to do about an object that is known to be damaged; nothing else is a reason to delete data."""
REPACK = "unpack the archive into a folder; or pack that again without compression: zip -0 -r NEW.zip ."
"""What to do about an archive that the storage engine cannot read as it is."""


def reason_of(error: BaseException) -> str:
    """Return tensorstore's message without the parts that are for its developers."""
    return re.split(r" \[(?:source locations|tensorstore_spec|os_error_code|http_response|curl_code)\b", str(error))[0]


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of tensorstore came with, None if none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def failed(what: str, place: Location, error: BaseException, *, remedy: str = "") -> StorageError | SourceNotFoundError:
    """Return the error to raise where a store failed: it names URL, status and remedy.

    Parameters
    ----------
    what : str
        What was tried, such as "read [0:64, 0:64] of".
    place : Location
    error : BaseException
        What tensorstore raised.
    remedy : str, optional
        Instead of the remedy that follows from the status.
    """
    if isinstance(error, StorageError | SourceNotFoundError):
        return error
    status, reason = status_of(error), reason_of(error)
    kind: type[StorageError] | type[SourceNotFoundError] = StorageError
    number = int(code[1]) if (code := _OS_CODE.search(str(error))) else getattr(error, "errno", None)
    refused = status in (401, 403) or reason.startswith(("PERMISSION_DENIED", "UNAUTHENTICATED"))
    if isinstance(error, PermissionError) or (refused and place.scheme == "file"):
        kind, number = AccessError, errno.EACCES
        remedy = remedy or f"check the permissions: ls -ld {place.url}"
    elif "credentials" in reason or refused:
        kind, number = AccessError, errno.EACCES
        remedy = remedy or _access_remedy(place)
        reason += f" (credentials tried: {credentials_of(place)})"
    elif reason.startswith("NOT_FOUND"):
        kind, number = SourceNotFoundError, errno.ENOENT
        remedy = remedy or "check the URL and the key"
    raised = kind(f"Cannot {what} {place.url}: {reason}", remedy=remedy or _remedy(place, reason, status))
    raised.errno = number
    return raised


def credentials_of(place: Location) -> str:
    """Say in words which credentials the store is asked with."""
    if place.scheme == "s3":
        return aws_credentials(place.options)[1]
    if place.scheme == "gs":
        return os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") or "the application default credentials, if any"
    return "headers given" if place.options.get("headers") else "none"


def _access_remedy(place: Location) -> str:
    if place.scheme == "s3":
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass storage_options={'profile': '...'};"
            " {'anon': True} for a public bucket"
        )
    if place.scheme == "gs":
        return "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
    return "pass storage_options={'headers': {'Authorization': 'Bearer $TOKEN'}} and set TOKEN in the environment"


def _remedy(place: Location, reason: str, status: int | None) -> str:
    if _UNSUPPORTED.search(reason):
        return "nothing is wrong with the data: read it with the program that wrote it, or convert it to plain chunks"
    if place.archive and "ZIP" in reason:
        return REPACK
    if _DAMAGED.search(reason):
        return f"the object that the message names is damaged: {DELETED.format(fill='the fill value')}"
    if place.scheme in ("file", "memory"):
        return "check the disk, and that the metadata of the array belong to its chunks"
    if "Timeout" in reason or "too slow" in reason:
        return "the server stalls: try later, or wait longer: TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS=300 (default 60)"
    if status is not None or "CURL error" in reason:
        return "try later; storage_options={'retries': 12} waits longer"
    return "check the URL and storage_options"
