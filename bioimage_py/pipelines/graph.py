"""The graph of a pipeline as SVG: which call read which array, and wrote which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from .call import Explanation

_WIDTH, _HEIGHT, _GAP, _STEP = 170, 30, 24, 66
_LETTERS = 22


@dataclass
class _Node:
    """A call, or an array as one call has left it."""

    text: str
    title: str
    colour: str
    array: bool
    layer: int = 0
    x: float = 0.0
    above: list[_Node] = field(default_factory=list)


def graph(calls: Sequence[Explanation], colours: dict[str, str]) -> str:
    """The calls from top to bottom, with the arrays between them; empty where nothing is known of any."""
    nodes = _nodes([call for call in calls if call.record is not None], colours)
    if not nodes:
        return ""
    layers: dict[int, list[_Node]] = {}
    for node in nodes:
        node.layer = 1 + max((other.layer for other in node.above), default=-1)
        layers.setdefault(node.layer, []).append(node)
    # an array that no call wrote stands right above the first that reads it
    for node in nodes:
        if not node.above and (below := [other.layer for other in nodes if node in other.above]):
            layers[node.layer].remove(node)
            node.layer = min(below) - 1
            layers.setdefault(node.layer, []).append(node)
    widest = 1.0
    for number in sorted(layers):
        widest = max(widest, _place(layers[number]))
    height = max(layers) * _STEP + _HEIGHT + 4
    lines = "".join(_line(other, node) for node in nodes for other in node.above)
    boxes = "".join(map(_box, nodes))
    size = f'width="{widest + 4:.0f}" height="{height}" viewBox="-2 -2 {widest + 4:.0f} {height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="12" font-family="sans-serif">{lines}{boxes}</svg>'
    )


def _nodes(calls: Sequence[Explanation], colours: dict[str, str]) -> list[_Node]:
    """Nodes in an order in which each comes behind those that it needs."""
    nodes: list[_Node] = []
    latest: dict[str, _Node] = {}

    def array(name: str) -> _Node:
        short = "/".join(Path(name).parts[-2:])
        nodes.append(_Node(_shortened(short), name, "#f3efe4", array=True))
        latest[name] = nodes[-1]
        return nodes[-1]

    for call in calls:
        assert call.record is not None
        # what a call changes in place it has read before
        changed = [name for name, change in call.record.wrote.items() if call.record.in_place and name in latest]
        read = [latest.get(name) or array(name) for name in dict.fromkeys([*call.record.reads, *changed])]
        title = f"{call.name}, {call.action}: {call.reason}"
        node = _Node(_shortened(f"{call.number}  {call.name}"), title, colours.get(call.action, "#888"), array=False)
        node.above = read
        nodes.append(node)
        for name in call.record.wrote:
            array(name).above = [node]
    return nodes


def _shortened(text: str) -> str:
    return text if len(text) <= _LETTERS else f"…{text[1 - _LETTERS :]}"


def _place(layer: list[_Node]) -> float:
    """Place the nodes of a layer side by side, each as near as can be below those above it; the right end."""
    wanted = [sum(other.x for other in node.above) / len(node.above) if node.above else 0.0 for node in layer]
    right = 0.0
    for _, node in sorted(zip(wanted, layer, strict=True), key=lambda pair: pair[0]):
        node.x = max(right, wanted[layer.index(node)])
        right = node.x + _WIDTH + _GAP
    return right - _GAP


def _line(upper: _Node, lower: _Node) -> str:
    x, y = upper.x + _WIDTH / 2, upper.layer * _STEP + _HEIGHT
    to_x, to_y = lower.x + _WIDTH / 2, lower.layer * _STEP
    bend = (to_y - y) / 2
    path = f"M{x:.0f} {y} C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y}"
    return f'<path d="{path}" fill="none" stroke="#9aa5ae"/>'


def _box(node: _Node) -> str:
    y, dark = node.layer * _STEP, node.colour not in ("#b9c3cc", "#dfe5ea", "#f3efe4")
    box = f'x="{node.x:.0f}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{_HEIGHT / 2 if node.array else 4}"'
    text = f'x="{node.x + _WIDTH / 2:.0f}" y="{y + 19}" text-anchor="middle" fill="{"#fff" if dark else "#222"}"'
    return (
        f'<g><title>{escape(node.title)}</title><rect {box} fill="{node.colour}" stroke="#c8bfa8"'
        f' stroke-width="{int(node.array)}"/><text {text}>{escape(node.text)}</text></g>'
    )
