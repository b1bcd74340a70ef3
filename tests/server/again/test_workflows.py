"""What tests/projects/test_workflows.py asks of a folder, asked of a server."""

from ...projects.test_workflows import *  # noqa: F403
