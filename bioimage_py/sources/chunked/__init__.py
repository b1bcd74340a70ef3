"""Chunked storage: its metadata, its files, its encoded chunks."""
