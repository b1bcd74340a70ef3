"""Links to published data in viewers of the web."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.parse import quote

from ...errors import ArgumentError, ParameterError

NEUROGLANCER = "https://neuroglancer-demo.appspot.com"
_WEBKNOSSOS = re.compile(r"https?://[^/]+/(datasets|annotations)/")
_FORMATS = {"zarr": "zarr://", "n5": "n5://", "precomputed": "precomputed://"}
_LAYER = re.compile(r"(?P<format>precomputed|zarr|n5)://(?P<url>\w+://.+)")


def link(*urls: str, labels: Sequence[int] = (), site: str = NEUROGLANCER) -> str:
    """Return the address at which anybody can look at published volumes, without Python.

    The page of neuroglancer reads the data itself, so they must lie where a browser may read them: a web server, S3
    or Google Cloud Storage, with access from other pages (CORS). The address of a WebKnossos dataset is its link.

    Parameters
    ----------
    *urls : str
        OME-Zarr, zarr (``https://.../image.zarr``), n5 or precomputed (``precomputed://gs://bucket/layer``).
    labels : sequence of int, default ()
        Which of them are labels.
    site : str, optional
        Another page of neuroglancer.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError, ParameterError
        No URL, or one that is none of these.

    Examples
    --------
    >>> link("https://example.org/datasets/cells")
    'https://example.org/datasets/cells'
    """
    if not urls:
        raise ArgumentError("there is nothing to link to", remedy='link("https://example.org/image.zarr")')
    if len(urls) == 1 and _WEBKNOSSOS.match(urls[0]):
        return urls[0]
    layers = []
    for number, url in enumerate(urls):
        name = re.sub(r"\.(ome\.)?(zarr|n5)$", "", url.rstrip("/").rpartition("/")[2])
        kind = "segmentation" if number in labels else "image"
        layers.append({"type": kind, "source": _source(url), "name": f"{name} {number}" if number else name})
    return f"{site}/#!{quote(json.dumps({'layers': layers, 'layout': '4panel'}, separators=(',', ':')))}"


def _source(url: str) -> str:
    """A URL as neuroglancer has it."""
    given = _LAYER.fullmatch(url.rstrip("/"))
    kind = None if given is None else given["format"]
    bare = url.rstrip("/") if given is None else given["url"]
    if kind is None:
        kind = next((name for name in ("zarr", "n5") if re.search(rf"\.{name}(/|$)", bare)), None)
    if kind is None or not re.match(r"(https?|s3|gs)://", bare):
        raise ParameterError(
            f"{url!r} is no zarr, n5 or precomputed volume on a web server, S3 or Google Cloud Storage",
            remedy="a URL such as https://example.org/image.zarr or precomputed://gs://bucket/layer; without --link"
            " volumes of this machine are shown too",
        )
    return f"{_FORMATS[kind]}{bare}"
