"""Partitions that are made to heed constraints, and what is kept of a partition for that.

Public names are those of `bioimage_py.graph`.
"""
