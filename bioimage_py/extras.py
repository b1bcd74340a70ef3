"""Optional libraries: what needs them, and what one types to get them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingDependencyError

DISTRIBUTION = "bioimage-blocks"
"""What pip calls this package. The import name is that of another one on PyPI, bioimage-py."""

_EXTRAS = {
    "alembic": "server",
    "argon2": "server",
    "DracoPy": "meshes",
    "av": "video",
    "cloudfiles": "cloudvolume",
    "cloudvolume": "cloudvolume",
    "fastapi": "server",
    "distributed": "dask",
    "h5py": "io",
    "httpx": "client",
    "jinja2": "server",
    "imagecodecs": "io",
    "liffile": "microscopy",
    "joserfc": "sso",
    "matplotlib": "viz",
    "mrcfile": "em",
    "nd2": "microscopy",
    "neuroglancer": "view",
    "nibabel": "medical",
    "onnxruntime": "inference",
    "openpyxl": "tables",
    "pg8000": "server",
    "pi_heif": "heif",
    "pyarrow": "tables",
    "pydantic": "projects",
    "pydicom": "medical",
    "pyfqmr": "meshes",
    "shapely": "spaces",
    "sqlalchemy": "server",
    "sklearn": "learning",
    "submitit": "slurm",
    "tifffile": "io",
    "uvicorn": "server",
    "webknossos": "webknossos",
    "wkw": "webknossos",
    "z5py": "io",
}
"""The extra of this package that brings a library."""


def pip_line(library: str) -> str:
    """What installs a library: the extra that brings it, or the library itself (such as "zarr[remote]").

    pip takes the extras of the copy that is installed, so the line is right after any way of installing: a checkout, a
    wheel, an index.
    """
    name = f"{DISTRIBUTION}[{_EXTRAS[library]}]" if library in _EXTRAS else library
    return f"pip install '{name}'" if "[" in name else f"pip install {name}"


def pip_upgrade_line(package: str) -> str:
    """What brings the newest version of a package that is installed."""
    return f"pip install --upgrade {package}"


def missing(what: str, library: str, detail: object = "") -> MissingDependencyError:
    """The error for something that cannot be done without a library."""
    said = f" ({detail})" if detail else ""
    return MissingDependencyError(f"{what} needs {library}, which is not installed{said}.", remedy=pip_line(library))


def missing_library(library: str) -> str:
    """What to type where a library is not installed; empty where it is."""
    return "" if importlib.util.find_spec(library) is not None else pip_line(library)


def need(library: str, what: str) -> None:
    """Raise MissingDependencyError if a library is not there; it is not imported, so this is for the first step."""
    if importlib.util.find_spec(library) is None:
        raise missing(what, library)


@contextmanager
def needing(library: str, what: str) -> Iterator[None]:
    """Around imports of a library: where they fail, MissingDependencyError says what needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(what, library, "" if error.name == library else error) from error
    except ImportError as error:
        raise missing(what, library, error) from error
