"""Volumes in a browser: neuroglancer, which serves its own page and asks for the voxels that it shows."""
