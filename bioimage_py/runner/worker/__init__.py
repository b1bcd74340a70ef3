"""A worker: it claims batches, runs their blocks and records them."""
