"""tif files and folders of tif slices."""

from .stacks import construct, is_stack, keys, open_dataset

__all__ = ["construct", "is_stack", "keys", "open_dataset"]
