"""Layers of WebKnossos datasets, local and on a server."""
