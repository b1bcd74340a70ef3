"""Two callables that differ in one part, whatever it is, have two digests, or it is said that there is none."""

# ruff: noqa: E501 - the scripts
from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.runner.identity.digest import tell

HEAD = """
import abc, array, attrs, collections, contextlib, dataclasses, enum, functools, operator, re, threading, types, typing
import weakref
import numpy as np
import scipy.special

def add(k, x):
    return x + k

def bound(k):
    def inner(x):
        return x + k
    return inner
"""
PARTS = {
    # functions: N is defined, with the value V in it, and calls what was defined before it, C
    "code": "def N(x): return C(x) + V",
    "lambda": "N = lambda x: C(x) * V",
    "default": "def N(x, k=V): return C(x) + k",
    "keyword default": "def N(x, *, k=V): return C(x) + k",
    "default function": "def N(x, f=bound(V)): return C(f(x))",
    "closure": "N = (lambda k, f: lambda x: f(x) + k)(V, C)",
    "closure over a list": "N = (lambda k, f: lambda x: f(x) + k[0])([V], C)",
    "nested": "def N(x):\n    def inner(y):\n        return [C(z) + V for z in y]\n    return inner(x)",
    "global": "N_k = V\ndef N(x): return C(x) + N_k",
    "changed global": "N_k = 0\ndef N(x): return C(x) + N_k\nN_k = V",
    "table": "N_k = {'a': [V, (1, 2)]}\ndef N(x): return C(x) + N_k['a'][0]",
    "attribute": "def N(x): return C(x) + N.k\nN.k = V",
    "decorated": "def N_d(f):\n    @functools.wraps(f)\n    def g(x): return f(x) + V\n    return g\n@N_d\ndef N(x): return C(x)",
    "wraps a library's": "@functools.wraps(np.sum)\ndef N(x): return C(x) + V",
    "named like a library's": "def N_f(x): return V\nN_f.__module__, N_f.__qualname__ = 'numpy', 'sum'\n"
    "def N(x): return C(x) + N_f(x)",
    "what it wraps": "def N(x): return N.__wrapped__(x)\nN.__wrapped__ = lambda x: C(x) + V",
    "cached": "@functools.lru_cache(maxsize=V)\ndef N(x): return C(x)",
    "cached code": "@functools.lru_cache\ndef N(x): return C(x) + V",
    "partial": "N = functools.partial(lambda k, f, x: f(x) + k, V, C)",
    "partial's state": "class N_p(functools.partial): pass\nN = N_p(C)\nN.k = V",
    "context": "@contextlib.contextmanager\ndef N_c():\n    yield V\ndef N(x):\n    with N_c() as k: return C(x) + k",
    "generic": "@functools.singledispatch\ndef N(x): return C(x)\n@N.register\ndef _(x: int): return V",
    "evaluated": "N_k = V\ndef N(x): return C(x) + eval('N_k')",
    "by name": "N_k = V\ndef N(x): return C(x) + globals()['N_k']",
    "compiled": "N = np.frompyfunc(lambda x: C(x) + V, 1, 1)",
    "vectorized": "N = np.vectorize(lambda x: C(x) + V)",
    "getter": "N_g = operator.itemgetter(V)\ndef N(x): return N_g(C(x))",
    "caller": "N_g = operator.methodcaller('f', k=V)\ndef N(x): return N_g(C(x))",
    # objects
    "instance": "class N_c:\n    def __init__(self): self.k = V\n    def __call__(self, x): return C(x) + self.k\nN = N_c()",
    "slots": "class N_c:\n    __slots__ = ('k',)\n    def __init__(self): self.k = V\n    def __call__(self, x): return C(x)\n"
    "N = N_c()",
    "hides its state": "class N_c:\n    def __init__(self): self.k = V\n    def __getstate__(self): return {}\n"
    "    def __call__(self, x): return C(x) + self.k\nN = N_c()",
    "hides its items": "class N_c(dict):\n    def __reduce__(self): return N_c, ()\n"
    "    def __call__(self, x): return C(x) + self['k']\nN = N_c(k=V)",
    "hides what C holds": "class N_c(collections.deque):\n    def __reduce__(self): return N_c, ()\n"
    "    def __call__(self, x): return C(x) + self[0]\nN = N_c([V])",
    "wrapper": "class N_c:\n    def __init__(self, f, k): functools.update_wrapper(self, f); self.k = k\n"
    "    def __call__(self, x): return self.__wrapped__(x) * self.k\nN = N_c(bound(1), V)\nN.f = C",
    "helper": "class N_c:\n    def helper(self, x): return C(x) + V\n    def go(self, x): return self.helper(x)\nN = N_c().go",
    "base": "class N_b:\n    def helper(self, x): return C(x) + V\nclass N_c(N_b):\n"
    "    def __call__(self, x): return super().helper(x)\nN = N_c()",
    "class that is named": "class N_c:\n    def go(self, x): return C(x) + V\ndef N(x): return N_c().go(x)",
    "class attribute": "class N_c: k = 0\nN_c.k = V\ndef N(x): return C(x) + N_c.k",
    "metaclass": "class N_m(type):\n    def __call__(cls, x): return C(x) + V\nclass N_c(metaclass=N_m): pass\n"
    "def N(x): return N_c(x)",
    "class made by a function": "N_c = types.new_class('N_c', (), {}, lambda n: n.update(go=lambda s, x: C(x) + V))\n"
    "def N(x): return N_c().go(x)",
    "property": "class N_c:\n    @property\n    def k(self): return V\n    def __call__(self, x): return C(x) + self.k\nN = N_c()",
    "cached property": "class N_c:\n    @functools.cached_property\n    def k(self): return V\n"
    "    def __call__(self, x): return C(x) + self.k\nN = N_c()",
    "descriptor": "class N_d:\n    def __init__(self, k): self.k = k\n    def __get__(self, i, o): return self.k\n"
    "class N_c:\n    k = N_d(V)\n    def __call__(self, x): return C(x) + self.k\nN = N_c()",
    "static": "class N_c:\n    @staticmethod\n    def k(x): return C(x) + V\ndef N(x): return N_c.k(x)",
    "of the class": "class N_c:\n    @classmethod\n    def k(cls, x): return C(x) + V\ndef N(x): return N_c.k(x)",
    "partial method": "class N_c:\n    def go(self, k, x): return C(x) + k\n    one = functools.partialmethod(go, V)\n"
    "def N(x): return N_c().one(x)",
    "attributes that are made": "class N_c:\n    def __getattr__(self, name): return V\nN_o = N_c()\n"
    "def N(x): return C(x) + N_o.k",
    "registered": "N_r = {}\nclass N_b:\n    def __init_subclass__(cls): N_r['a'] = cls\nclass N_c(N_b):\n"
    "    def go(self, x): return C(x) + V\ndef N(x): return N_r['a']().go(x)",
    "dataclass": "@dataclasses.dataclass\nclass N_c:\n    k: int\n    def __call__(self, x): return C(x) + self.k\nN = N_c(V)",
    "dataclass beyond its fields": "@dataclasses.dataclass\nclass N_c:\n    k: int = 0\n"
    "    def __post_init__(self): self.j = V\n    def __call__(self, x): return C(x) + self.j\nN = N_c()",
    "dataclass's method": "@dataclasses.dataclass\nclass N_c:\n    def __call__(self, x): return C(x) + V\nN = N_c()",
    "dataclass's factory": "@dataclasses.dataclass\nclass N_c:\n    k: list = dataclasses.field(default_factory=lambda: V)\n"
    "def N(x): return C(x) + N_c().k",
    "dataclass that is made": "N_c = dataclasses.make_dataclass('N_c', [], namespace={'go': lambda s, x: C(x) + V})\n"
    "def N(x): return N_c().go(x)",
    "attrs": "@attrs.define\nclass N_c:\n    k: int = attrs.field(factory=lambda: V)\ndef N(x): return C(x) + N_c().k",
    "enumeration": "class N_e(enum.Enum):\n    A = V\ndef N(x): return C(x) + N_e.A.value",
    "enumeration's method": "class N_e(enum.Enum):\n    A = 1\n    def go(self, x): return C(x) + V\n"
    "def N(x): return N_e.A.go(x)",
    "enumeration's state": "class N_e(enum.Enum):\n    A = 1\nN_e.A.k = V\ndef N(x): return C(x) + N_e.A.k",
    "flag's method": "class N_e(enum.Flag):\n    A = 1\n    B = 2\n    def go(self, x): return C(x) + V\nN = (N_e.A | N_e.B).go",
    # containers that are more
    "named tuple": "class N_c(typing.NamedTuple):\n    k: int\n    def __call__(self, x): return C(x) + V\nN = N_c(1)",
    "named tuple that is named": "class N_c(collections.namedtuple('N_c', 'k')):\n    def go(self, x): return C(x) + V\n"
    "def N(x): return N_c(1).go(x)",
    "dict": "class N_c(dict):\n    def __call__(self, x): return C(x) + V\nN = N_c(k=1)",
    "state of a dict": "class N_c(dict):\n    def __call__(self, x): return C(x) + self.k\nN = N_c()\nN.k = V",
    "items of a list": "class N_c(list):\n    def __iter__(self): return iter(())\n    def __call__(self, x): return C(x)\nN = N_c([V])",
    "set": "class N_c(set):\n    def __call__(self, x): return C(x) in self\nN = N_c({1, 'a', V + 10})",
    "state of a number": "class N_c(int):\n    def __call__(self, x): return C(x) + self.k\nN = N_c(3)\nN.k = V",
    "state of an array": "class N_c(np.ndarray): pass\nN_a = np.zeros(3).view(N_c)\nN_a.k = V\ndef N(x): return C(x) + N_a.k",
    # values
    "array": "N_k = np.array([1, V])\ndef N(x): return C(x) + N_k",
    "array of objects": "N_k = np.array([bound(V), None], object)\ndef N(x): return C(N_k[0](x))",
    "fields": "N_k = np.array([(1, V)], np.dtype([('a', 'u1'), ('b', 'f8')], align=True))\ndef N(x): return C(x) + N_k['b']",
    "masked": "N_k = np.ma.array([1, V], mask=[0, 1])\ndef N(x): return C(x) + N_k.data",
    "what masked ones are filled with": "N_k = np.ma.array([1, 2], mask=[0, 0], fill_value=V)\ndef N(x): return C(x) + N_k",
    "random": "N_k = np.random.default_rng(V)\ndef N(x): return C(x) + N_k.normal()",
    "random method": "N_k = np.random.default_rng(V).normal\ndef N(x): return C(x) + N_k()",
    "pattern": "N_k = re.compile('a{%d}' % V)\ndef N(x): return C(x) if N_k.match('a') else x",
    "iterator": "N_k = iter([1, V])\ndef N(x): return C(x) + next(N_k)",
    "generator": "N_k = (i + V for i in range(3))\ndef N(x): return C(x) + next(N_k)",
    "reference": "N_o = bound(V)\nN_k = weakref.ref(N_o)\ndef N(x): return C(x) + N_k()(x)",
    "thread's": "N_k = threading.local()\nN_k.a = V\ndef N(x): return C(x) + N_k.a",
    "buffer": "N_k = memoryview(bytes([V]))\ndef N(x): return C(x) + N_k[0]",
    "bytes that change": "N_k = bytearray([V])\ndef N(x): return C(x) + N_k[0]",
    "order": "N_k = collections.OrderedDict(a=1, b=2)\nN_k.move_to_end('ab'[V % 2])\ndef N(x): return C(x) + list(N_k.values())[0]",
    "factory": "N_k = collections.defaultdict(lambda: V)\ndef N(x): return C(x) + N_k['a']",
    "error": "class N_e(Exception): pass\nN_k = N_e(1)\nN_k.k = V\ndef N(x): return C(x) + N_k.k",
    # modules
    "module": "N_m = types.ModuleType('N_m')\nN_m.k = V\ndef N(x): return C(x) + N_m.k",
    "module in a module": "N_m = types.ModuleType('N_m')\nN_m.sub = types.ModuleType('N_m.sub')\nN_m.sub.f = bound(V)\n"
    "def N(x): return C(N_m.sub.f(x))",
    "module in a list": "N_m = types.ModuleType('N_m')\nN_m.k = V\nN_l = [N_m]\ndef N(x): return C(x) + N_l[0].k",
    "module in a closure": "N_m = types.ModuleType('N_m')\nN_m.k = V\nN = (lambda m, f: lambda x: f(x) + m.k)(N_m, C)",
    "what a module is asked for": "N_m = types.ModuleType('N_m')\nN_m.k = V\ndef N(x, n='k'): return C(x) + getattr(N_m, n)",
}
SAID = {
    "buffer",
    "by name",
    "compiled",
    "evaluated",
    "generator",
    "generic",
    "hides what C holds",
    "reference",
    "thread's",
}
"""What cannot be told, and is said not to be."""


def program(parts: list[tuple[str, int]]) -> str:
    """A script whose ``function`` is made of parts, each of which calls the one before."""
    text, inner = HEAD, "abs"
    for number, (part, value) in enumerate(parts):
        name = f"n{number}"
        body = PARTS[part].replace("N_", f"{name}_")
        for letter, word in (("N", name), ("C", inner), ("V", str(value))):
            body = re.sub(rf"\b{letter}\b", word, body)
        text, inner = f"{text}\n{body}\n", name
    return f"{text}\nfunction = {inner}\n"


LOOPS = """
class A:
    def go(self, x): return B().go(x) if x else first(x)
class B:
    kinds = {A, int, "a"}
    def go(self, x): return A().go(x) + KEPT[0](x)
def first(x): return second(x) + third(x) + fourth(x)
def second(x): return third(x) + fourth(x) + A().go(x)
def third(x): return fourth(x) + first(x)
def fourth(x):
    import json
    import wave
    return second(x) + first(x) + len(NAMES | OTHERS)
KEPT = [first, {"f": second}]
NAMES, OTHERS = {"a", "b", "c", 1, 2.0, None}, {third, fourth, A, B}
function = first
"""
"""Functions and classes that lead to each other, and sets, which every process has in another order."""


def told(script: str) -> str:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script, "<string>", "exec"), space)
    return tell(space["function"])


@pytest.mark.parametrize("part", PARTS)
def test_each_part_counts(part: str) -> None:
    one, again, other = (told(program([("code", 1), (part, value)])) for value in (1, 1, 2))
    inner = told(program([("code", 2), (part, 1)]))
    if part in SAID:
        assert all(text.startswith("untellable ") for text in (one, other))
    else:
        assert one == again
        assert len({one, other, inner}) == 3
        assert "untellable" not in one + other


numbers = st.integers(1, 9)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_part_that_is_changed_changes_the_digest(data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.tuples(st.sampled_from(sorted(PARTS)), numbers), min_size=1, max_size=6))
    place = data.draw(st.integers(0, len(parts) - 1))
    part, value = parts[place]
    changed = [*parts]
    changed[place] = part, data.draw(numbers.filter(lambda other: other % 2 != value % 2))
    before, after = told(program(parts)), told(program(changed))
    assert before != after or before.startswith("untellable ")


def test_the_digest_is_the_same_in_any_process(tmp_path: Path) -> None:
    scripts = [LOOPS, *(program([(part, 1)]) for part in sorted(PARTS.keys() - SAID))]
    (tmp_path / "scripts.json").write_text(json.dumps(scripts))
    code = (
        "import json, sys\nfrom bioimage_py.runner.identity.digest import tell\ntold = []\n"
        "for script in json.load(open(sys.argv[1])):\n"
        "    space = {'__name__': '__main__'}\n    exec(compile(script, '<string>', 'exec'), space)\n"
        "    told.append(tell(space['function']))\nprint(json.dumps(told))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "scripts.json")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    one, other = (json.loads(process.communicate()[0]) for process in running)
    assert one == other
    assert not [digest for digest in one if "untellable" in digest]


def test_using_a_value_does_not_change_its_digest() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(program([("slots", 1), ("flag's method", 1), ("cached code", 1), ("dataclass", 1)]), space)
    before = tell(space["function"])
    pickle.dumps(Plain())  # Python keeps the names of its slots in the class
    _ = [space["n1_e"](3), ~space["n1_e"].A, space["n0_c"]().__reduce_ex__(2)]
    assert tell(space["function"]) == before
    assert tell(Plain) == PLAIN


class Plain:
    pass


PLAIN = tell(Plain)
