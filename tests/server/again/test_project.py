"""What tests/projects/test_project.py asks of a folder, asked of a server."""

from ...projects.test_project import *  # noqa: F403
