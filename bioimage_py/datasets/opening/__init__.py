"""Open arrays of a process, and the copies in chunks that are opened in the place of what is slow to read."""
