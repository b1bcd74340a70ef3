"""What reading an image that was written gives otherwise than it was: the order of its axes, their names, its shape."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from ...errors import BioimageError
from ...sources.axes import Axis
from ...sources.file import open_source
from ..formats import Format, split_path


def changed(
    path: str, entry: Format, axes: Sequence[Axis], shape: Sequence[int], stands_for: Mapping[int, int] | None = None
) -> tuple[str, ...]:
    """Compare an image with the first one of the file that it was written to, whose voxels are not looked at.

    Parameters
    ----------
    path : str
        Of the file, or of an array in one.
    entry : Format
        Its format.
    axes, shape : sequence
        Of the image.
    stands_for : mapping, optional
        Where the file is a small one, written in place of a large one: which size each of its own stands for.

    Returns
    -------
    tuple of str
        Nothing, or what is read in place of the axes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            container, key = split_path(path)
            with open_source(container, key or entry.first or None, format=entry.name) as source:
                names, sizes = [axis.name for axis in source.axes], source.shape
    except BioimageError:  # who reads it is told
        return ()
    own = [axis.name for axis in axes]
    if tuple(sizes) == tuple(shape) and names == own:
        return ()
    if sorted(names) == sorted(own):
        return (f"order of the axes: {', '.join(own)} is read as {', '.join(names)}",)
    large = {} if stands_for is None else stands_for
    added = "" if "c" in own else "c"  # colours of a picture, whose number is theirs
    told = tuple(size if name == added else large.get(size, size) for name, size in zip(names, sizes, strict=True))
    meant = tuple(large.get(size, size) for size in shape)
    return (f"axes: {', '.join(own)} of {meant} are read as {', '.join(names)} of {told}",)
