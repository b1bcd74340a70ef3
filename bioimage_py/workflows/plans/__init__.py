"""What whole jobs will need, before they begin."""
