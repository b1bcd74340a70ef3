"""Exact distances to the background, one axis after the other."""
