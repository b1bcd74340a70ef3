"""Learned costs: trees as scikit-learn has them, files that can run no code, better objects than with plain costs."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError, ParameterError, ShapeError, SourceNotFoundError
from bioimage_py.graph import EdgeClassifier, edge_truth, region_graph, train_edges
from bioimage_py.graph.learning import plain
from bioimage_py.graph.learning.inputs import NAMES, inputs_of
from bioimage_py.workflows import segment

from .test_multicut import neurons


def example(seed: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    truth, boundaries = neurons(seed)[:2]
    pieces = np.asarray(bp.segmentation.distance_watershed(boundaries, block_shape=24, min_size=30))
    graph = region_graph(pieces, boundaries)
    return graph, edge_truth(graph, pieces, truth), pieces, truth


@pytest.fixture(scope="module")
def learned() -> EdgeClassifier:
    return train_edges([example(seed)[:2] for seed in (1, 2)], trees=20)


def test_the_same_trees_as_those_of_scikit_learn(learned: EdgeClassifier) -> None:
    from sklearn.ensemble import RandomForestClassifier

    examples = [example(seed)[:2] for seed in (1, 2)]
    rows = np.concatenate([inputs_of(graph)[truth >= 0] for graph, truth in examples])
    truth = np.concatenate([truth[truth >= 0] for _, truth in examples])
    forest = RandomForestClassifier(20, min_samples_leaf=5, max_features="sqrt", random_state=0).fit(rows, truth)
    other = example(3)[0]
    np.testing.assert_allclose(
        learned.probabilities(other), forest.predict_proba(inputs_of(other))[:, 1], rtol=0, atol=1e-12
    )
    again = train_edges(examples, trees=20)
    assert all(
        np.array_equal(getattr(again, one.name), getattr(learned, one.name)) for one in dataclasses.fields(again)
    )
    assert rows.shape[1] == len(NAMES)


def test_better_than_plain_costs_on_other_neurons(learned: EdgeClassifier) -> None:
    graph, truth, pieces, objects = example(4)
    plain, found = graph.mean(), learned.probabilities(graph)
    known = truth >= 0
    assert np.mean((found > 0.5)[known] == truth[known]) >= np.mean((plain > 0.5)[known] == truth[known])

    def vi(costs: np.ndarray) -> float:
        labels = bp.graph.apply_node_labels(pieces, bp.graph.multicut(graph, costs))
        return float(sum(bp.evaluation.variation_of_information(labels, objects)))

    assert vi(bp.graph.costs(graph, found)) <= vi(bp.graph.costs(graph)) + 0.05


def test_truth_of_edges() -> None:
    labels = np.array([[2**63, 2**63, 5, 5, 9, 9, 0]], np.uint64)
    graph = region_graph(labels, np.zeros(labels.shape, np.float32))
    assert graph.edges.ids.tolist() == [[5, 9], [5, 2**63]]
    assert edge_truth(graph, labels, np.array([[3, 3, 3, 3, 4, 4, 4]])).tolist() == [1, 0]
    assert edge_truth(graph, labels, np.array([[3, 3, 3, 4, 4, 4, 4]]), overlap=0.6).tolist() == [-1, -1]
    assert edge_truth(graph, labels, np.array([[0, 0, 3, 3, 4, 4, 4]])).tolist() == [1, -1]
    blocks = edge_truth(graph, labels, np.array([[3, 3, 3, 3, 4, 4, 4]]), block_shape=(1, 2), num_workers=2)
    assert blocks.tolist() == [1, 0]
    empty = region_graph(np.zeros((2, 2), np.uint8), np.zeros((2, 2)))
    assert edge_truth(empty, np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)).tolist() == []
    with pytest.raises(ParameterError, match="overlap"):
        edge_truth(graph, labels, labels, overlap=2)


def test_files(learned: EdgeClassifier, tmp_path: Path) -> None:
    path = tmp_path / "edges.npz"
    learned.write(path)
    found = EdgeClassifier.read(path)
    graph = example(5)[0]
    assert np.array_equal(found.probabilities(graph), learned.probabilities(graph))
    with pytest.raises(SourceNotFoundError):
        EdgeClassifier.read(tmp_path / "none.npz")
    circle = dataclasses.replace(learned, left=np.zeros_like(learned.left))
    far = dataclasses.replace(learned, right=np.full_like(learned.right, 2**30))
    column = dataclasses.replace(learned, column=np.where(learned.column < 0, -1, 99).astype(np.int32))
    share = dataclasses.replace(learned, share=learned.share + 1)
    for wrong in (circle, far, column, share, dataclasses.replace(learned, begins=learned.begins[:0])):
        wrong.write(path)
        with pytest.raises(FormatError, match="no classifier"):
            EdgeClassifier.read(path)
    for data in (b"", b"PK", path.read_bytes()[:400], b"x" * 100):
        path.write_bytes(data)
        with pytest.raises(FormatError, match="no classifier"):
            EdgeClassifier.read(path)
    np.savez(path, format=np.array([object()]))
    with pytest.raises(FormatError, match="no classifier"):
        EdgeClassifier.read(path)


class Runs:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_hostile_files_are_refused_by_name_and_run_nothing(
    learned: EdgeClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "LARGEST", 2**22)
    path, mark = tmp_path / "edges.npz", tmp_path / "it-ran"
    evil = np.array([Runs(mark)])
    learned.write(path)
    whole = path.read_bytes()
    with np.load(path) as held:
        good = {name: held[name] for name in held.files}

    def claimed(shape: str) -> bytes:
        return (
            b"\x93NUMPY\x01\x00"
            + (118).to_bytes(2, "little")
            + (f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n")
        )

    def archived(members: dict[str, bytes], twice: str = "") -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)
            if twice:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    archive.writestr(f"{twice}.npy", members[twice])

    def packed(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    members = {name: packed(array) for name, array in good.items()}
    hostile: list[Any] = [
        lambda: path.write_bytes(pickle.dumps(Runs(mark))),
        lambda: np.savez(path, **{**good, "share": evil}),
        lambda: path.write_bytes(packed(evil)),
        lambda: path.write_bytes(packed(good["share"])),
        lambda: archived({**members, "share": claimed("(1099511627776,)") + bytes(100)}),
        lambda: archived({**members, "share": claimed("(-1,)") + bytes(100)}),
        lambda: archived(members, twice="share"),
        lambda: archived({**members, "more": bytes(2**22)}),
    ]
    for make in hostile:
        make()
        with pytest.raises(FormatError, match=r"edges\.npz is no classifier"):
            EdgeClassifier.read(path)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole[: rng.integers(len(whole) // 2, len(whole) + 1)])
        damaged[int(rng.integers(len(damaged)))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            found = EdgeClassifier.read(path)  # a byte in the time of a member, say, is no damage
            assert all(np.array_equal(getattr(found, name), good[name]) for name in vars(learned))
    assert not mark.exists()


def test_segment_with_learned_costs(learned: EdgeClassifier, tmp_path: Path) -> None:
    boundaries = neurons(4)[1]
    learned.write(tmp_path / "edges.npz")
    how: dict[str, Any] = {"block_shape": 24, "progress": False, "classifier": tmp_path / "edges.npz", "beta": 0.45}
    how["min_size"] = 0
    found = segment(boundaries, tmp_path / "a.zarr", method="multicut", **how)
    pieces = np.asarray(bp.segmentation.distance_watershed(boundaries, block_shape=24))
    graph = region_graph(pieces, boundaries)
    parts = bp.graph.multicut(graph, bp.graph.costs(graph, learned.probabilities(graph), beta=0.45))
    assert np.array_equal(bp.open_source(found.path)[...], bp.graph.apply_node_labels(pieces, parts))
    tree = bp.graph.agglomerate(graph, learned.probabilities(graph), thresholds=0.55)
    other = segment(boundaries, tmp_path / "b.zarr", method="agglomerate", **how)
    assert np.array_equal(bp.open_source(other.path)[...], bp.graph.apply_node_labels(pieces, tree.partition(0.55)))
    with pytest.raises(ParameterError, match="classifier does nothing for method='watershed'"):
        segment(boundaries, tmp_path / "c.zarr", classifier=tmp_path / "edges.npz", progress=False)
    with pytest.raises(SourceNotFoundError):
        segment(boundaries, tmp_path / "c.zarr", method="multicut", classifier=tmp_path / "none.npz", progress=False)


def test_bad_examples_are_refused() -> None:
    graph, truth = example(1)[:2]
    with pytest.raises(ShapeError, match="edges and truth of shape"):
        train_edges([(graph, truth[1:])])
    with pytest.raises(ParameterError, match="nothing to tell"):
        train_edges([(graph, np.zeros_like(truth))])
    with pytest.raises(ParameterError, match="nothing to tell"):
        train_edges([])
    with pytest.raises(ParameterError, match="trees"):
        train_edges([(graph, truth)], trees=0)
