"""The conformance suite finds what is wrong: each broken backend fails the check that is there for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bioimage_py.backends import BackendEvent, Work, base, register_backend
from bioimage_py.backends.subprocess import SubprocessBackend
from bioimage_py.errors import ParameterError
from bioimage_py.testing import BACKEND_CHECKS, BackendConformance, Failure
from bioimage_py.testing.trials import BrokenBackendError, Watch, watched


class LosesAnEnd(SubprocessBackend):
    def ended(self) -> list[BackendEvent]:
        return [event for event in super().ended() if event.kind == "finished"]


class TellsTwice(SubprocessBackend):
    def ended(self) -> list[BackendEvent]:
        return [event for event in super().ended() for _ in range(2)]


class StartsOneTooMany(SubprocessBackend):
    def start(self, worker: str, work: Work) -> None:
        super().start(f"{worker}0", work)
        super().start(worker, work)

    def ended(self) -> list[BackendEvent]:
        return [event for event in super().ended() if not event.worker.endswith("00")]

    def alive(self) -> set[str]:
        return {worker for worker in super().alive() if not worker.endswith("00")}


class NeverKills(SubprocessBackend):
    def kill(self, worker: str) -> None:
        pass


class AdoptsStrangers(SubprocessBackend):
    def adopt(self, folder: Path) -> frozenset[str]:
        return frozenset({"s0w99"})


class ReturnsEarly(SubprocessBackend):
    stopping = False

    def alive(self) -> set[str]:
        return set() if self.stopping else super().alive()

    def join(self, timeout: float | None = None) -> None:
        self.stopping = True

    def ended(self) -> list[BackendEvent]:
        events = super().ended()
        # the driver asks who lives before it waits
        self.stopping = any((process.run_log.parent.parent / "stop").exists() for process in self._busy)
        return events


MUTANTS: dict[type[SubprocessBackend], tuple[str, str, str]] = {
    LosesAnEnd: ("ends", "test_the_end_of_each_worker_is_told_once", "its end was not told"),
    TellsTwice: ("ends", "test_the_end_of_each_worker_is_told_once", "told more than once"),
    StartsOneTooMany: ("count", "test_no_more_workers_than_were_asked_for", "workers that nobody asked for"),
    NeverKills: ("timeout", "test_a_block_that_hangs", "was to be killed"),
    AdoptsStrangers: ("adopt", "test_nobody_is_adopted_that_is_not_there", "workers were adopted that have ended"),
    ReturnsEarly: ("over", "test_a_run_that_has_returned_has_no_worker_that_goes_on", "had returned and these calls"),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_backend_fails_at_the_right_check(
    mutant: type[SubprocessBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_registered", {})
    register_backend("mutant", mutant)
    check, name, said = MUTANTS[mutant]
    test = getattr(BackendConformance, name)
    assert test.checks == (check,)
    settings: Mapping[str, Any] = {"job_type": "mutant"}
    watch = Watch(patience=3.0)
    arguments = {"folder": tmp_path, "settings": settings, "watch": watch}
    known = test.__code__.co_varnames[: test.__code__.co_argcount]
    with watched("mutant", watch), pytest.raises((AssertionError, BrokenBackendError), match=said):
        test(BackendConformance(), **{key: value for key, value in arguments.items() if key in known})


def test_each_check_has_a_test() -> None:
    tests = [value for name, value in vars(BackendConformance).items() if name.startswith("test_")]
    assert {name for test in tests for name in test.checks} == set(BACKEND_CHECKS)


def test_failures_are_read_from_text() -> None:
    found = Failure.parse(
        "block 7: raise, raise, ok; worker 2: killed after 3 blocks; block 9: exit 137; node 1: gone after 5 s"
    )
    assert found == (
        Failure("block", 7, ("raise", "raise", "ok")),
        Failure("worker", 2, ("killed",), 3.0),
        Failure("block", 9, ("exit 137",)),
        Failure("node", 1, ("gone",), 5.0),
    )
    assert Failure.parse("block 1: always raise") == (Failure("block", 1, ("raise",), always=True),)


@pytest.mark.parametrize(
    "text", ["block 7", "block 7: fly", "worker 1: raise", "node a: gone after 1 s", "block -1: ok"]
)
def test_what_is_no_failure(text: str) -> None:
    with pytest.raises(ParameterError, match="is no failure"):
        Failure.parse(text)
