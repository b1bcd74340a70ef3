"""What tests/projects/test_sets.py asks of a folder, asked of a server."""

from ...projects.test_sets import test_layers_store_sets  # noqa: F401 - the others have no project
