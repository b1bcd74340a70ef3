"""What keeps a server running: its processes, what it logs and counts, and what it does by itself."""
