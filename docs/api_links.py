"""Where names in docstrings and signatures lead: to an entry of the API if they name one, else nowhere."""

from __future__ import annotations

import functools

import api_pages
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.nodes import find_pending_xref_condition


@functools.cache
def entries() -> dict[str, str]:
    """Return the entries by the names that can be written for them; a name that several things have leads nowhere."""
    public = api_pages.modules()
    described = api_pages.homes(public)
    found: dict[str, set[str]] = {}
    for module in public:
        for name, value in api_pages.members(module).items():
            full = f"{module.__name__}.{name}"
            defined = f"{getattr(value, '__module__', None)}.{name}"
            for written in (name, full, full.removeprefix("bioimage_py."), defined):
                found.setdefault(written, set()).add(f"{described[id(value)]}.{name}")
    return {written: places.pop() for written, places in found.items() if len(places) == 1}


def entry_of(written: str, module: str) -> str | None:
    """Return the entry that a name on the page of a module means: a word such as `copy` may be that of a parameter."""
    if f"{module}.{written}" in entries():
        return entries()[f"{module}.{written}"]
    return entries().get(written) if "." in written or not written.islower() else None


def resolve(app: Sphinx, doctree: nodes.document) -> None:
    """Give every name the whole name of its entry, and leave as text what has none."""
    for node in [*doctree.findall(addnodes.pending_xref)]:
        if node.get("refdomain") != "py" or node["reftype"] == "mod":
            continue
        entry = entry_of(node["reftarget"], node.get("py:module") or "")
        if entry is None:
            short = find_pending_xref_condition(node, "resolved")
            node.replace_self(short.children if short is not None else node.children)
        else:
            node.attributes.update({"reftarget": entry, "reftype": "obj", "refspecific": False})
