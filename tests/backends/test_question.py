"""Commands of a scheduler may print anything, for ever, or nothing; profiles may ask for anything."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bioimage_py.backends import backend_names, base, register_backend
from bioimage_py.backends.batch.profile import LSF, PROFILES, may_hang, profile_of
from bioimage_py.backends.batch.scheduler import BatchScheduler
from bioimage_py.backends.jobs import question
from bioimage_py.backends.jobs.question import ask
from bioimage_py.backends.local import LocalBackend
from bioimage_py.backends.slurm import site
from bioimage_py.backends.slurm.commands import expand, states
from bioimage_py.errors import ConfigError


def sh(text: str) -> list[str]:
    return ["sh", "-c", text]


def test_what_is_printed_is_told_with_its_code() -> None:
    done = ask(sh("cat; echo wrong >&2; exit 3"), "given")
    assert (done.returncode, done.stdout, done.stderr) == (3, "given", "wrong\n")


def test_one_that_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "MOST_BYTES", 2**20)
    begin = time.monotonic()
    done = ask(["yes"])
    assert done.returncode
    assert "more than 1 MiB" in done.stderr
    assert len(done.stdout) < 2**21
    assert time.monotonic() - begin < 30


def test_one_that_hangs_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(question, "COMMAND_SECONDS", 0.5)
    done = ask(sh(f"(sleep 3; touch {tmp_path}/late) & sleep 600"))
    assert (done.returncode, done.stderr) == (1, "timed out")
    time.sleep(3.5)
    assert not (tmp_path / "late").exists()


def test_a_child_that_holds_the_output_does_not_hold_the_answer() -> None:
    begin = time.monotonic()
    done = ask(sh("echo 12; sleep 20 &"))
    assert done.stdout == "12\n"
    assert time.monotonic() - begin < 19


def test_bytes_that_are_no_text_and_control_characters() -> None:
    done = ask([sys.executable, "-c", r"import os; os.write(1, b'12\xff\x1b[31m|\x00R\xe2\x80\xa8n\n')"])
    assert done.stdout == "12\ufffd [31m| R n\n"
    done = ask(sh("exit 0"), "x" * 10**6)  # it does not read what it is given
    assert done.returncode == 0


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no-such-command is not found"):
        ask(["no-such-command"])


@pytest.mark.parametrize("told", ["12 -u all", "$(reboot)", "-all", "12;ls", "", "1" * 200, "12\n"])
def test_what_is_no_number_of_a_job_is_refused(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = BatchScheduler(profile_of({"name": "lsf", "submitted": "(?s)id=(?P<id>.*)$"}))
    text = f"id={told}"
    monkeypatch.setattr(
        "bioimage_py.backends.batch.scheduler.ask", lambda *what: question.subprocess.CompletedProcess([], 0, text, "")
    )
    from bioimage_py.runner import BatchConfig

    with pytest.raises(RuntimeError, match="no number of a job"):
        scheduler.submit(tmp_path, "n", 1, "true", BatchConfig(), None, "")


def test_jobs_that_cannot_be_are_not_listed() -> None:
    record = r"(?m)^(?P<id>[^|]*)\|(?P<index>[^|]*)\|(?P<state>\w+)\|(?P<name>\w+)$"
    scheduler = BatchScheduler(profile_of({"name": "lsf", "record": record}))
    lines = ["12|1|RUN|a", "-all|1|RUN|a", "$(x)|1|RUN|a", "13|" + "9" * 5000 + "|RUN|a", "14|x|RUN|a", "15||PEND|a"]
    assert [one.id for one in scheduler.read("\n".join(lines))] == ["12_0", "15_0"]


@pytest.mark.parametrize("job", ["12_[0-99999999999]", "12_[0-999999999]", "12_[a-b]", "12_[1-]", "12_[]", "12_[--3]"])
def test_arrays_of_slurm_that_cannot_be(job: str) -> None:
    assert expand(job) == []
    assert states(f"{job}|RUNNING|n1\n7|RUNNING|n1;x y\n|||\n\n").get("7") == ("RUNNING", "")


def test_what_a_site_prints_besides_is_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Welcome!\ncpu*|up|1-00:00:00|64000+|32|(null)|4\nbad|up|x|y|z\ngpu|up|infinite|64000|9|gpu:2|2|more\n"
    monkeypatch.setattr(site.commands, "run", lambda *what: question.subprocess.CompletedProcess([], 0, text, ""))
    assert [one.name for one in site.partitions()] == ["cpu"]


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("record", r"(?P<id>(\d+)+)\|(?P<state>\w)(?P<name>\w)", "for ever"),
        ("submitted", r"(?P<id>(a*b*)*)", "for ever"),
        ("submitted", r"(?P<id>\d+", "missing"),
        ("index", "X - 1)) && reboot #", "no name of a variable"),
        ("job", "", "no name of a variable"),
        ("status", "bjobs 'x", "quotation"),
        ("cancel", " ", "no command"),
        ("options", ("-q a\nreboot",), "no lines"),
        ("options", "-q", "no lines"),
        ("first", True, "is no int"),
        ("first", 7, "make no sense"),
        ("most", 0, "make no sense"),
        ("submit", 3, "is no str"),
        ("unheard", 3, "unknown part"),
    ],
)
def test_profiles_that_make_no_sense(part: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        profile_of({"name": "lsf", part: value})


def test_patterns_of_the_profiles_cannot_hang() -> None:
    for profile in PROFILES.values():
        assert not may_hang(profile.record)
        assert not may_hang(profile.submitted)
    assert profile_of({"name": "lsf", "most": 200}).most == 200
    assert profile_of(LSF.to_dict()) == LSF


@pytest.mark.parametrize("name", ["../x", "a b", "a;b", "", "é", "1x", "x" * 100, "a/b"])
def test_names_of_backends(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        register_backend(name, LocalBackend)
    assert name not in backend_names()


def test_capital_letters_in_the_name_of_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_registered", {})
    register_backend("My-Backend", LocalBackend)
    assert base.backend_class("MY-backend") is LocalBackend

    class Point:
        name = "Theirs"

        def load(self) -> type[LocalBackend]:
            return LocalBackend

    monkeypatch.setattr(base, "entry_points", lambda group: [Point()])
    assert "theirs" in backend_names()
    assert base.backend_class("Theirs") is LocalBackend
