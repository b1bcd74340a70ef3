"""Who may use the server, and what: users, passwords, tokens, and roles in projects."""
