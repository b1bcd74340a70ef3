"""How a project lies in its folder: atomic, versioned, locked."""
