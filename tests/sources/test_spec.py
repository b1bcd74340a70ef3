"""Specs: values, their JSON form, and the registry that opens them."""

from __future__ import annotations

import importlib.metadata
import json
import operator
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import FormatError, KeyNotFoundError, ParameterError, SourceTypeError
from bioimage_py.sources import (
    ArraySource,
    Source,
    SourceSpec,
    as_source,
    from_spec,
    register_source,
    unregister_source,
)
from bioimage_py.sources import registry as registry_module

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=10,
)
texts = st.one_of(st.none(), st.text(max_size=8))
# what begins so stands for a function, a slice or another spec
names = st.text().filter(lambda name: not name.startswith("__"))
specs = st.recursive(
    st.builds(SourceSpec, st.text(min_size=1, max_size=5), texts, texts, st.dictionaries(names, values, max_size=3)),
    lambda inner: st.builds(SourceSpec, st.just("wrapper"), params=st.just({"a": [1]}), wrapped=inner),
    max_leaves=3,
)


@settings(max_examples=200, deadline=None)
@given(specs)
def test_json_and_pickle_round_trip(spec: SourceSpec) -> None:
    for back in (
        SourceSpec.from_json(spec.to_json()),
        SourceSpec.from_json(spec.to_dict()),
        pickle.loads(pickle.dumps(spec)),
    ):
        assert back == spec
        assert hash(back) == hash(spec)
    json.loads(spec.to_json(), parse_constant=pytest.fail)


def test_fields_are_pinned() -> None:
    spec = SourceSpec("zarr", "/a", "b", {"mode": "r"}, None, 1)
    assert list(spec.__dataclass_fields__) == ["kind", "path", "internal_path", "params", "wrapped", "version"]
    assert list(spec.to_dict()) == ["kind", "path", "internal_path", "params", "wrapped", "version"]
    with pytest.raises(AttributeError):
        spec.kind = "n5"  # type: ignore[misc]


def test_params_are_frozen_and_compare_with_dicts() -> None:
    given_params = {"size": [1, [2, 3]], "deep": {"x": (np.int64(4), np.float32(0.5))}, "dtype": np.dtype("u2")}
    spec = SourceSpec("k", params=given_params)
    given_params["size"].append(7)  # type: ignore[attr-defined]
    assert spec.params == {"size": [1, [2, 3]], "deep": {"x": [4, 0.5]}, "dtype": "<u2"}
    assert spec.params["size"] == (1, (2, 3))
    assert spec.arguments()["size"] == [1, [2, 3]]
    with pytest.raises(TypeError):
        spec.params["size"] = 1  # type: ignore[index]
    assert spec == SourceSpec("k", params={"dtype": "<u2", "deep": {"x": [4, 0.5]}, "size": ((1, (2, 3)))})
    assert spec != SourceSpec("k", params={"size": [1]})
    assert len({spec, SourceSpec("k", params=dict(spec.params))}) == 1


def test_callables_go_by_name() -> None:
    spec = SourceSpec("k", params={"a": operator.add, "b": np.greater, "c": np.float32, "d": Path.exists, "e": np.mean})
    text = spec.to_json()
    assert '"numpy:greater"' in text
    assert "cloudpickle" not in text
    with pytest.raises(FormatError, match=r"pathlib.*Path.exists"):
        SourceSpec.from_json(text)
    back = SourceSpec.from_json(text, allow_pickle=True).arguments()
    assert back == {"a": operator.add, "b": np.greater, "c": np.float32, "d": Path.exists, "e": np.mean}


def test_other_callables_need_allow_pickle() -> None:
    factor = 3
    spec = SourceSpec("k", params={"outer": [{"f": lambda x: x * factor}]}, wrapped=None)
    text = SourceSpec("wrapper", wrapped=spec).to_json()
    with pytest.raises(FormatError, match=r"cloudpickle.*\n.*allow_pickle=True"):
        SourceSpec.from_json(text)
    back = SourceSpec.from_json(text, allow_pickle=True)
    assert back.wrapped == spec
    assert back.wrapped.arguments()["outer"][0]["f"](5) == 15


def test_unpicklable_callable() -> None:
    generator = (i for i in range(3))
    with pytest.raises(ParameterError, match="cannot be described"):
        SourceSpec("k", params={"f": lambda: next(generator)})
    with pytest.raises(ParameterError, match="type set cannot be part of a spec"):
        SourceSpec("k", params={"f": {1}})
    with pytest.raises(ParameterError, match="1 is no string"):
        SourceSpec("k", params={1: 2})  # type: ignore[dict-item]


def test_slices_specs_and_odd_floats() -> None:
    inner = SourceSpec("k", "/x")
    spec = SourceSpec(
        "k", params={"roi": [slice(1, None, 2), 3], "others": [inner], "nan": float("nan"), "inf": -np.inf}
    )
    back = SourceSpec.from_json(spec.to_json())
    assert back == spec
    arguments = back.arguments()
    assert arguments["roi"] == [slice(1, None, 2), 3]
    assert arguments["others"] == [inner]
    assert np.isnan(arguments["nan"])
    assert arguments["inf"] == -np.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "no 'kind'"),
        ('{"kind": 3}', "no 'kind'"),
        ('{"kind": "a", "version": 99}', "version 99"),
        ('{"kind": "a", "extra": 1}', r"unknown fields \['extra'\]"),
    ],
)
def test_bad_json(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        SourceSpec.from_json(text)


def test_names_that_cannot_be_imported() -> None:
    spec = SourceSpec("k", params={"f": {"__callable__": "no_such_module:f"}})
    with pytest.raises(FormatError, match=r"'no_such_module:f' cannot be imported"):
        spec.arguments()


# The registry


class Ones(ArraySource):
    def __init__(self, size: int) -> None:
        super().__init__(np.ones(size, np.uint8))
        self.given = size

    def to_spec(self) -> SourceSpec:
        return SourceSpec("ones", params={"size": self.given})


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size


def is_thing(obj: object) -> bool:
    return isinstance(obj, Thing)


def convert_thing(thing: Thing) -> Source:
    return Ones(thing.size)


def reopen_ones(spec: SourceSpec) -> Source:
    return Ones(spec.params["size"])


def test_third_party_kind_converts_and_reopens() -> None:
    register_source(is_thing, convert_thing, kind="ones", reopen=reopen_ones)
    try:
        source = as_source(Thing(4))
        assert isinstance(source, Ones)
        back = from_spec(SourceSpec.from_json(source.to_spec().to_json()))
        assert back.shape == (4,)
        register_source(None, None, kind="ones", reopen=reopen_ones)  # the same again, as in a notebook
        with pytest.raises(ParameterError, match="kind 'ones' is registered already"):
            register_source(None, None, kind="ones", reopen=convert_thing)  # type: ignore[arg-type]
    finally:
        unregister_source(is_thing, kind="ones")
    with pytest.raises(SourceTypeError, match="A Thing cannot be used"):
        as_source(Thing(4))
    with pytest.raises(ParameterError, match=r"Nothing opens sources of kind 'ones'; known kinds are .*'zarr'"):
        from_spec(SourceSpec("ones"))
    with pytest.raises(KeyNotFoundError, match="is not registered"):
        unregister_source(is_thing)
    with pytest.raises(KeyNotFoundError, match="'ones' is not registered"):
        unregister_source(kind="ones")


def test_priority_decides_and_built_in_arrays_come_last() -> None:
    def predicate(obj: object) -> bool:
        return isinstance(obj, np.ndarray) and obj.dtype == np.float16

    def also(obj: object) -> bool:
        return predicate(obj)

    register_source(predicate, lambda obj: Ones(1))
    register_source(also, lambda obj: Ones(2), priority=5)
    try:
        assert as_source(np.zeros(9, np.float16)).shape == (2,)
        unregister_source(also)
        assert as_source(np.zeros(9, np.float16)).shape == (1,)
        assert as_source(np.zeros(9, np.float32)).shape == (9,)
    finally:
        unregister_source(predicate)
    assert as_source(np.zeros(9, np.float16)).shape == (9,)


def test_registering_half_of_a_pair() -> None:
    with pytest.raises(ParameterError, match="predicate and converter together"):
        register_source(is_thing, None)
    with pytest.raises(ParameterError, match="kind and reopen together"):
        register_source(is_thing, convert_thing, kind="x")
    with pytest.raises(ParameterError, match="nothing to register"):
        register_source(None, None)


def test_converter_that_returns_no_source() -> None:
    register_source(is_thing, lambda obj: 5)  # type: ignore[arg-type, return-value]
    try:
        with pytest.raises(SourceTypeError, match="returned a int, not a Source"):
            as_source(Thing(1))
    finally:
        unregister_source(is_thing)


def test_plugins_register_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "things", "things:register"

        def __init__(self, function: object) -> None:
            self.load = lambda: function

    def register() -> None:
        register_source(is_thing, convert_thing, kind="ones", reopen=reopen_ones)

    def broken() -> None:
        raise OSError("no such library")

    monkeypatch.setattr(registry_module, "_plugins_loaded", False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Point(broken), Point(register)])
    try:
        with pytest.warns(UserWarning, match="'things' .* failed: OSError"):
            source = from_spec(SourceSpec("ones", params={"size": 3}))
        assert source.shape == (3,)
        assert as_source(Thing(2)).shape == (2,)
    finally:
        unregister_source(is_thing, kind="ones")


def test_from_spec_refuses_other_things() -> None:
    with pytest.raises(SourceTypeError, match="A dict is not a spec"):
        from_spec({"kind": "zarr"})  # type: ignore[arg-type]
