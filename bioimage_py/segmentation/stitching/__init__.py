"""Segmentations made tile by tile, and joined by what neighbouring tiles say of the same voxels."""
