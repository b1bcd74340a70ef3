"""What tests/projects/test_locks.py asks of a folder, asked of a server."""

from ...projects.test_locks import *  # noqa: F403
