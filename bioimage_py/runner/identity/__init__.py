"""Is it the same call? What is compared between a call and an unfinished run."""
