"""Data of other formats, in and out."""
