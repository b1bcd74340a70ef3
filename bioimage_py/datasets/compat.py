"""Names that some programs know these classes by."""

from ..errors import DatasetError as DatamintDatasetException
from .base import BaseDataset as DatamintBaseDataset
from .volumes import ImageDataset as DatamintDataset

__all__ = ["DatamintBaseDataset", "DatamintDataset", "DatamintDatasetException"]
