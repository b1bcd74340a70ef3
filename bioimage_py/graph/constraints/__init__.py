"""What a person knows better than a graph: pairs of regions that must, or must not, be in one part.

Public names are those of `bioimage_py.graph`.
"""
