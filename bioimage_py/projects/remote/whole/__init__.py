"""Copies of images, and whole projects, on their way to a server and from it."""
