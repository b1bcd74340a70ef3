"""How Sphinx builds the site: `make docs`. Pages are Markdown (MyST), those of the API come from docstrings."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import api_links
import api_pages
import site_pages

import bioimage_py

project = "bioimage_py"
release = version = bioimage_py.__version__
copyright = "bioimage_py developers, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["pictures"]

myst_heading_anchors = 4
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Other Parameters"]  # as a list of its own, with names that share a text together
default_role = "py:obj"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries = False
smartquotes = False

html_theme = "furo"
html_title = "bioimage_py"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Have the pages of the API written first, and those put right that are also read on GitHub."""
    app.connect("builder-inited", lambda app: api_pages.write(Path(app.srcdir) / "api"))
    app.connect("source-read", site_pages.read)
    app.connect("doctree-read", api_links.resolve)
