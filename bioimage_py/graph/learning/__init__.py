"""Costs that are learned: which edges of a region graph are boundaries, from examples of labels that are right.

Public names are those of `bioimage_py.graph`.
"""
