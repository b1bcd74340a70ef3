"""A project of 100,000 data sets (`make test-projects`)."""

from __future__ import annotations

import resource
import sys
from time import perf_counter, process_time

import numpy as np
import pytest

from bioimage_py.projects import DataType, Group, Project, TagKind
from bioimage_py.projects.storage.folder import new_stamp

N = 100_000
_opened: list[str] = []


@pytest.mark.timeout(3600)
def test_it_is_listed_and_filtered_in_two_seconds_without_opening_a_descriptor(tmp_path):
    project = Project("large", tmp_path / "project")
    project.add_tag("Reviewed", TagKind.Bool)
    project.grouping_hierarchy = ["Patient"]
    record = project.add_descriptor(np.zeros((4, 4), np.uint8), "image", grouping=["p"])._record
    for n in range(1, N):
        twin = record.model_copy(deep=True)
        twin.identifier, twin.name, twin.grouping = new_stamp(), f"image {n}", [Group(f"p{n % 1000}")]
        twin.tags = {project.tags["Reviewed"].id: n % 4 == 0}
        project._session.add(twin)
    begin = perf_counter()
    project.save()
    print(f"saved in {perf_counter() - begin:.1f} s")

    sys.addaudithook(lambda event, given: _opened.append(given[0]) if event == "open" else None)
    begin, work = perf_counter(), process_time()
    seen = Project.load(project.path)
    assert len(seen.descriptors) == N
    assert seen.data_type == DataType.AnyDataType
    listed, worked = perf_counter() - begin, process_time() - work
    identifiers = [found.identifier for found in seen.descriptors]
    assert len(set(identifiers)) == N
    reviewed = seen.descriptors.filter(tags={"Reviewed": True})
    filtered = perf_counter() - begin
    assert len(reviewed) == (N - 1) // 4
    assert len(seen.descriptors.filter(group="p7")) == 100
    assert len(seen.descriptors.filter(annotated=False)) == N
    assert not [path for path in _opened if "/descriptors/" in str(path)]
    assert seen._session.folder.opened == 0
    print(f"listed in {listed:.2f} s ({worked:.2f} s of work), filtered in {filtered:.2f} s (with the index read)")
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    assert worked < 2  # of this process: others may be busy
    begin = perf_counter()
    assert sum(len(seen.descriptors[n].identifier) for n in range(N)) == sum(map(len, identifiers))
    assert perf_counter() - begin < 60  # not the square of their number
    assert seen.descriptors[N // 2].width == 4
    assert seen._session.folder.opened == 1

    begin = perf_counter()
    seen.descriptors[0].comments = "one"
    seen.save()
    print(f"one change saved in {1000 * (perf_counter() - begin):.0f} ms")
    assert project.sync() == 1
