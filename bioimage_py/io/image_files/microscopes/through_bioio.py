"""Any file that a reader of bioio opens: an image for each scene, read plane by plane."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....errors import FormatError, StorageError
from ....extras import needing, pip_line
from ....sources.axes import Axis, kind_of
from ....sources.file import Opened
from ...details import Details
from ...tif.pages import Pages
from ..opening import one_of_several, only_image, pixel_sizes

_NAME = "bioio"
_opening = threading.Lock()


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under the names of their scenes."""
    return {key: open_dataset(path, key or None, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return "0", "1", ... for the scenes; "" where there is one."""
    return _keys(_image(path))


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a scene with all axes that bioio gives it: t, c, z, y, x, and s of colour."""
    only_image(path, None, mode, _NAME, kwargs)
    image, name = _scene(path, key)
    order = str(image.dims.order)
    at = order.index("Y")
    sizes = tuple(int(size) for size in image.shape)
    lead, page = sizes[:at], sizes[at:]

    def load(number: int) -> np.ndarray:
        where = dict(zip(order[:at], map(int, np.unravel_index(number, lead) if lead else ()), strict=True))
        try:
            return np.asarray(image.get_image_dask_data(order[at:], **where).compute(scheduler="synchronous"))
        except Exception as error:  # readers raise types of their own for damaged data
            said = f"{type(error).__name__}: {error}"
            raise StorageError(f"bioio cannot read plane {where} of {path}: {said}", remedy="copy it again") from error

    pages = Pages(lead, page, np.dtype(image.dtype).newbyteorder("="), load, lambda: None, lambda _: path)
    return Opened(pages, name, _axes(image, order))


def details(path: str, key: str | None) -> Details:
    """Return the channels and the sizes of pixels, and which reader it was."""
    image, _ = _scene(path, key)
    names = image.channel_names
    return Details(
        raw={"reader": type(image.reader).__module__.partition(".")[0], "scene": str(image.current_scene)},
        standard={"image": {"name": str(image.current_scene)}, "pixel_sizes": pixel_sizes(_axes(image))},
        channel_names=tuple(map(str, names)) if names else None,
        is_rgb="S" in str(image.dims.order),
    )


def _image(path: str) -> Any:
    with needing("bioio", "plugin='bioio'"):
        from bioio import BioImage
    with _opening:
        try:
            return BioImage(path)
        except FileNotFoundError:
            raise
        except Exception as error:  # the library lists which of its readers there are, and which are missing
            raise FormatError(
                f"No reader of bioio that is installed opens {path}: {type(error).__name__}: {error}",
                remedy=f"{pip_line('bioio-czi')}, or the reader of your format",
            ) from error


def _keys(image: Any) -> list[str]:
    return [""] if len(image.scenes) == 1 else [str(number) for number in range(len(image.scenes))]


def _scene(path: str, key: str | None) -> tuple[Any, str]:
    image = _image(path)
    name = one_of_several(path, key, _keys(image), "scenes")
    image.set_scene(int(name or 0))
    return image, name


def _axes(image: Any, order: str | None = None) -> tuple[Axis, ...]:
    letters = str(image.dims.order) if order is None else order
    sizes = image.physical_pixel_sizes
    scales = {name: getattr(sizes, name.upper(), None) for name in "zyx"}
    axes = []
    for name in ("c" if letter == "S" and "C" not in letters else letter.lower() for letter in letters):
        scale = scales.get(name)
        kind = "channel" if name == "s" else kind_of(name)
        axes.append(Axis(name, kind, "micrometer", abs(float(scale))) if scale else Axis(name, kind))
    return tuple(axes)
