"""Build the API documentation: `python docs/build_api.py OUTPUT_FOLDER`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pdoc
import pdoc.render

import bioimage_py


def resolve_lazy_names() -> None:
    """Put every public name into its module; pdoc does not look at names that are imported on first use."""
    modules = [bioimage_py]
    for name in bioimage_py.__all__:
        getattr(bioimage_py, name)
        if f"{bioimage_py.__name__}.{name}" in sys.modules:
            modules.append(importlib.import_module(f"{bioimage_py.__name__}.{name}"))
    for module in modules:
        for name in getattr(module, "__all__", ()):
            setattr(module, name, getattr(module, name))


def main() -> None:
    """Write the pages."""
    resolve_lazy_names()
    pdoc.render.configure(docformat="numpy")
    output = Path(sys.argv[1])
    pdoc.pdoc(bioimage_py.__name__, output_directory=output)
    print(f"{output / 'index.html'}")


if __name__ == "__main__":
    main()
