"""Several processes edit one project at random, and are killed at random; nothing that was acknowledged may be lost.

Every worker writes a log: a line before an operation (what it will write, under which key) and one after it was
acknowledged or refused. Keys belong to one worker each, except for a tag, a label map and the list of tags that all of
them change. At the end each key must have the value of its last acknowledged write, or of one that was begun later
and cut off by a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from project_kills import environment

from bioimage_py.errors import ConflictError, LockError
from bioimage_py.projects import BoxSet, Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind

WORKERS = 8
IMAGES = 4
SHAPE = (70, 70, 8 * WORKERS)
LOCK_SECONDS = 5.0
REFUSALS = (ConflictError, LockError)


def make(path: Path, workers: int = WORKERS) -> None:
    """A project with a slab of every label map, a tag and a type of box for each worker."""
    pixel, box = LayerKind.PIXELWISE, LayerKind.BOUNDINGBOX
    tags = [Tag(f"worker {w}", TagKind.Float) for w in range(workers)]
    types = [Label(f"worker {w}", box) for w in range(workers)]
    layers = [Layer("cells", pixel), Layer("boxes", box, types)]
    with Project.create(
        ProjectSettings("soak", tags=[*tags, Tag("all", TagKind.Float)], layers=layers), path
    ) as project:
        for n in range(IMAGES):
            project.add_descriptor(np.zeros(SHAPE, np.uint8), f"image {n}")


class Worker:
    """One process: does operations, and logs them.

    Parameters
    ----------
    path : str
        Project.
    number : int
    log : Path
        Appended to; its own.
    seed : int
    """

    def __init__(self, path: str, number: int, log: Path, seed: int) -> None:
        self.path, self.number = path, number
        self.chance = random.Random(seed)
        self.log = open(log, "a", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        self.project = Project.load(path)
        self.count = seed * 100_000
        self.operations: list[Callable[[int], None]] = [
            self.tag, self.tag, self.shared_tag, self.label_map, self.label_map, self.label_map, self.boxes,
            self.add, self.delete, self.new_tag, self.several, self.comment,
        ]  # fmt: skip

    def note(self, state: str, key: str, value: Any) -> None:
        """Append a line to the log, and wait for the disk."""
        self.log.write(json.dumps([state, key, value]) + "\n")
        self.log.flush()
        os.fsync(self.log.fileno())

    def run(self) -> None:
        """Do operations until killed, or until the file named "over" is there."""
        while not Path(self.path, ".over").exists():
            self.count += 1
            if self.chance.random() < 0.3:
                self.project = Project.load(self.path)
            elif self.chance.random() < 0.5:
                self.project.sync()
            operation = self.chance.choice(self.operations)
            try:
                operation(self.chance.randrange(IMAGES))
            except REFUSALS as error:
                self.note("refused", operation.__name__, type(error).__name__)
                self.project.revert()
                self.project.sync()

    def image(self, n: int) -> Any:
        """One of the images that stay."""
        return self.project.descriptors[f"image {n}"]

    def commit(self, key: str, value: Any, save: Callable[[], Any]) -> None:
        """Log, save, log."""
        self.note("begin", key, value)
        save()
        self.note("done", key, value)

    def tag(self, n: int) -> None:
        """Set this worker's tag."""
        self.image(n).tags[f"worker {self.number}"].value = self.count
        self.commit(f"tag {self.number} {n}", self.count, self.project.save)

    def shared_tag(self, n: int) -> None:
        """Set the tag that all of them set, with or without conflict."""
        self.image(n).tags["all"].value = self.count
        self.commit(f"all {n}", self.count, self.project.save)

    def label_map(self, n: int) -> None:
        """Write this worker's slab of a label map, under a lock, and leave the others as they are."""
        image = self.image(n)
        with image.lock(LOCK_SECONDS) as token:
            layer = image.labelmap_layers["cells"]
            found = layer.load()
            labels = np.zeros(SHAPE, np.uint32) if found is None else np.array(found)
            labels[..., 8 * self.number : 8 * self.number + 8] = self.count
            self.commit(f"labels {self.number} {n}", self.count, lambda: layer.save_new_data(labels, token))

    def boxes(self, n: int) -> None:
        """Replace this worker's box, under a lock."""
        image = self.image(n)
        with image.lock(LOCK_SECONDS) as token:
            layer = image.boundingbox_layers["boxes"]
            rows = layer.load() or BoxSet.from_descriptor(image, "boxes")
            name = f"worker {self.number}"
            rows.delete([row for row, found in enumerate(rows) if found.type == name])
            rows.add(name, 0, (0, 0, 0), (self.count, 1, 1))
            self.commit(f"box {self.number} {n}", self.count, lambda: layer.save_new_data(rows, token))

    def add(self, n: int) -> None:
        """Add a data set."""
        name = f"new {self.number} {self.count}"
        self.project.add_descriptor(np.zeros((4, 4), np.uint8), name)
        self.commit(f"descriptor {name}", True, self.project.save)

    def delete(self, n: int) -> None:
        """Delete a data set that this worker has added."""
        own = self.project.descriptors.filter(name=f"new {self.number} *")
        if len(own):
            name = own[0].name
            self.project.delete_descriptors([own[0]])
            self.commit(f"descriptor {name}", False, self.project.save)

    def new_tag(self, n: int) -> None:
        """Add a tag to the project."""
        self.project.add_tag(f"tag {self.number} {self.count}", TagKind.Bool)
        self.commit(f"definition {self.number} {self.count}", True, self.project.save)

    def several(self, n: int) -> None:
        """Change all images in one transaction."""
        key, value = f"several {self.number}", self.count
        self.note("begin", key, value)
        with self.project:
            for index in range(IMAGES):
                self.image(index).consider_frame_annotated(self.number, True)
                self.image(index).tags[f"worker {self.number}"].value = value
        self.note("done", key, value)

    def comment(self, n: int) -> None:
        """Add a line to a text that all of them write."""
        image = self.image(n)
        line = f"[{self.number}:{self.count}]"
        image.comments += line
        self.commit(f"comment {line} {n}", True, self.project.save)


def supervise(path: Path, seconds: float, kills: int, operations: int, workers: int, seed: int) -> Counter[str]:
    """Run workers, kill them, start others; return what was counted."""
    chance = random.Random(seed)
    logs = path.parent / "logs"
    logs.mkdir()
    seen: Counter[str] = Counter()
    running: dict[int, subprocess.Popen[bytes]] = {}
    deadline = time.monotonic() + seconds
    try:
        while (seen["kills"] < kills or acknowledged(logs) < operations) and time.monotonic() < deadline:
            for number in range(workers):
                if number not in running:
                    seen["started"] += 1
                    command = [sys.executable, __file__, "--worker", str(path), str(number), str(seen["started"])]
                    running[number] = subprocess.Popen(command, env=environment())
            time.sleep(chance.uniform(0, 2 * seconds_between(kills, seen["kills"])))
            victim = chance.choice(list(running))
            if running[victim].poll() is not None:
                raise AssertionError(f"worker {victim} ended with {running[victim].returncode}")
            if seen["kills"] < kills and has_begun(logs, running[victim].pid):
                running.pop(victim).send_signal(signal.SIGKILL)
                seen["kills"] += 1
        (path / ".over").touch()
        for process in running.values():
            if process.wait(timeout=120):
                raise AssertionError(f"a worker ended with {process.returncode}")
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    seen["operations"] = acknowledged(logs)
    return seen


def seconds_between(kills: int, done: int) -> float:
    """Mean pause before the next kill."""
    return 0.5 if done < kills else 1.0


def has_begun(logs: Path, pid: int) -> bool:
    """Whether a worker has logged an operation: killing it while it starts would prove nothing."""
    return any((logs / name).stat().st_size for name in os.listdir(logs) if name.endswith(f"-{pid}"))


def read(logs: Path) -> Iterator[list[tuple[str, str, Any]]]:
    """Lines of every log, in the order of the workers' starts."""
    for path in sorted(logs.iterdir(), key=lambda path: int(path.name.split("-")[0])):
        lines = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the last line of one that was killed
                state, key, value = json.loads(line)
                lines.append((state, key, value))
        yield lines


def acknowledged(logs: Path) -> int:
    """Number of operations that were acknowledged."""
    return sum(state == "done" for lines in read(logs) for state, _, _ in lines)


def allowed(logs: Path) -> dict[str, set[Any]]:
    """By key, what may be found: the last acknowledged value, and those begun since and cut off."""
    found: dict[str, set[Any]] = {}
    for lines in read(logs):
        for index, (state, key, value) in enumerate(lines):
            if state == "done":
                found[key] = {value}
            elif state == "begin" and cut_off(lines, index):
                found.setdefault(key, {None}).add(value)
    return found


def cut_off(lines: list[tuple[str, str, Any]], index: int) -> bool:
    """Whether nothing follows the beginning of an operation: neither its end nor its refusal."""
    return index == len(lines) - 1


def check(path: Path) -> Counter[str]:
    """Compare the project with the logs.

    Raises
    ------
    AssertionError
        Something acknowledged is missing, or something is there that nobody wrote.
    """
    project, logs = Project.load(path), path.parent / "logs"
    may, checked = allowed(logs), Counter[str]()
    written = {(key, value) for lines in read(logs) for state, key, value in lines if state == "begin"}
    names, tags = set(project.descriptors.names), set(project.tags.names)
    found: dict[str, Any] = {}
    for n in range(IMAGES):
        image = project.descriptors[f"image {n}"]
        stored, boxes = image.labelmap_layers["cells"].load(), image.boundingbox_layers["boxes"].load()
        labels = np.zeros(SHAPE) if stored is None else np.array(stored)
        found |= {f"tag {w} {n}": image.tags[f"worker {w}"].value for w in range(WORKERS) if f"worker {w}" in tags}
        for w in range(SHAPE[2] // 8):
            slab = np.unique(labels[..., 8 * w : 8 * w + 8])
            assert len(slab) == 1, f"the slab {w} of image {n} is torn: {slab}"
            found[f"labels {w} {n}"] = int(slab[0]) or None
        for row in boxes or ():
            found[f"box {row.type.split()[1]} {n}"] = int(row.lower_right[0])
        value = image.tags["all"].value
        assert value is None or (f"all {n}", value) in written
        comments = image.comments
        found |= {key: True for key in may if key.startswith("comment") and comments_has(key, n, comments)}
    for key, values in may.items():
        kind, _, rest = key.partition(" ")
        if kind == "all":
            continue
        if kind in ("tag", "several"):
            values = with_the_other(key, may, logs)
        if kind == "descriptor":
            value: Any = rest in names
            values = {bool(v) for v in values}
        elif kind == "definition":
            value, values = f"tag {rest}" in tags, {bool(v) for v in values}
        elif kind == "several":
            value = found[f"tag {rest} 0"]
        else:
            value = found.get(key)
        assert value in values, f"{key} is {value!r}, not one of {values}"
        checked[kind] += 1
    return checked


def comments_has(key: str, n: int, comments: str) -> bool:
    """Whether a line of a worker is in the comments of an image."""
    _, line, image = key.split(" ")
    return int(image) == n and line in comments


def with_the_other(key: str, may: dict[str, set[Any]], logs: Path) -> set[Any]:
    """What a worker's tag may be: set alone or with those of all images, whatever came last."""
    _, number, *image = key.split(" ")
    keys = [f"several {number}"] + ([f"tag {number} {image[0]}"] if image else [f"tag {number} 0"])
    values = set.union(*(may.get(name, set()) for name in keys))
    last = max((value for lines in read(logs) for state, name, value in lines if state == "done" and name in keys),
               default=None)  # fmt: skip
    return {value for value in values if last is None or (value is not None and value >= last)}


def soak(folder: Path, *, seconds: float, kills: int, operations: int, workers: int = WORKERS, seed: int = 1) -> str:
    """One round: make a project, edit and kill, check; return what was counted."""
    path = folder / "project"
    make(path, workers)
    seen = supervise(path, seconds, kills, operations, workers, seed)
    checked = check(path)
    refused = Counter(value for lines in read(folder / "logs") for state, _, value in lines if state == "refused")
    assert seen["kills"] >= kills, f"only {seen['kills']} kills in {seconds} s"
    assert seen["operations"] >= operations, f"only {seen['operations']} operations in {seconds} s"
    return f"{dict(seen)}, refused {dict(refused)}, checked {dict(checked)}"


def main() -> None:
    """Run a soak, or one of its workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", nargs=3, metavar=("PATH", "NUMBER", "START"))
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.worker:
        path, number, start = args.worker
        log = Path(path).parent / "logs" / f"{start}-{os.getpid()}"
        Worker(path, int(number), log, int(start)).run()
        return
    with tempfile.TemporaryDirectory() as folder:
        print(soak(Path(folder), seconds=args.seconds, kills=args.kills, operations=args.operations, seed=args.seed))


if __name__ == "__main__":
    main()
