"""What counts as the same call: code and values, in any process, and not their text."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import logging
import math
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from bioimage_py.runner.identity.definition import definition_of
from bioimage_py.runner.identity.digest import describe, tell
from bioimage_py.runner.identity.libraries import is_library
from bioimage_py.runner.lease.conflict import differences
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.sources import as_source
from bioimage_py.wrapper import RoiSource, WrapperSource

BASE = """
    import math
    import numpy as np
    FACTOR = 3
    TABLE = np.arange(5)
    NAMES = {"a", "b", "c"}

    def helper(x):
        return x + 1

    class Model:
        scale = 2
        def __call__(self, x):
            return x * self.scale

    MODEL = Model()

    def make(limit):
        def inner(x, *, step=1):
            try:
                import json
                values = [helper(v) for v in x if v in NAMES]
            except (ValueError, KeyError) as error:
                raise RuntimeError("no") from error
            if x > limit:
                return MODEL(x) * FACTOR + TABLE[step]
            return lambda y: math.sqrt(y) + 1.5
        return inner

    function = make(10)
"""


def digest_in_main(source: str, seed: int = 0) -> str:
    """The digest of ``function`` of a script, as ``__main__`` in a process of its own."""
    code = textwrap.dedent(source) + "\nfrom bioimage_py.runner.identity.digest import tell\nprint(tell(function))\n"
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def digest(source: str, module: str = "__main__") -> str:
    """The digest of ``function`` of some source, as a notebook or a module would have it."""
    space: dict[str, Any] = {"__name__": module}
    exec(compile(textwrap.dedent(source), f"<cell of {module}>", "exec"), space)
    return tell(space["function"])


@pytest.fixture(scope="module")
def base() -> str:
    return digest(BASE)


def test_a_digest_is_the_same_in_any_process(base: str) -> None:
    assert digest_in_main(BASE, seed=1) == digest_in_main(BASE, seed=2) == base
    assert re.fullmatch("[0-9a-f]{32}", base)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def helper(x):", "\n\n\n    def helper(x):"),
        ("return x + 1", "# add one\n        return x + 1"),
        ("return x + 1", '"""Adds one."""\n        return x + 1'),
        ("def __call__(self, x):", '"""A model."""\n        def __call__(self, x):\n            """Scale."""'),
        ("def inner(x, *, step=1):", 'def inner(x, *, step=1):\n            """Doc."""\n\n            # hello'),
        ("except (ValueError", "# never\n\n            except (ValueError"),
        ('{"a", "b", "c"}', '{"c", "b", "a"}'),
        ("FACTOR = 3", "FACTOR = 3\n    UNUSED = 4"),
        ("MODEL = Model()", "MODEL = Model()\n    print_ = print"),
    ],
)
def test_text_does_not_count(base: str, old: str, new: str) -> None:
    assert digest(BASE.replace(old, new)) == base


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + 1", "return x + 2"),
        ("return x + 1", "return x - 1"),
        ("FACTOR = 3", "FACTOR = 4"),
        ("FACTOR = 3", "FACTOR = 3.0"),
        ("np.arange(5)", "np.arange(6)"),
        ("np.arange(5)", "np.arange(5, dtype='u1')"),
        ("np.arange(5)", "np.array([0, 1, 2, 3, 5])"),
        ('{"a", "b", "c"}', '{"a", "b"}'),
        ("make(10)", "make(11)"),
        ("make(10)", "make(True)"),
        ("step=1", "step=2"),
        ("scale = 2", "scale = 3"),
        ("return x * self.scale", "return self.scale * x"),
        ("x > limit", "x >= limit"),
        ("math.sqrt(y)", "math.exp(y)"),
        ("y) + 1.5", "y) + 1.25"),
        ("except (ValueError, KeyError)", "except ValueError"),
        ("values = [helper(v) for v in x if v in NAMES]\n", "values = helper(x)\n"),
        ("import json", "import pickle"),
        ("MODEL = Model()", "MODEL = Model()\n    MODEL.scale = 5"),
    ],
)
def test_what_it_does_counts(base: str, old: str, new: str) -> None:
    assert old in BASE
    assert digest(BASE.replace(old, new)) != base


def test_a_statement_moved_out_of_a_try_counts() -> None:
    inside = "def function(x):\n    try:\n        x()\n        x()\n    except OSError:\n        return 1"
    outside = "def function(x):\n    try:\n        x()\n    except OSError:\n        return 1\n    x()"
    assert digest(inside) == digest(inside.replace("x()\n        x()", "x()\n\n        x()"))
    assert digest(inside) != digest(outside)


def test_a_cell_that_is_run_again_is_the_same() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    digests = set()
    for number in range(3):
        exec(compile(textwrap.dedent(BASE), f"<ipython-input-{number}>", "exec"), space)
        digests.add(tell(space["function"]))
    assert len(digests) == 1


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Writes a module and imports it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written: set[str] = set()

    def make(name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        written.add(name)
        for one in written:
            sys.modules.pop(one, None)
        import importlib

        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for one in written:
        sys.modules.pop(one, None)


def test_functions_of_modules_count_by_what_they_do(module: Any) -> None:
    helpers = "def twice(x):\n    return 2 * x\n\ndef other(x):\n    return x\n"
    uses = {
        "attribute": "import helpers_of_a_user as h\ndef function(x):\n    return h.twice(x)\n",
        "name": "from helpers_of_a_user import twice\ndef function(x):\n    return twice(x)\n",
        "import inside": "def function(x):\n    from helpers_of_a_user import twice\n    return twice(x)\n",
        "module inside": "def function(x):\n    import helpers_of_a_user\n    return helpers_of_a_user.twice(x)\n",
    }
    for use, text in uses.items():

        def told(helper: str, text: str = text) -> str:
            module("helpers_of_a_user", helper)
            return tell(module("module_of_a_user", text).function)

        before = told(helpers)
        assert told("# a comment\n\n" + helpers) == before, use
        assert told(helpers.replace("return x", "return -x")) == before, f"{use}: what is not named does not count"
        assert told(helpers.replace("2 * x", "3 * x")) != before, use
    assert not is_library("helpers_of_a_user")
    assert is_library("numpy.linalg")
    assert is_library("json")
    assert is_library("bioimage_py.engine")
    assert not is_library("__main__")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Kernel:
    size: int = 3
    colour: Colour = Colour.RED
    table: Any = None

    def __call__(self, x: Any) -> Any:
        return x + self.size

    @property
    def twice(self) -> int:
        return 2 * self.size


class Counting:
    def __init__(self, start: int) -> None:
        self.start = start
        self.parts = {"a": np.arange(3)}

    def __call__(self, x: Any) -> Any:
        return super().__repr__() + str(x)


def limit_to(limit: Any) -> Any:
    def limited(x: Any) -> Any:
        return x > limit

    return limited


def recursive(x: int) -> int:
    return recursive(x - 1) if x else mutual(x)


def mutual(x: int) -> int:
    return recursive(x)


Pair = collections.namedtuple("Pair", "left right")

TELLABLE: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (lambda: Kernel(3), lambda: Kernel(4)),
    (lambda: Kernel(3), lambda: Kernel(3, Colour.BLUE)),
    (lambda: Kernel(table=np.arange(3)), lambda: Kernel(table=np.arange(3.0))),
    (lambda: Counting(1), lambda: Counting(2)),
    (lambda: Counting(1).__call__, lambda: Counting(2).__call__),
    (lambda: limit_to(3), lambda: limit_to(4)),
    (lambda: limit_to(np.zeros(3)), lambda: limit_to(np.ones(3))),
    (lambda: limit_to([{1: (2, "x")}]), lambda: limit_to([{1: (2, "y")}])),
    (lambda: functools.partial(limit_to, 3), lambda: functools.partial(limit_to, 4)),
    (lambda: functools.lru_cache(limit_to), lambda: functools.lru_cache(recursive)),
    (lambda: np.add, lambda: np.subtract),
    (lambda: math.sqrt, lambda: math.exp),
    (lambda: {1: 2}.get, lambda: {1: 3}.get),
    (lambda: re.compile("a+"), lambda: re.compile("a*")),
    (lambda: pathlib.Path("/a"), lambda: pathlib.Path("/b")),
    (lambda: logging.getLogger("a"), lambda: logging.getLogger("b")),
    (lambda: Pair(1, 2), lambda: Pair(1, 3)),
    (lambda: collections.deque([1, 2]), lambda: collections.deque([2, 1])),
    (lambda: collections.defaultdict(int, a=1), lambda: collections.defaultdict(int, a=2)),
    (lambda: {3, 1, "a"}, lambda: {3, 1, "b"}),
    (lambda: {"a": 1, "b": 2}, lambda: {"a": 1, "b": 3}),
    (lambda: np.random.default_rng(0), lambda: np.random.default_rng(1)),
    (lambda: np.ma.masked_equal([1, 2], 1), lambda: np.ma.masked_equal([1, 2], 2)),
    (lambda: np.array([(1, 2)], [("a", "i4"), ("b", "i4")]), lambda: np.array([(1, 2)], [("a", "i4"), ("c", "i4")])),
    (lambda: np.array(["a", None], object), lambda: np.array(["b", None], object)),
    (lambda: np.asfortranarray(np.arange(6).reshape(2, 3)), lambda: np.arange(6).reshape(3, 2)),
    (lambda: slice(1, 2), lambda: slice(1, 3)),
    (lambda: 1, lambda: True),
    (lambda: (1, 2), lambda: [1, 2]),
    (lambda: recursive, lambda: mutual),
    (lambda: Colour.RED, lambda: Colour.BLUE),
    (lambda: Pair, lambda: collections.namedtuple("Pair", "left middle")),
    (lambda: staticmethod(recursive), lambda: classmethod(recursive)),
]


@pytest.mark.parametrize(("one", "other"), TELLABLE)
def test_values_count_by_content(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    assert tell(one()) == tell(one()), "made twice"
    assert tell(one()) != tell(other())
    assert "untellable" not in tell(one())
    assert tell([one(), one()]) == tell((lambda same: [same, same])(one())), "whether it is one object does not count"


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), (i for i in range(3)), limit_to(threading.Lock()), [[threading.Lock()]]],
    ids=["lock", "generator", "closure over a lock", "nested lock"],
)
def test_what_cannot_be_told_equals_nothing(value: Any) -> None:
    told = tell(value)
    assert told.startswith("untellable ")

    class State:
        versions: dict[str, str] = {}
        definition = {"f.function": told}
        inputs: dict[str, str] = {}

    assert len(differences(State, State)) == 1  # type: ignore[arg-type]


def test_deep_values_are_untellable_and_do_not_crash() -> None:
    deep: list[Any] = [threading]
    for _ in range(10_000):
        deep = [deep]
    assert tell(deep).startswith("untellable ")


def test_loops_in_values_end() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    other: list[Any] = [1]
    other.append(other)
    assert tell(loop) == tell(other) != tell([1, [1, 2]])


class Doubled(WrapperSource):
    factor = 2

    def _getitem(self, roi: Any) -> np.ndarray:
        return self._source._getitem(roi) * self.factor


def test_sources_are_told_by_where_they_lie_and_arrays_by_content(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8,), chunks=(4,), dtype="u1")
    for mode in ("r", "r+"):
        assert describe(as_source(zarr.open_array(tmp_path / "a.zarr", mode=mode))) == describe(as_source(array))
    other = zarr.create_array(tmp_path / "b.zarr", shape=(8,), chunks=(4,), dtype="u1")
    assert describe(as_source(array)) != describe(as_source(other))
    assert describe(RoiSource(array, slice(0, 4))) != describe(RoiSource(array, slice(1, 5)))
    assert describe(as_source(np.arange(8))) == describe(as_source(np.arange(8))) != describe(as_source(np.ones(8)))
    assert describe(RoiSource(np.arange(8), slice(0, 4))) != describe(RoiSource(np.arange(8), slice(1, 5)))

    mapped = np.memmap(tmp_path / "raw", "u1", "w+", shape=(100,))
    assert describe(as_source(mapped[10:20])) == describe(as_source(np.memmap(tmp_path / "raw", "u1", "r")[10:20]))
    assert describe(as_source(mapped[10:20])) != describe(as_source(mapped[11:21]))

    class Lazy:
        shape, dtype = (8,), np.dtype("u1")

        def __getitem__(self, index: Any) -> np.ndarray:
            raise AssertionError("a lazy array must not be computed to be compared")

    assert describe(as_source(Lazy())).startswith("untellable")


def test_wrappers_are_told_by_what_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8,), chunks=(4,), dtype="u1")

    def local(factor: int) -> type[WrapperSource]:
        class Local(WrapperSource):
            def _getitem(self, roi: Any) -> np.ndarray:
                return self._source._getitem(roi) * factor

        return Local

    assert describe(local(2)(array)) == describe(local(2)(array))
    assert describe(local(2)(array)) != describe(local(3)(array))
    before = describe(Doubled(array))
    monkeypatch.setattr(Doubled, "factor", 3)
    assert describe(Doubled(array)) != before


def test_a_definition_names_its_parts() -> None:
    data = np.zeros((8, 8))

    def parts(**changes: Any) -> dict[str, str]:
        options = {"block_shape": (4, 4), "halo": None, **changes}
        function = options.pop("function", limit_to(3))
        version, casting = options.pop("version", None), options.pop("casting", "checked")
        halo = options.pop("halo")
        returns = {name: options.pop(name) for name in ("returns", "merge", "setup") if name in options}
        stage = blocks_stage(lambda b, i, o, m, f=function: f, [data], where=Where(**options), halo=halo, **returns)
        return definition_of((stage,), version=version, casting=casting)

    base = parts()
    assert parts() == base

    def changed(**changes: Any) -> set[str]:
        other = parts(**changes)
        return {key for key in {*base, *other} if base.get(key) != other.get(key)}

    assert changed(function=limit_to(4)) == {"blocks.function"}
    assert changed(halo=1) == {"blocks.halo"}
    assert changed(block_shape=(4, 8)) == {"blocks.grid", "blocks.block_ids"}
    assert changed(block_ids=[0, 1]) == {"blocks.block_ids"}
    assert changed(returns="each") == {"blocks.returns"}
    assert changed(casting="unsafe") == {"casting"}
    assert changed(mask=np.ones((8, 8))) == {"blocks.mask"}
    assert parts(version="1", function=limit_to(4)) == parts(version="1", function=limit_to(5))
    assert parts(version="1") != parts(version="2")
