"""Watersheds of a whole volume, from blocks that are flooded once each; what is reached over a face is decided later.

Public names are those of `bioimage_py.segmentation`.
"""
