"""What tests/spaces/test_in_projects.py asks of a folder, asked of a server."""

from ...spaces.test_in_projects import *  # noqa: F403
