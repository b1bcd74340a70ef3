"""What an error advises, which is Python, as what one types on the command line."""

from __future__ import annotations

import ast
import os
import re
import shlex

import click

_VALUE = r"""'[^']*'|"[^"]*"|\([^()]*\)|\[[^][]*\]|[-+\w.]*\w|\.\.\."""
_KEYWORD = re.compile(rf"\b(?P<name>[a-z_]+)=(?P<value>{_VALUE})?(?![=\w])")
_OPENED = re.compile(r"\bopen_source\('(?P<path>[^']*)'(?:, '(?P<key>[^']*)')?\)")
_MADE = re.compile(r"""\bos\.makedirs\(('[^']*'|"[^"]*")\)""")
_REGION = re.compile(r"\b(?:[\w.]+\.)?RoiSource\(\w+, roi\)")
_CALL = re.compile(r"\w\(|\b[a-z_]+=")
_NAMES = {"num_workers": "workers"}


def as_command(remedy: str, command: click.Command) -> str:
    """Write a remedy for those who typed a command.

    Keywords become the options of the same name, ``open_source(path, key)`` a path, ``RoiSource(x, roi)`` the option
    --roi, ``os.makedirs(path)`` the command. What there is no option for stays, marked as Python.
    """
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"] or ""
        found = options.get(_NAMES.get(name, name))
        return match[0] if found is None else _option(found, value)

    told = _OPENED.sub(lambda match: os.path.join(match["path"], match["key"] or "").rstrip("/"), remedy)
    told = _MADE.sub(lambda match: f"mkdir -p {shlex.quote(ast.literal_eval(match[1]))}", told)
    if "roi" in options:
        told = _REGION.sub("--roi", told)
    told = _KEYWORD.sub(option, told)
    return f"in Python: {remedy}" if _CALL.search(told) else told


def _option(option: click.Option, value: str) -> str:
    name = max(option.opts, key=len)
    if option.is_flag:
        off = max(option.secondary_opts, key=len, default="")
        return off if value == "False" and off else name
    rows = re.findall(r"\(([^()]*)\)", value) if value.startswith("[") else []
    plain = (";".join(rows) or value.strip("()[]'\"")).replace(" ", "").rstrip(",")
    return name if plain in ("", "...", "None") else f"{name} {plain}"
