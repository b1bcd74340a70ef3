"""Work over all data sets of a project."""
