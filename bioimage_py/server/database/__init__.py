"""The database beside the project folders: accounts, tokens, memberships, the order of events, the audit log."""
