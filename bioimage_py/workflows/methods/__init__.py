"""The ways in which `segment` finds objects."""
