"""Layers of viewers (Neuroglancer, WebKnossos) as image files, through their sources."""
