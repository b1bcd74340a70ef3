"""The driver of a run: supervisor, events, progress, report."""
