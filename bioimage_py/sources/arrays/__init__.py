"""Arrays of libraries, in memory and in storage."""
