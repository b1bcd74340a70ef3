"""Kills a process at random instants while it saves or edits a project; what is found is the old or the new state.

A job takes a project from state k to state k + 1, again and again; `found` reads the state, and fails where it is
mixed. The parent kills the process, and compares the state with what the process said last. A further job is one more
entry of `JOBS`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind
from bioimage_py.spaces import ObjectClass, Ontology

SHAPE = (70, 70, 70)
N = 3


@dataclass(frozen=True)
class Job:
    """One way to change a project.

    Parameters
    ----------
    step : callable
        ``step(project, k)`` brings it from state k to k + 1.
    found : callable
        ``found(project)`` returns the state; AssertionError where there is none.
    """

    step: Callable[[Project, int], None]
    found: Callable[[Project], int]


_SWAPPED = {1: 2, 2: 1}


def pattern(k: int, n: int = 0) -> np.ndarray:
    """Label map of a state: 8 chunks, of which half change from state to state."""
    labels = np.full(SHAPE, 1, np.uint8)
    labels[64:] = 1 + (k + n) % 199
    return labels


def make(path: Path) -> Project:
    """A project of three data sets in state 0."""
    kind = LayerKind.PIXELWISE
    labels = [Label(f"value {value}", kind, value=value) for value in range(1, 200)]
    settings = ProjectSettings(
        "kills",
        tags=[Tag("state", TagKind.Float)],
        layers=[Layer("cells", kind, labels)],
        ontology=Ontology([ObjectClass("cell", "bounding_box")]),
    )
    project = Project.create(settings, path)
    with project:
        for n in range(N):
            found = project.add_descriptor(np.zeros(SHAPE, np.uint8), f"image {n}")
            found.labelmap_layers[0].save_new_data(pattern(0, n))
            found.tags["state"].value = 0
    return project


def stored(project: Project, n: int) -> np.ndarray:
    """Label map of a data set."""
    return np.array(project.descriptors[n].labelmap_layers[0].load())


def save(project: Project, k: int) -> None:
    """One label map, at once."""
    project.descriptors[0].labelmap_layers[0].save_new_data(pattern(k + 1))


def saved(project: Project) -> int:
    """State after `save`, by the values of the label map, modulo 199."""
    labels = stored(project, 0)
    k = int(labels[-1, -1, -1]) - 1
    np.testing.assert_array_equal(labels, pattern(k))
    return k


def transact(project: Project, k: int) -> None:
    """Three label maps, their tags and the settings, in one transaction."""
    with project:
        for n in range(N):
            project.descriptors[n].labelmap_layers[0].save_new_data(pattern(k + 1, n))
            project.descriptors[n].tags["state"].value = k + 1
        project.configuration = {"state": k + 1}


def transacted(project: Project) -> int:
    """State after `transact`: everything must be of the same one."""
    states = [int(project.descriptors[n].tags["state"].value) for n in range(N)]
    k = project.configuration.get("state", 0)
    assert states == [k] * N, (states, k)
    for n in range(N):
        np.testing.assert_array_equal(stored(project, n), pattern(k, n))
    return int(k)


def edit(project: Project, k: int) -> None:
    """Exchange the values of two labels, and rename the layer."""
    settings = project.settings()
    layer = settings.layers[0]
    layer.labels = [Label(**{**dict(label), "value": _SWAPPED.get(label.value, label.value)}) for label in layer.labels]
    layer.name = f"cells {k + 1}"
    project.edit(settings)


def edited(project: Project) -> int:
    """State after `edit`: voxels and labels must fit each other."""
    layer = project.labelmap_layers[0]
    k = int(layer.name.partition(" ")[2] or 0)
    value = 1 + k % 2
    assert layer.labels["value 1"].value == value
    for n in range(N):
        labels = stored(project, n)
        assert (labels[:64] == value).all(), (k, n, np.unique(labels[:64]))
        expected = pattern(0, n)
        if k % 2:
            expected = np.where(expected < 3, 3 - expected, expected)
        np.testing.assert_array_equal(labels, expected)
    return k


def following(image: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    """Labels of the next state of `apply`."""
    return labels % 199 + 1


def apply(project: Project, k: int, **how: object) -> None:
    """All label maps by an algorithm, which a call that was killed may have done to some of them."""
    warnings.simplefilter("ignore")  # values that no label has
    while applied(project) == k % 199:  # a call that was over, and could not say so, is taken up once more
        project.apply(following, layer="cells", image=False, unknown="warn", progress=False, **how)
    assert len({state_of(project, n) for n in range(N)}) == 1


def apply_blocks(project: Project, k: int) -> None:
    """The same block by block."""
    apply(project, k, block_shape=(64, 64, 64), num_workers=2)


def state_of(project: Project, n: int) -> int:
    """State of one label map, modulo 199."""
    labels = stored(project, n)
    k = int(labels[0, 0, 0]) - 1
    np.testing.assert_array_equal(labels, (pattern(0, n).astype(int) - 1 + k) % 199 + 1)
    return k


def applied(project: Project) -> int:
    """State that all label maps have reached: each is as it was or as it becomes."""
    first, *rest = (state_of(project, n) for n in range(N))
    ahead = [(k - first + 99) % 199 - 99 for k in rest]
    assert max(0, *ahead) - min(0, *ahead) <= 1, (first, rest)
    return (first + min(0, *ahead)) % 199


def edit_space(project: Project, k: int) -> None:
    """Two records of 10,000 and one of 300 in turns: changes beside a whole version, now and then a whole one."""
    space = project.descriptors[1].space()
    if not len(space):
        boxes = np.tile([0.0, 0, 0, 5, 5, 5], (10_000, 1))
        space.put_many("cell", boxes, ids=[str(i) for i in range(10_000)], confidence=0.0)
    for id in ("0", "9999", str(1 + k % 300)):
        space.update(id, confidence=(k + 1) % 199 / 199)
    space.save()


def space_edited(project: Project) -> int:
    """State after `edit_space`, modulo 199."""
    space = project.descriptors[1].space()
    assert len(space) in (0, 10_000)
    states = {round(space.get(id).confidence * 199) for id in ("0", "9999")} if len(space) else {0}
    assert len(states) == 1, states
    return states.pop()


JOBS = {
    "save": Job(save, saved),
    "transact": Job(transact, transacted),
    "edit": Job(edit, edited),
    "apply": Job(apply, applied),
    "apply_blocks": Job(apply_blocks, applied),
    "edit_space": Job(edit_space, space_edited),
}


def work(path: str, name: str) -> None:
    """Change a project for ever, telling each state that is reached."""
    project = Project.load(path)
    job = JOBS[name]
    k = job.found(project)
    print(k, flush=True)
    while True:
        job.step(project, k)
        k += 1
        print(k, flush=True)


def kill_often(path: Path, name: str, kills: int, seed: int) -> list[int]:
    """Kill a job again and again; return the states that were found.

    Raises
    ------
    AssertionError
        A state was mixed, lost, or never asked for.
    """
    chance = random.Random(seed)
    make(path)
    job, states = JOBS[name], []
    for _ in range(kills):
        command = [sys.executable, __file__, str(path), name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(1 + chance.randrange(3))]
        time.sleep(chance.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout]
        process.wait()
        process.stdout.close()
        project = Project.load(path)
        state = job.found(project)
        modulo = 1 << 62 if name in ("transact", "edit") else 199
        assert state in ((said[-1]) % modulo, (said[-1] + 1) % modulo), (said, state)
        states.append(state)
        project.prune(older_than=30)
    return states


def environment(**more: str) -> dict[str, str]:
    """Environment of a process that imports this package."""
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **more}


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2])
