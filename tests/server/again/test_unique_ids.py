"""What tests/spaces/test_unique_ids.py asks of a folder, asked of a server."""

from ...spaces.test_unique_ids import *  # noqa: F403
