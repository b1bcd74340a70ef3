"""Label maps on a server as arrays: drafts that are written, versions that are read."""
