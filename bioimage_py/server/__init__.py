"""A server of label projects: ordinary project folders over HTTP, and a database of accounts, events and audit."""
