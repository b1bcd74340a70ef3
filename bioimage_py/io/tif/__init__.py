"""tif files and folders of tif slices."""

from .stacks import construct, is_stack, open_dataset, series_keys

__all__ = ["construct", "is_stack", "open_dataset", "series_keys"]
