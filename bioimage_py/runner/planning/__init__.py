"""From a call to a plan: checks, grid, write groups, memory, defaults."""
