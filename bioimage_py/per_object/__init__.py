"""What meshes and skeletons have in common: pieces of objects from blocks, and a file or shard entry for each object."""
