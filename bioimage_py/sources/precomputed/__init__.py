"""Layers in the precomputed format of neuroglancer and CloudVolume."""
