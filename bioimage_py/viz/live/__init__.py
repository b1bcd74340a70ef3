"""Runs while they go on: as text in a terminal, as a page in a browser."""
