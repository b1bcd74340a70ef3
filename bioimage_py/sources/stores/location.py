"""Where data lies: one value for a place in a store, and the requests made of it, with their retries.

Stores are those of tensorstore: local folders, zip archives, http(s) servers, S3, Google Cloud Storage, and the memory
of this process. URLs are written as elsewhere in the field (``s3://bucket/key``); an archive in a URL follows the URL
pipelines of tensorstore and Neuroglancer: ``https://server/a.zip|zip:inner``.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import FormatError, ParameterError, StorageError
from ...system.json_text import LARGEST, parse_json
from ...system.threads import usable_cores
from ..forks import check, engine
from ..spec import FrozenParams
from .credentials import aws_credentials, s3_endpoint
from .errors import failed
from .paths import check_path, resolve

OPTIONS = ("anon", "endpoint_url", "headers", "profile", "region", "requester_pays", "retries")

# A request is tried again after 0.5, 1, 2, 4, 8, 8 seconds (and up to as much more, at random), then it is an error.
RETRIES = 6
_FIRST_DELAY, _LONGEST_DELAY = "500ms", "8s"
# tensorstore waits for ever on a server that has stopped sending; so long without a byte is a failed request instead.
_STALLED_SECONDS = "60"
_FILE_THREADS = 4
"""Files that are read and written at once, with more cores as many as these."""

SCHEMES = {"http": "http", "https": "http", "s3": "s3", "gs": "gcs", "memory": "memory"}
_RETRIED = {"http": "http_request_retries", "s3": "s3_request_retries", "gcs": "gcs_request_retries"}
_ARCHIVE = re.compile(r"^(.*?[^/]\.(?:zip|ozx))(?:/(.*))?$", re.IGNORECASE | re.DOTALL)
_PIPE = "|zip:"


@dataclass(frozen=True)
class Location:
    """A place in a store: a folder or its like, under which names are looked up.

    Made by `locate`.

    Parameters
    ----------
    url : str
        Absolute local path, or URL; without a slash at its end. ``|zip:`` is followed by a path in an archive.
    options : mapping
        How the store is reached (see `locate`).
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=lambda: FrozenParams({}))
    scheme: str = field(init=False, repr=False, compare=False)
    """Where the data, or the archive that holds it, lies: "file", "http", "https", "s3", "gs" or "memory"."""
    archive: bool = field(init=False, repr=False, compare=False)
    """Whether this is inside a zip archive."""
    folder: str | None = field(init=False, repr=False, compare=False)
    """Local path, None where this is no local folder."""
    writable: bool = field(init=False, repr=False, compare=False)
    """Whether the store can be written at all: archives and web servers cannot."""
    reopenable: bool = field(init=False, repr=False, compare=False)
    """Whether another process can reach it."""

    def __post_init__(self) -> None:
        scheme, found, _ = self.url.partition("://")
        scheme, archive = scheme if found else "file", _PIPE in self.url
        told = {
            "scheme": scheme,
            "archive": archive,
            "folder": None if archive or scheme != "file" else self.url,
            "writable": not archive and scheme not in ("http", "https"),
            "reopenable": scheme != "memory",
        }
        for name, value in told.items():
            object.__setattr__(self, name, value)
        try:
            self.url.encode()
        except UnicodeEncodeError:
            raise ParameterError(
                f"the path {self.url!r} is not UTF-8, as stores of chunks need it", remedy="rename the folder or file"
            ) from None

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, key: str) -> Location:
        """Return the place of a key under this one."""
        key = key.strip("/")
        if not key:
            return self
        self._check(key)
        url, query = self._without_query()
        gap = "" if url.endswith((_PIPE, "/")) else "/"
        return Location(f"{url}{gap}{key}{query}", self.options)

    def _check(self, name: str) -> None:
        """Refuse a name that leads out of this place, or that its store takes for another.

        Raises
        ------
        ParameterError
        """
        parts = name.split("/")
        if ".." in parts or ("." in parts and len(parts) > 1):
            raise ParameterError(f"{name!r} leads out of {self}.", remedy="name what lies in it")
        if self.scheme == "file":
            check_path(name)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return re.split(r"/|\|zip:", self._without_query()[0])[-1]

    @property
    def parent(self) -> Location | None:
        """The place above, in the same store; None at its root (the archive, the bucket, the server)."""
        url, query = self._without_query()
        base, pipe, inner = url.partition(_PIPE)
        if pipe:
            return Location(base + pipe + inner.rpartition("/")[0], self.options) if inner else None
        head = base.rpartition("/")[0] or "/"
        if head == base or head.endswith(":/"):
            return None
        return Location(head + query, self.options)

    def _without_query(self) -> tuple[str, str]:
        if self.archive or self.scheme not in ("http", "https"):
            return self.url, ""
        url, mark, query = self.url.partition("?")
        return url, mark + query

    @property
    def identity(self) -> tuple[str, str, str]:
        """Equal for the same place."""
        if self.scheme == "file":
            base, pipe, inner = self.url.partition(_PIPE)
            return ("file", os.path.realpath(base) + pipe + inner, "")
        return (self.scheme, self.url, str(s3_endpoint(self.options)) if self.scheme == "s3" else "")

    def kvstore(self) -> dict[str, Any]:
        """Return tensorstore's JSON for the place, its path ending in a slash (or empty, for the root)."""
        base, pipe, inner = self.url.partition(_PIPE)
        if not pipe:
            return _base_kvstore(self, base, "/")
        return {"driver": "zip", "base": _base_kvstore(self, base, ""), "path": f"{inner}/" if inner else ""}

    def context(self) -> dict[str, Any]:
        """Return tensorstore's context resources for the store: retries with back-off, and credentials."""
        driver = SCHEMES.get(self.scheme, "file")
        resources: dict[str, Any] = {}
        if driver in _RETRIED:
            retries = int(self.options.get("retries", RETRIES))
            resources[_RETRIED[driver]] = {
                "max_retries": max(1, retries),
                "initial_delay": _FIRST_DELAY,
                "max_delay": _LONGEST_DELAY,
            }
        if driver == "s3":
            resources["aws_credentials"] = aws_credentials(self.options)[0]
        return resources

    def open_context(self, extra: Mapping[str, Any] | None = None, threads: int | None = None) -> Any:
        """Return a ``tensorstore.Context`` for the store, with further resources; all share this process's memory.

        All that are given the same number of threads decode on these.
        """
        tensorstore = engine()

        above = _shared_context() if threads is None else _threads_context(threads)
        return tensorstore.Context({**self.context(), **(extra or {})}, above)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file or object, None if there is none.

        Raises
        ------
        AccessError, StorageError
            If the store refuses, or fails after all retries.
        """
        self._check(name)
        if self.folder is not None:
            try:
                with open(f"{self.folder}/{name}", "rb") as file:
                    if (size := os.fstat(file.fileno()).st_size) > LARGEST:
                        raise StorageError(
                            f"{self}/{name} has {size} bytes; metadata have {LARGEST} at most.",
                            remedy="restore the file from a copy",
                        )
                    return file.read()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            except OSError as error:
                raise failed(f"read {name!r} of", self, error) from error
        try:
            found = open_kvstore(self).read(name).result()
        except (ValueError, OSError) as error:
            raise failed(f"read {name!r} of", self, error) from error
        return bytes(found.value) if found.state == "value" else None

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file; an empty one if there is no such file or it is no object."""
        try:
            content = parse_json(self.read(name) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def exists(self, name: str) -> bool:
        """Tell whether there is a file or object of that name."""
        if self.folder is not None:
            return os.path.isfile(f"{self.folder}/{name}")
        return self.read(name) is not None

    def write(self, name: str, content: bytes) -> None:
        """Write a file or object so that it appears whole.

        Raises
        ------
        AccessError, StorageError
            If the store refuses, or fails after all retries.
        """
        self._check(name)
        try:
            open_kvstore(self).write(name, content).result()
        except (ValueError, OSError) as error:
            raise failed(f"write {name!r} of", self, error) from error

    def names(self) -> list[str] | None:
        """Return the names of all files below, relative to this place, sorted; None where the store cannot list."""
        try:
            return sorted(name.decode() for name in open_kvstore(self).list().result())
        except NotImplementedError:  # web servers
            return None
        except (ValueError, OSError) as error:
            raise failed("list", self, error) from error

    def delete(self, name: str = "") -> None:
        """Delete a file or object; without a name all that is below."""
        tensorstore = engine()

        self._check(name)
        store = open_kvstore(self)
        try:
            if name:
                store.write(name, None).result()
            else:
                store.delete_range(tensorstore.KvStore.KeyRange()).result()
        except (ValueError, OSError) as error:
            raise failed("delete", self, error) from error


def locate(url: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Location:
    """Return the place that a path or URL names.

    Parameters
    ----------
    url : str or os.PathLike
        Local path; ``file://``, ``http://``, ``https://``, ``s3://bucket/key``, ``gs://bucket/key``,
        ``memory://name``. A part that ends in ".zip" or ".ozx" and is no local folder is an archive: "a.zip/raw" and
        "a.zip|zip:raw" name "raw" in it.
    options : mapping, optional
        ``anon`` (True: no credentials), ``profile`` (of the AWS configuration), ``region``, ``endpoint_url`` and
        ``requester_pays`` for S3; ``headers`` for http (a mapping; ``$NAME`` stands for an environment variable, so
        that no secret is stored with the place); ``retries`` (default 6).

    Raises
    ------
    FormatError
        If the URL's scheme is not known.
    ParameterError
        If an option is not known.
    """
    if not isinstance(options or {}, Mapping):
        raise ParameterError(f"storage_options={options!r} is no mapping", remedy='storage_options={"anon": True}')
    given = dict(options or {})
    if unknown := sorted(set(given) - set(OPTIONS)):
        raise ParameterError(
            f"Unknown storage options {unknown} for {url}.",
            remedy=f"known are {', '.join(OPTIONS)}; keys and secrets come from the environment or a profile",
        )
    text = resolve(url)
    base, pipe, inner = text.partition(_PIPE)
    if not pipe and (found := _ARCHIVE.match(base)) and not os.path.isdir(found[1]):
        base, pipe, inner = found[1], _PIPE, found[2] or ""
    scheme = base.partition("://")[0] if "://" in base else "file"
    if scheme != "file" and scheme not in SCHEMES:
        raise FormatError(
            f"{text}: the scheme {scheme!r} is not known; known are file, {', '.join(SCHEMES)}.",
            remedy="check the URL",
        )
    return Location(base + pipe + inner.strip("/"), FrozenParams(given))


def _base_kvstore(place: Location, base: str, end: str) -> dict[str, Any]:
    """JSON of the store itself; ``end`` closes its path: "/" for a folder, "" for one file."""
    if place.scheme == "file":
        check_path(base)
        return {"driver": "file", "path": base.rstrip("/") + end}
    driver = SCHEMES[place.scheme]
    if driver == "http":
        return _http_kvstore(place, base, end)
    bucket, _, path = base.partition("://")[2].partition("/")
    if driver == "memory":
        return {"driver": "memory", "path": "/".join(part for part in (bucket, path) if part) + end}
    path = path + end if path else ""
    if driver == "gcs":
        return {"driver": "gcs", "bucket": bucket, "path": path}
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "path": path}
    region = place.options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint := s3_endpoint(place.options):
        spec["endpoint"] = endpoint
        region = region or "us-east-1"
    if region:
        spec["aws_region"] = region
    if place.options.get("requester_pays"):
        spec["requester_pays"] = True
    return spec


def _http_kvstore(place: Location, base: str, end: str) -> dict[str, Any]:
    parts = urlsplit(base)
    query = f"?{parts.query}" if parts.query else ""
    # A name comes before the query of a URL: "http://h/a?token=x" / "zarr.json" is "http://h/a/zarr.json?token=x".
    path = unquote(parts.path).rstrip("/") + end
    spec: dict[str, Any] = {"driver": "http", "base_url": f"{parts.scheme}://{parts.netloc}{query}", "path": path}
    if headers := place.options.get("headers"):
        spec["headers"] = [f"{name}: {os.path.expandvars(str(value))}" for name, value in headers.items()]
    return spec


@functools.cache
def _shared_context() -> Any:
    """The context above all others: it holds the memory that ``memory://`` stands for, and the threads for files."""
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", _STALLED_SECONDS)
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
    tensorstore = engine()

    return tensorstore.Context({"file_io_concurrency": {"limit": max(_FILE_THREADS, usable_cores())}})


@functools.cache
def _threads_context(threads: int) -> Any:
    """A context with so many threads to decode; one for all, since tensorstore takes 5 ms to start each thread."""
    tensorstore = engine()

    return tensorstore.Context({"data_copy_concurrency": {"limit": threads}}, _shared_context())


def open_kvstore(place: Location) -> Any:
    """Return the ``tensorstore.KvStore`` of a place."""
    check()
    secrets = tuple(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return _cached_kvstore(json.dumps(place.kvstore()), json.dumps(place.context()), secrets)


@functools.lru_cache(32)
def _cached_kvstore(spec: str, context: str, secrets: tuple[str | None, ...]) -> Any:
    """Open a store; kept, because the directory of an archive is read once for each handle."""
    tensorstore = engine()

    resources = tensorstore.Context(json.loads(context), _shared_context())
    return tensorstore.KvStore.open(json.loads(spec), context=resources).result()
