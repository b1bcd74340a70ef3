"""A segmentation that a person corrects: what is solved again, and the blocks that change.

Public names are those of `bioimage_py.workflows`.
"""
