"""Objects measured block by block: tables that merge."""
