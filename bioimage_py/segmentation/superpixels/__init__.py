"""Superpixels: pieces of objects, small enough that no boundary runs through one; a region graph joins them.

Public names are those of `bioimage_py.segmentation`.
"""
