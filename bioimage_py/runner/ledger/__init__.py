"""What has happened in a run: batches taken, blocks done, values, failures."""
