"""What tests/projects/test_labelmaps.py asks of a folder, asked of a server."""

from ...projects.test_labelmaps import *  # noqa: F403
