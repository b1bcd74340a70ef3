"""The drop-in promise against answers recorded from the peer 0.2.2 (made by benchmarks/record_peer.py).

What differs on purpose is listed here with its reason, is described in docs/differences.md, and must really differ.
"""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import peer_calls
import peer_table
import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "peer_0_2_2.json").read_text())
CASES = {case.name: case for case in peer_calls.all_cases()}
PART = peer_table.package_part("bioimage_py")

# "name" or "name(parameter)" -> the heading in docs/differences.md
DIFFERENT_SIGNATURES: dict[str, str] = {}
# name of a case -> the heading in docs/differences.md
DIFFERENT_ANSWERS: dict[str, str] = {
    "Runner.run halo and roi": "Regions of interest",
    "Runner.run without block_shape": "Default call on chunked input",
    "contingency_table direct": "Scores",
    "contingency_table blocked": "Scores",
    "contingency_table mask": "Scores",
    "drop_ignore": "Scores",
    "distance_transform beyond the halo": "Distance transform",
    "distance_transform without background": "Distance transform",
    "find_local_maxima plateaus": "Local maxima",
    "regionprops surface, centroids": "Objects",
    "regionprops voxels, centroids": "Objects",
    "downsample odd shape direct": "downsample",
    "downsample odd shape blocked": "downsample",
    **{
        f"{name}_eigenvalues channel 3 {way}": "Filters"
        for name in ("hessian_of_gaussian", "structure_tensor")
        for way in ("direct", "blocked")
    },
    "laplacian_of_gaussian channel 0 blocked": "Filters",
    "laplacian_of_gaussian int16 blocked": "Filters",
    "laplacian_of_gaussian int16 direct": "Filters",
    "infer_format a.tif": "Formats",
    "label uint32 output": "Label types",
    **dict.fromkeys(("object_vi direct", "object_vi blocked", "object_vi mask", "object_vi_scores"), "Scores"),
    **{f"matching {of} 0.8 {way}": "Scores" for of in ("iop", "iot") for way in ("direct", "blocked", "mask")},
    "mean_segmentation_accuracy accuracies": "Scores",
    "operations.add overflow": "Values out of range",
    "relabel overflow": "Values out of range",
    "relabel small ids": "Label types",
    "relabel_consecutive {'start_label': 5} direct": "relabel_consecutive",
    "relabel_consecutive {'start_label': 5} blocked": "relabel_consecutive",
    "relabel_consecutive without background direct": "relabel_consecutive",
    "relabel_consecutive without background blocked": "relabel_consecutive",
    "source[slice(-100, 3)]": "Indexing",
    "source[1.7]": "Indexing",
    "stats.max mask without block_shape": "Masks and block ids",
    "wrapper.AffineSource at the border": "Affine transforms",
    "wrapper.AffineSource rotation about axis 0 order 0": "Affine transforms",
    "wrapper.AffineSource rotation about axis 0 order 1": "Affine transforms",
    "compute_affine_matrix rotation about all axes": "Affine transforms",
    "compute_affine_matrix rotation about axes 0 and 2": "Affine transforms",
    "compute_affine_matrix rotation about axis 0": "Affine transforms",
    "compute_affine_matrix shear": "Affine transforms",
    "compute_affine_matrix shear of three": "Affine transforms",
    **{
        f"transform_subvolume_{what} order {order}": "Affine transforms"
        for what in ("affine", "coordinates")
        for order in (2, 3, 4, 5)
    },
    "transform_subvolume_affine half a voxel beyond": "Affine transforms",
    "transform_subvolume_affine large ids": "Affine transforms",
    **{
        f"wrapper.{name} {where}": "Wrappers"
        for name in ("ExpandDimsSource", "SimpleTransformationSource")
        for where in ("all", "box")
    },
    "wrapper.PadSource beyond": "Wrappers",
    **{
        f"wrapper.ResizedSource {shape} order {order}": "Wrappers"
        for shape in ("(6, 10, 12)", "(24, 20, 8)")
        for order in (0, 1)
    },
}


@pytest.mark.parametrize("name", RECORD["signatures"])
def test_every_call_of_the_peer_is_accepted(name: str) -> None:
    theirs = RECORD["signatures"][name]
    ours = inspect.signature(peer_table.resolve(PART, name))
    for args, kwargs in _calls(theirs):
        try:
            ours.bind(*args, **kwargs)
        except TypeError as error:
            pytest.fail(f"{name}{ours} does not take {len(args)} positional and {sorted(kwargs)}: {error}")


@pytest.mark.parametrize("name", RECORD["signatures"])
def test_parameters_have_the_place_and_the_default_of_the_peer(name: str) -> None:
    theirs = RECORD["signatures"][name]
    ours = {entry["name"]: entry for entry in peer_table.describe_signature(peer_table.resolve(PART, name))}
    places = [entry["name"] for entry in ours.values() if entry["kind"].startswith("POSITIONAL")]
    for place, entry in enumerate(theirs):
        if entry["kind"] == "POSITIONAL_OR_KEYWORD":
            assert places[place : place + 1] == [entry["name"]], f"{name}: parameter {place} of {places}"
        if "default" not in entry or f"{name}({entry['name']})" in DIFFERENT_SIGNATURES:
            continue
        assert ours[entry["name"]].get("default", "none") == entry["default"], f"{name}({entry['name']})"


@pytest.mark.parametrize("name", RECORD["members"])
def test_classes_have_the_members_of_the_peer(name: str) -> None:
    missing = set(RECORD["members"][name]) - set(peer_table.public_members(peer_table.resolve(PART, name)))
    assert missing == set()


@pytest.mark.parametrize("name", [name for name in RECORD["answers"] if name not in DIFFERENT_ANSWERS])
def test_answer_of_the_peer(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    answer = peer_calls.answer(case, PART, tmp_path)
    assert _difference(case, RECORD["answers"][name], answer) is None


@pytest.mark.parametrize("name", DIFFERENT_ANSWERS)
def test_a_listed_difference_is_one(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    answer = peer_calls.answer(case, PART, tmp_path)
    assert _difference(case, RECORD["answers"][name], answer) is not None, "no difference any more: unlist it"


@pytest.mark.parametrize("heading", sorted({*DIFFERENT_ANSWERS.values(), *DIFFERENT_SIGNATURES.values()}))
def test_differences_are_documented(heading: str) -> None:
    lines = (ROOT / "docs" / "differences.md").read_text().splitlines()
    assert f"### {heading}" in lines


def test_the_record_is_of_these_calls() -> None:
    assert list(RECORD["answers"]) == list(CASES)
    assert list(RECORD["signatures"]) == list(peer_table.NAMES)
    assert RECORD["package"] == "bioimage-py 0.2.2"


def _calls(parameters: list[dict[str, Any]]) -> list[tuple[list[Any], dict[str, Any]]]:
    """Calls that the peer's signature allows: all by keyword, all by position, each optional one alone."""
    named = [entry for entry in parameters if not entry["kind"].startswith("VAR")]
    positional = [entry["name"] for entry in named if entry["kind"] == "POSITIONAL_OR_KEYWORD"]
    required = [entry["name"] for entry in named if "default" not in entry]
    leading = [name for name in positional if name in required]
    keywords = [entry["name"] for entry in named if entry["kind"] == "KEYWORD_ONLY"]
    if any(entry["kind"] == "VAR_KEYWORD" for entry in parameters):
        keywords += [name for name in peer_table.RUN_KEYWORDS if "sigma" in positional]
    calls: list[tuple[list[Any], dict[str, Any]]] = [
        ([], dict.fromkeys([*positional, *keywords])),
        ([None] * len(positional), dict.fromkeys(keywords)),
        ([None] * len(leading), dict.fromkeys(name for name in required if name not in leading)),
    ]
    optional = [name for name in (*positional, *keywords) if name not in required]
    return calls + [([], dict.fromkeys([*required, name])) for name in optional]


def _difference(case: peer_calls.Case, expected: Any, found: Any) -> str | None:
    """The first place where two answers differ, None where they agree."""
    if isinstance(expected, dict) and "raises" in expected:
        raised = found.get("raises", []) if isinstance(found, dict) else []
        return None if expected["raises"][0] in raised else f"{expected} != {found}"
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = set(expected) - ({"digest"} if case.ranked and "ranked" in expected else {"ranked"})
        differences = [_difference(case, expected[key], found.get(key)) for key in sorted(keys)]
        return next((difference for difference in differences if difference), None)
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        differences = [_difference(case, *pair) for pair in zip(expected, found, strict=True)]
        return next((difference for difference in differences if difference), None)
    if isinstance(expected, float) and isinstance(found, int | float):
        close = math.isclose(expected, found, rel_tol=1e-6 if case.tolerance else 0.0, abs_tol=case.tolerance)
        return None if close or (math.isnan(expected) and math.isnan(found)) else f"{expected} != {found}"
    return None if expected == found else f"{expected} != {found}"
