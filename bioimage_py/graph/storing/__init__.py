"""Region graphs in files: written piece by piece, read column by column, and merged of tables that no memory holds.

Public names are those of `bioimage_py.graph`.
"""
