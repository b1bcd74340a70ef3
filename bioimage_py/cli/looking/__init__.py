"""Commands that show data and runs."""
