"""Six functions for every file, in the manner of imageio v3: ``import bioimage_py.io.v3 as iio``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .functions import imiter, immeta, imopen, improps, imread, imwrite
    from .handle import ReadHandle
    from .info import ImageInfo
    from .properties import ImageProperties
    from .writing import WriteHandle, WriteReport
else:
    from ...lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "ImageInfo": ".info",
            "ImageProperties": ".properties",
            "ReadHandle": ".handle",
            "WriteHandle": ".writing",
            "WriteReport": ".writing",
            "imiter": ".functions",
            "immeta": ".functions",
            "imopen": ".functions",
            "improps": ".functions",
            "imread": ".functions",
            "imwrite": ".functions",
        },
    )

__all__ = [
    "ImageInfo",
    "ImageProperties",
    "ReadHandle",
    "WriteHandle",
    "WriteReport",
    "imiter",
    "immeta",
    "imopen",
    "improps",
    "imread",
    "imwrite",
]
