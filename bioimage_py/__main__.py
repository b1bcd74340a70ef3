"""``python -m bioimage_py`` is the command ``bioimage-py``."""

from .cli import main

main()
