"""Splits: sizes, order, groups, strata, and what a project keeps of them."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.datasets import Annotation, DatasetError, ImageDataset, Resource, SplitResult, VolumeDataset
from bioimage_py.datasets.splits import history
from bioimage_py.datasets.splits.assign import assign, sizes
from bioimage_py.datasets.splits.history import StoredSplit
from bioimage_py.errors import FormatError, KeyNotFoundError, ParameterError
from bioimage_py.projects import ImageInfo, Project

from .conftest import make_project

PIXEL = np.zeros((2, 2), "u1")


def blank(ids: list[str], **more: object) -> ImageDataset:
    return ImageDataset(resources=[Resource(PIXEL, id=id, **more) for id in ids])  # type: ignore[arg-type]


def ids_of(parts: SplitResult) -> dict[str, set[str]]:
    return {name: set(part.get_resources_ids()) for name, part in parts.items()}


HUNDRED = [f"r{i}" for i in range(100)]


@pytest.mark.parametrize(
    ("count", "ratios", "expected"),
    [(10, [0.25] * 4, [3, 3, 2, 2]), (6, [0.25] * 4, [2, 2, 1, 1]), (7, [0.36, 0.36, 0.28], [3, 2, 2]),
     (100, [0.7, 0.15, 0.15], [70, 15, 15]), (0, [0.5, 0.5], [0, 0])],
)  # fmt: skip
def test_sizes(count: int, ratios: list[float], expected: list[int]) -> None:
    assert sizes(count, ratios) == expected


@given(st.integers(0, 1000), st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_no_size_deviates_by_one(count: int, weights: list[int]) -> None:
    ratios = [weight / sum(weights) for weight in weights]
    found = sizes(count, ratios)
    assert sum(found) == count
    assert all(abs(size - ratio * count) < 1 for size, ratio in zip(found, ratios, strict=True))


def test_seeded_whatever_the_order() -> None:
    data = blank(HUNDRED)
    parts = data.split(train=0.7, val=0.15, test=0.15, seed=42)
    assert {name: len(part) for name, part in parts.items()} == {"train": 70, "val": 15, "test": 15}
    assert ids_of(data.split(train=0.7, val=0.15, test=0.15, seed=42)) == ids_of(parts)
    shuffled = blank(list(np.random.default_rng(0).permutation(HUNDRED)))
    assert ids_of(shuffled.split(train=0.7, val=0.15, test=0.15, seed=42)) == ids_of(parts)
    order = [int(id[1:]) for id in parts["train"].get_resources_ids()]
    assert order == sorted(order)
    # The same on any version of Python: these bytes are SHA-256's.
    assert assign(["a", "b", "c", "d"], [0.5, 0.5], 1).tolist() == [0, 1, 1, 0]


def test_more_data_moves_nothing_by_hash() -> None:
    few, more = blank(HUNDRED), blank([*HUNDRED, *(f"new{i}" for i in range(1000))])
    one = ids_of(few.split(train=0.7, test=0.3, seed=1, method="hash"))
    other = ids_of(more.split(train=0.7, test=0.3, seed=1, method="hash"))
    assert all(one[name] <= other[name] for name in one)
    assert abs(len(other["train"]) - 770) < 3 * (1100 * 0.7 * 0.3) ** 0.5


def test_a_drawn_seed_is_told() -> None:
    data = blank(HUNDRED)
    first = data.split(a=0.5, b=0.5)
    seed = first["a"].split_seed
    assert ids_of(data.split(a=0.5, b=0.5, seed=seed)) == ids_of(first)
    assert (first["b"].split_name, first["b"].split_source) == ("b", "local")
    assert first["a"][0]["metainfo"]["split"] == "a"


def patients(count: int = 20, without: int = 4) -> list[Resource]:
    rng = np.random.default_rng(3)
    found = []
    for patient in range(count):
        groups = {"patient": f"p{patient}"} if patient >= without else {}
        images = rng.integers(1, 10) if groups else 1
        found += [Resource(PIXEL, id=f"{patient}-{i}", groups=groups) for i in range(images)]
    return found


@pytest.mark.parametrize("way", ["individual", "group", "skip"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_patient_in_two_parts(way: str, seed: int) -> None:
    given = patients()
    data = ImageDataset(resources=given)
    ratios = {"train": 0.6, "val": 0.2, "test": 0.2}
    parts = data.split(seed=seed, by_patient=True, none_patient_id_strategy=way, **ratios)
    check = parts.check()
    assert check["shared_groups"] == {}
    assert check["shared_resources"] == {}
    missing = {f"{i}-0" for i in range(4)}
    found = [set(part.get_resources_ids()) & missing for part in parts.values()]
    if way == "skip":
        assert not any(found)
    elif way == "group":
        assert sorted(map(len, found)) == [0, 0, 4]
    total = len(data) - (4 if way == "skip" else 0)
    assert sum(check["sizes"].values()) == total
    largest = max(Counter(resource.patient for resource in given).values())
    assert all(abs(check["sizes"][name] - ratio * total) < largest for name, ratio in ratios.items())
    assert parts["train"].split_source == "local_by_patient"


def test_missing_patients_can_be_an_error() -> None:
    with pytest.raises(DatasetError, match=r"'0-0'"):
        ImageDataset(resources=patients()).split(a=0.5, b=0.5, by_patient=True, none_patient_id_strategy="error")


def test_groups_and_strata() -> None:
    given = [
        Resource(PIXEL, id=str(i), groups={"Study": f"s{i // 3}"}, tags={"site": "a" if i % 10 else "b"},
                 annotations=[Annotation.category("stage", "early" if i % 4 else "late")])
        for i in range(40)
    ]  # fmt: skip
    data = ImageDataset(resources=given)
    late = [sum(item["image_categories"]["unknown"] == 1 for item in part)
            for part in data.split(a=0.5, b=0.5, seed=1, stratify="stage").values()]  # fmt: skip
    assert late == [5, 5]
    site = data.split(a=0.5, b=0.5, seed=1, stratify="site")
    assert set(site.check()["strata"]) == {"a", "b"}
    assert all(abs(off) < 1 for each in site.check()["strata"].values() for off in each.values())
    by_study = data.split(a=0.5, b=0.5, seed=1, group_by="study")
    assert by_study.check()["shared_groups"] == {}
    both = data.split(
        a=0.5, b=0.5, seed=1, group_by="study", stratify=lambda resource, annotations: int(resource.id) < 20
    )
    assert both.check()["shared_groups"] == {}
    assert data.split(a=0.5, b=0.5, seed=1).check()["shared_groups"] == {}  # nobody is told to be a patient
    assert len(data.group_by("study")) == 14
    with pytest.raises(KeyNotFoundError, match="did you mean 'study'"):
        data.split(a=0.5, b=0.5, group_by="studdy")
    with pytest.raises(KeyNotFoundError, match="stage"):
        data.split(a=0.5, b=0.5, stratify="stag")


@pytest.mark.parametrize(("by", "title"), [("patient", "patient"), ("Study", "Study"), ("site", "site"), (None, None)])
def test_a_result_can_be_pickled(by: str | None, title: str | None) -> None:
    given = [
        Resource(PIXEL, id=str(i), groups={"Study": f"s{i % 3}", "patient": f"p{i % 4}"}, tags={"site": f"t{i % 5}"})
        for i in range(12)
    ]
    parts = ImageDataset(resources=given).split(a=0.5, b=0.5, seed=2, group_by=by, stratify="site")
    again = pickle.loads(pickle.dumps(parts))
    assert isinstance(again, SplitResult)
    assert ids_of(again) == ids_of(parts)
    assert again.check() == parts.check()
    assert again.to_json() == parts.to_json()


@pytest.mark.parametrize("ratios", [{"a": 0.5, "b": 0.5}, {"a": 0.7, "b": 0.2, "c": 0.1}])
def test_strata_of_one_group_each_do_not_pile_up(ratios: dict[str, float]) -> None:
    given = [Resource(PIXEL, id=str(i), groups={"study": f"s{i // 2}"}, tags={"site": f"t{i // 2}"}) for i in range(40)]
    parts = ImageDataset(resources=given).split(seed=0, group_by="study", stratify="site", **ratios)
    assert all(abs(len(parts[name]) - 40 * ratio) <= 2 for name, ratio in ratios.items())


def test_folds() -> None:
    data = ImageDataset(resources=patients())
    pairs = data.folds(4, seed=1, group_by="patient")
    held = [id for pair in pairs for id in pair["val"].get_resources_ids()]
    assert sorted(held) == sorted(data.get_resources_ids())
    for pair in pairs:
        train, val = ({r.patient for r in pair[name].resources()} - {None} for name in ("train", "val"))
        assert not train & val
    with pytest.raises(ParameterError):
        data.folds(1)


def test_planes_of_a_volume_stay_together() -> None:
    planes = VolumeDataset(resources=[Resource(np.zeros((n, 2, 2)), id=str(n)) for n in range(3, 13)]).slice()
    parts = planes.split(train=0.7, test=0.3, seed=0)
    assert parts.check()["shared_resources"] == {}
    assert abs(len(parts["train"]) - 0.7 * len(planes)) < 12
    assert type(parts["test"]) is type(planes)


def test_equal_content_is_found() -> None:
    rng = np.random.default_rng(0)
    given = [Resource(rng.integers(0, 9, (9, 9)), id=str(i)) for i in range(6)]
    given.append(Resource(given[0].image.copy(), id="copy"))
    data = ImageDataset(resources=given)
    seed = next(s for s in range(99) if len(data.split(a=0.5, b=0.5, seed=s).check(content=True)["shared_content"]))
    (found,) = data.split(a=0.5, b=0.5, seed=seed).check(content=True)["shared_content"].values()
    assert {id for _, id in found} == {"0", "copy"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"a": 0.5, "b": 0.4}, "0.9"),
        ({"a": 1.0}, "1 part"),
        ({"a": 0.0, "b": 1.0}, "'a'"),
        ({"a": -0.1, "b": 1.1}, "'a'"),
        ({"a": float("nan"), "b": 1.0}, "nan"),
        ({"a": "half", "b": 0.5}, "'half'"),
        ({"a": 0.5, "b": 0.5, "use_project_splits": True}, "stored"),
        ({"use_server_splits": True, "use_project_splits": True}, "both"),
        ({"a": 0.5, "b": 0.5, "as_of_timestamp": "2026-01-01T00:00:00Z"}, "as_of"),
        ({"by_patient": True}, "without ratios"),
        ({"a": 0.5, "b": 0.5, "method": "magic"}, "magic"),
        ({"a": 0.5, "b": 0.5, "method": "hash", "stratify": "x"}, "hash"),
        ({"use_project_splits": True}, "no project"),
        ({"a": 0.5, "b": 0.5, "seed": "a"}, "seed"),
        ({"a": 0.5, "b": 0.5, "seed": True}, "seed"),
        ({"a": 0.5, "b": 0.5, "seed": 1.0}, "seed"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        blank(HUNDRED).split(**arguments)
    assert isinstance(caught.value, ParameterError)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parts": {"train": "r1"}}, "'train' is no list"),
        ({"parts": {"train": [1]}}, "'train' is no list"),
        ({"parts": {"": ["r1"]}}, "'' is no list"),
        ({"parts": {"train": ["r1", "r2"], "test": ["r2"]}}, "'r2' is in 'train' and in 'test'"),
        ({"parts": None}, "no split"),
        ({"ratios": [1]}, "no split"),
        ({"ratios": {"train": float("nan")}}, "ratio of 'train'"),
        ({"ratios": {"train": True}}, "ratio of 'train'"),
        ({"seed": "a"}, "seed"),
        ({"seed": True}, "seed"),
        ({"version": "a"}, "version"),
        ({"method": None}, "method"),
        ({"created": "2020-01-01T00:00:00"}, "no time"),
        ({"schema": 2}, "schema"),
        ({"more": 1}, "more"),
    ],
)
def test_files_of_splits_that_are_none(changes: dict, said: str) -> None:
    data = blank(HUNDRED)
    document = json.loads(data.split(train=0.5, test=0.5, seed=np.int64(1)).to_json())
    assert {name: len(part) for name, part in SplitResult.from_json(json.dumps(document), data).items()} == {
        "train": 50, "test": 50,
    }  # fmt: skip
    with pytest.raises(FormatError, match=said):
        SplitResult.from_json(json.dumps(document | changes), data)
    with pytest.raises(FormatError, match="twice"):
        SplitResult.from_json(json.dumps(document).replace('"seed": 1', '"seed": 1, "seed": 2'), data)


def test_sums_within_a_hundredth_count() -> None:
    assert len(blank(HUNDRED).split(a=0.70, b=0.29, seed=0)["a"]) == 71
    with pytest.raises(DatasetError, match="'b'"):
        blank(["r1"]).split(a=0.6, b=0.4, seed=0)
    assert len(blank(["r1"]).split(a=0.6, b=0.4, seed=0, allow_empty=True)["b"]) == 0


def test_a_project_keeps_its_splits(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 6)
    data = ImageDataset(project.path)
    with pytest.raises(DatasetError, match=r"\.save\(\)"):
        data.split()
    first = data.split(train=0.5, test=0.5, seed=1)
    saved = first.save()
    with pytest.raises(ValueError, match="already"):
        data.split(train=0.5, test=0.5, seed=2).save()
    second = data.split(train=0.5, test=0.5, seed=2)
    later = second.save(force=True)
    assert (saved.version, later.version) == (1, 2)
    assert ids_of(data.split()) == ids_of(second)
    then = data.split(as_of_timestamp=saved.created)
    assert ids_of(then) == ids_of(first)
    part = data.split()["train"]
    assert (part.split_source, part.split_version, part.split_seed) == ("project_api", 2, 2)
    assert ids_of(data.split(as_of_timestamp=part.split_as_of_timestamp)) == ids_of(second)
    before = history.told(history.instant(saved.created) - timedelta(microseconds=1))
    with pytest.raises(DatasetError, match=saved.created):
        data.split(as_of_timestamp=before)
    with pytest.raises(ParameterError, match="no time"):
        data.split(as_of_timestamp="yesterday")
    again = SplitResult.from_json(first.to_json(), data)
    assert ids_of(again) == ids_of(first)
    with pytest.raises(FormatError):
        SplitResult.from_json('{"schema": 2}', data)
    project.add_descriptor(PIXEL, "new")
    project.save()
    with pytest.warns(UserWarning, match="1 resources are in no part"):
        assert sum(map(len, ImageDataset(project.path).split().values())) == 6
    project.delete_descriptors([project.descriptors[0]])
    project.save()
    with pytest.warns(UserWarning, match="no part|not in this data set"):
        assert sum(map(len, ImageDataset(project.path).split().values())) == 5


def test_a_stored_split_that_tears_patients(tmp_path: Path) -> None:
    project = Project("torn", tmp_path / "p")
    for i in range(4):
        project.add_descriptor(PIXEL + i, str(i), image_info=ImageInfo(patient_id="same"))
    project.save()
    data = ImageDataset(project.path)
    data.split(a=0.5, b=0.5, seed=0).save()
    with pytest.raises(DatasetError, match="same"):
        data.split(group_by="patient")
    assert data.split().check()["shared_groups"] == {"same": ["a", "b"]}


def test_splits_by_tags() -> None:
    given = [Resource(PIXEL, id=str(i), tags={f"split:{'train' if i else 'test'}": True}) for i in range(3)]
    with pytest.warns(DeprecationWarning, match="old"):
        parts = ImageDataset(resources=given).split()
    assert ids_of(parts) == {"test": {"0"}, "train": {"1", "2"}}
    with pytest.warns(DeprecationWarning, match="old"), pytest.raises(DatasetError, match="split:NAME"):
        blank(["a"]).split(use_server_splits=True)


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 2)
    (tmp_path / "elsewhere").mkdir()
    (Path(project.path) / "splits").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="out of the project"):
        ImageDataset(project.path).split(a=0.5, b=0.5).save()


def test_random_histories() -> None:
    """Whatever is added, removed and split, 1,000 times: a partition, no torn group, no old one moved by hash."""
    for number in range(1000):
        rng = np.random.default_rng(number)
        groups: list[int] = []
        last: dict[int, int] = {}
        seed, ratio = int(rng.integers(2**40)), int(rng.integers(1, 10)) / 10
        for _ in range(3):
            groups += rng.integers(0, 12, rng.integers(1, 8)).tolist()
            groups = [group for group in groups if rng.random() < 0.9] or groups
            names = sorted(set(groups))
            weights = [groups.count(name) for name in names]
            ratios = [ratio, 1 - ratio]
            parts = assign(names, ratios, seed, weights=weights, grouped=True)
            backwards = assign(names[::-1], ratios, seed, weights=weights[::-1], grouped=True)
            assert backwards[::-1].tolist() == parts.tolist()
            assert len(parts) == len(names)
            assert set(parts.tolist()) <= {0, 1}
            held = sum(weight for weight, part in zip(weights, parts, strict=True) if part == 0)
            assert abs(held - ratio * len(groups)) < max(weights)
            hashed = assign(names, ratios, seed, method="hash").tolist()
            assert all(last.get(name, part) == part for name, part in zip(names, hashed, strict=True))
            last |= dict(zip(names, hashed, strict=True))


@settings(max_examples=25, deadline=None)
@given(saves=st.lists(st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.booleans()), min_size=1, max_size=6))
def test_any_past_split_is_replayed(tmp_path_factory: pytest.TempPathFactory, saves: list) -> None:
    folder = str(tmp_path_factory.mktemp("history"))
    kept: list[StoredSplit] = []
    for ids, force in saves:
        split = StoredSplit({"x": sorted(ids), "y": []}, {"x": 0.5, "y": 0.5}, 1, "random", "local")
        if kept and not force:
            with pytest.raises(DatasetError):
                history.store(folder, split, force)
        else:
            kept.append(history.store(folder, split, force))
    assert [one.version for one in kept] == list(range(1, len(kept) + 1))
    moments = [history.instant(one.created) for one in kept]
    assert all(a < b for a, b in itertools.pairwise(moments))
    for one, moment in zip(kept, moments, strict=True):
        assert history.stored(folder, moment) == one
    for one, after in zip(kept, [*moments[1:], datetime.now(UTC) + timedelta(days=1)], strict=True):
        assert history.stored(folder, after - timedelta(microseconds=1)) == one
    assert history.stored(folder, None) == kept[-1]
