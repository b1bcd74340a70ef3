"""Where data lie: folders, buckets, web servers, archives."""
