"""Values between voxels, on numpy arrays: beyond the border, splines, and lookups at any place."""
