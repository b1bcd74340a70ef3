"""Taking labels out of a project: COCO boxes, OME-Zarr label images, nnU-Net data sets."""

from .exchange.coco import export_coco
from .exchange.nnunet import export_nnunet
from .exchange.ome_labels import export_ome_labels

__all__ = ["export_coco", "export_nnunet", "export_ome_labels"]
