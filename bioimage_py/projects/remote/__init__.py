"""Projects on a server, over HTTP."""
