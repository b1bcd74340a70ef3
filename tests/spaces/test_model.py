"""A space and a model of plain dictionaries agree after every step, whatever the steps are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bioimage_py.errors import LabelRowError
from bioimage_py.spaces import Box, ClassificationInstance, ObjectInstance, Space, from_document, to_document
from bioimage_py.spaces.changes import Moment, apply_changes
from bioimage_py.spaces.document import to_bytes

from .conftest import make_ontology

IDS = ["a", "b", "c"]
FRAMES = st.lists(st.integers(0, 7), min_size=1, max_size=4)
STRATEGY = st.sampled_from(["error", "replace", "skip"])


class Model(RuleBasedStateMachine):
    """What should be there: `objects` (id, frame) -> width, `answers` frame -> id, `stages` (id, frame) -> answer."""

    @initialize(frames=st.booleans())
    def begin(self, frames: bool) -> None:
        shape, axes = ((8, 80, 100), ("t", "y", "x")) if frames else ((80, 100), ("y", "x"))
        self.n, self.space = (8 if frames else 1), Space.for_image(shape, axes, make_ontology(), user="me")
        self.objects: dict[Any, Any] = {}
        self.answers: dict[Any, str] = {}
        self.stages: dict[Any, str] = {}
        self.moment = Moment(self.space)
        self.past: list[Any] = []
        self.future: list[Any] = []
        self.texts: list[str] = [json.dumps(to_document(self.space))]

    def state(self) -> Any:
        return dict(self.objects), dict(self.answers), dict(self.stages)

    def done(self, before: Any) -> None:
        if len(self.space.history()) > len(self.past):
            self.past.append(before)
            self.texts[len(self.past) :] = [json.dumps(to_document(self.space))]
            self.future.clear()
            if len(self.past) % 3 == 0:
                self.moment = Moment(self.space)
        else:
            assert self.state() == before

    def _frames(self, frames: list[int]) -> list[int]:
        return sorted(set(frames)) if self.n > 1 else [0]

    def call(self, method: Any, *args: Any, frames: list[int], **given: Any) -> bool:
        args = (args[0], frames, *args[1:]) if self.n > 1 else args
        try:
            method(*args, **given)
        except LabelRowError:
            return False
        return True

    @rule(id=st.sampled_from(IDS), frames=FRAMES, width=st.integers(1, 50), how=STRATEGY)
    def put_object(self, id: str, frames: list[int], width: int, how: str) -> None:
        before, at = self.state(), self._frames(frames)
        instance = ObjectInstance(self.space.ontology.object_class("nucleus"), id)
        box = Box((0, 0), (width, 1))
        worked = self.call(self.space.put_object_instance, instance, box, frames=at, on_overlap=how)
        there = [frame for frame in at if (id, frame) in self.objects]
        assert worked == (how != "error" or not there)
        for frame in at if worked else ():
            if how == "replace" or frame not in there:
                self.objects[id, frame] = width
        self.done(before)

    @rule(id=st.sampled_from(["x", "y", "z"]), frames=FRAMES, how=STRATEGY)
    def put_answer(self, id: str, frames: list[int], how: str) -> None:
        before, at = self.state(), self._frames(frames)
        instance = ClassificationInstance(self.space.ontology.classification("text"), id)
        worked = self.call(self.space.put_classification_instance, instance, frames=at, on_overlap=how)
        there = [frame for frame in at if frame in self.answers]
        assert worked == (how != "error" or not there)
        for frame in at if worked else ():
            if how == "replace" or frame not in there:
                self.answers[frame] = id
        self.done(before)

    @rule(id=st.sampled_from([*IDS, "x", "y"]), frames=st.none() | FRAMES)
    def remove(self, id: str, frames: list[int] | None) -> None:
        before = self.state()
        wanted = range(8) if frames is None else self._frames(frames)
        given = frames if frames is None or self.n > 1 else [0]
        if id in IDS:
            found = self.space.remove_object_instance(id, given)
            known = any(key[0] == id for key in self.objects)
            self.objects = {k: v for k, v in self.objects.items() if not (k[0] == id and k[1] in wanted)}
            self.stages = {k: v for k, v in self.stages.items() if k in self.objects}
        else:
            found = self.space.remove_classification_instance(id, given)
            known = id in self.answers.values()
            self.answers = {k: v for k, v in self.answers.items() if not (v == id and k in wanted)}
        assert (found is not None) == known
        self.done(before)

    @rule()
    def undo(self) -> None:
        if self.past:
            self.future.append(self.state())
            self.objects, self.answers, self.stages = self.past.pop()
            self.space.undo()

    @rule()
    def redo(self) -> None:
        if self.future:
            self.past.append(self.state())
            self.objects, self.answers, self.stages = self.future.pop()
            self.space.redo()

    @rule(id=st.sampled_from(IDS), frames=FRAMES, stage=st.sampled_from(["early", "late"]))
    def set_stage(self, id: str, frames: list[int], stage: str) -> None:
        there = [frame for frame in frames if (id, frame) in self.objects]
        if self.n > 1 and there:
            before = self.state()
            instance = next(r.instance for r in self.space.get_annotations("object", [id]))
            self.space.set_dynamic_answer(instance, frames, stage, "stage", missing="ignore")
            self.stages.update(dict.fromkeys([(id, frame) for frame in there], stage))
            self.done(before)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "space"):
            return
        objects = {(r.id, r.frame): r.bounds[3] for r in self.space.get_annotations("object")}
        assert objects == self.objects
        assert {r.frame: r.id for r in self.space.get_annotations("classification")} == self.answers
        assert len(self.space) == len(self.objects) + len(self.answers)
        assert {r.id for r in self.space.query(Box((0, 0), (1, 1)))} == {id for id, _ in self.objects}
        text = json.dumps(to_document(self.space))
        assert text == self.texts[len(self.past)]
        assert json.dumps(to_document(from_document(json.loads(text)))) == text
        assert self.space._dynamic == {key: {"stage": stage} for key, stage in self.stages.items()}
        self.changed(text)

    def changed(self, text: str) -> None:
        """What changed since the moment, on what was then, is what is now; None only where something came back."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bioimage_py.spaces.changes.isqrt", lambda count: 10**6)
            changes = self.moment.changes(Moment(self.space))
        then = json.loads(json.dumps(self.moment.document()))
        base = from_document(then, self.space.ontology)
        now = json.loads(text)
        if self.moment.is_like(Moment(self.space)):
            assert to_document(base, ontology=False) == then
            assert json.dumps(to_document(base)) == text
        if changes is not None:
            apply_changes(base, json.loads(to_bytes(changes)))
            assert json.dumps(to_document(base)) == text
            assert base._dynamic == self.space._dynamic
            return
        for place in ("objects", "classifications"):
            before, after = ([(r["id"], r.get("frame")) for r in document[place]] for document in (then, now))
            if after != [key for key in before if key in after] + [key for key in after if key not in before]:
                return
        raise AssertionError("no record came back to a place between others")


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_many_more_steps() -> None:
    many = settings(max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    assert run_state_machine_as_test(Model, settings=many) is None
