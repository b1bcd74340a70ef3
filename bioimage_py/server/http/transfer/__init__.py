"""Routes of what travels in pieces."""
