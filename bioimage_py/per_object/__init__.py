"""What meshes and skeletons have in common: pieces of objects from blocks, and files or shards of objects."""
