"""Filters: one value per voxel from its neighbourhood."""

from .gaussian import gaussian_smoothing

__all__ = ["gaussian_smoothing"]
