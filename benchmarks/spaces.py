"""How fast annotation spaces are, against their targets: ``python benchmarks/spaces.py [number of objects]``.

Times are of the processor, all on one core; memory is what the process grew by.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.spaces import (
    Attribute,
    Box,
    ObjectClass,
    ObjectInstance,
    Ontology,
    Space,
    from_document,
    read_space,
    to_document,
    write_space,
)

ONTOLOGY = Ontology([ObjectClass("nucleus", "bounding_box", id="nucleus", attributes=[Attribute("note", id="note")])])


@contextmanager
def timed(what: str, target: float) -> Iterator[None]:
    start = time.process_time()
    yield
    took = time.process_time() - start
    print(f"{what:48} {took:9.4f} s   target {target:g} s   {'reached' if took <= target else 'MISSED'}")


def memory() -> int:
    """Bytes that the process has, without those that were freed."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def edits(folder: Path, boxes: np.ndarray, answered: bool = False, times: int = 400) -> None:
    """One record of many changed and saved, again and again: the median, and what is written on average."""
    project = Project.create(ProjectSettings("edits", ontology=ONTOLOGY), folder / f"{answered}.project")
    with project:
        image = project.add_descriptor(np.zeros((1, 1), "u1"), "image")
        image.space().put_many("nucleus", boxes, source="model")
        for instance in image.space().get_object_instances() if answered else ():
            instance.set_answer("seen")
    space = Project.load(project.path).descriptors[0].space()
    ids = [record.id for record in space][:: max(1, len(boxes) // times)]
    taken, versions = [], Path(project.path) / "annotations" / image.identifier / "space.root"
    before = {entry.inode() for entry in os.scandir(versions)}
    for id in ids:
        start = time.process_time()
        space.update(id, confidence=0.5, answers={"note": "again"} if answered else None)
        space.save()
        taken.append(time.process_time() - start)
    sizes = {entry.inode(): entry.stat().st_size for entry in os.scandir(versions)}
    new = [size for inode, size in sizes.items() if inode not in before]
    what = f"one of {len(boxes):,}{', all answered,' if answered else ''} changed and saved"
    median, most, kilobytes = float(np.median(taken)), max(taken), sum(new) / len(ids) / 1000
    print(f"{what:48} {median:9.4f} s   target 0.05 s   {'reached' if median <= 0.05 else 'MISSED'}")
    print(f"{'    the longest of ' + str(len(ids)):48} {most:9.4f} s   whole ones: {sum(size > 1e6 for size in new)}")
    print(f"{'    written each time':48} {kilobytes:9.0f} kB  target 200 kB")


def main(count: int) -> None:
    side = int(50 * count**0.5)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, side - 40, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (count, 2))], axis=1)
    share = count / 1e6
    few = Space.for_image((side, side), ("y", "x"), ONTOLOGY)
    with timed("put_many, 100,000 boxes", 5):
        few.put_many("nucleus", boxes[:100_000], source="model")
    before, kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, memory()
    space = Space.for_image((side, side), ("y", "x"), ONTOLOGY)
    with timed(f"put_many, {count:,} boxes", 3 * share):
        space.put_many("nucleus", boxes, source="model")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{'memory at its peak, with the ids that it returns':48} {grown:9.0f} MiB target {400 * share:g} MB")
    print(f"{'memory that a box keeps':48} {(memory() - kept) / count:9.0f} B   target 300 B")
    region = Box((side / 2, side / 2), (side / 2 + 200, side / 2 + 200))
    with timed("first query, which makes the index", 2 * share):
        found = len(list(space.query(region)))
    with timed(f"query of 200 x 200 pixels, {found} objects", 0.005):
        list(space.query(region))
    one = Space.for_image((side, side), ("y", "x"), ONTOLOGY)
    item = ONTOLOGY.objects[0]
    instances = [(ObjectInstance(item), Box(row[:2], row[2:])) for row in boxes[:10_000]]
    with timed("10,000 puts, one by one", 0.53):
        for instance, box in instances:
            one.put_object_instance(instance, box)
    with timed("10,000 listed, with their geometry", 0.04):
        for record in one.get_annotations("object"):
            _ = record.geometry
    with timed("10,000 to a document", 0.46 / 5):
        document = to_document(one)
    with timed("10,000 from a document", 0.5 / 5):
        from_document(document)
    print(f"{'bytes of JSON a record, a row each':48} {len(json.dumps(document)) / len(one):9.0f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.json"
        with timed("save 100,000", 0.5):
            write_space(few, path)
        with timed("load 100,000", 0.5):
            read_space(path)
        with timed(f"save {count:,}", 5 * share):
            write_space(space, path)
        edits(Path(folder), boxes[:100_000])
        edits(Path(folder), boxes[:100_000], answered=True)
        print(f"{'bytes of JSON a record, by column':48} {path.stat().st_size / count:9.0f}")
        with timed(f"load {count:,}", 5 * share):
            read_space(path)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
