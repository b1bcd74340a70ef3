"""What tests/projects/test_edit.py asks of a folder, asked of a server."""

from ...projects.test_edit import *  # noqa: F403
