"""What tests/projects/test_apply.py asks of a folder, asked of a server."""

from ...projects.test_apply import *  # noqa: F403
