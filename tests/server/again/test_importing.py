"""What tests/projects/test_importing.py asks of a folder, asked of a server."""

from ...projects.test_importing import *  # noqa: F403
