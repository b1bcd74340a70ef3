"""Writing images: what the writers of several formats share, and images as arrays of containers."""
