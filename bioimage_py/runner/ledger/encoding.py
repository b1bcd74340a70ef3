"""Records, limits and batches as bytes: JSON and numbers, so that reading them runs no code.

Only an exception of a block is pickled in them, beside its text; it is opened where the reader says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ...system.json_text import parse_json
from ..planning.id_sets import Ranges
from ..planning.work_list import Batch
from .records import BlockFailure, FailedGroup, Record, Span

_END = b"\n"
_WORDS = ("region", "worker", "traceback", "cause", "environment")


def dump_record(record: Record, offset: int | None) -> bytes:
    """A record, and where its values begin in the file of values."""
    about = {
        "key": record.batch.key,
        "blocks": len(record.ids),
        "offset": offset,
        "ended": record.ended,
        "failed": None if record.failed is None else _told(record.failed),
        "span": None if record.span is None else asdict(record.span),
        "mark": record.mark,
    }
    return json.dumps(about).encode() + _END + record.ids.tobytes() + record.seconds.tobytes()


def load_record(payload: bytes, worker: str, stage: int, *, opened: bool) -> tuple[Record, int | None]:
    """What `dump_record` wrote; with ``opened``, exceptions are what they were, else their text.

    Raises
    ------
    ValueError
        It is no record.
    """
    head, _, numbers = payload.partition(_END)
    try:
        about = parse_json(head)
        first, second = map(int, about["key"])
        record = Record(worker, Batch(stage, 0, 0, key=(first, second)), ended=bool(about["ended"]))
        blocks = int(about["blocks"])
        if blocks < 0 or len(numbers) != blocks * (record.ids.itemsize + record.seconds.itemsize):
            raise ValueError("its numbers do not fit its blocks")
        record.ids.frombytes(numbers[: blocks * record.ids.itemsize])
        record.seconds.frombytes(numbers[blocks * record.ids.itemsize :])
        if (failed := about["failed"]) is not None:
            record.failed = _heard(failed, stage, opened)
        if (span := about["span"]) is not None:
            record.span = Span(str(span["worker"]), float(span["begin"]), float(span["end"]), int(span["blocks"]))
        if about["mark"] is not None:
            block, size = map(int, about["mark"])
            record.mark = (block, size)
        return record, None if about["offset"] is None else int(about["offset"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no record: {error!r}") from error


def _told(failed: FailedGroup) -> dict[str, Any]:
    failures = []
    for failure in failed.failures:
        packed, text = failure.__getstate__()["error"]
        failures.append({**vars(failure), "error": text, "pickle": base64.b64encode(packed).decode()})
    return {"group": failed.group, "blocks": failed.blocks, "attempt": failed.attempt, "failures": failures}


def _heard(about: dict[str, Any], stage: int, opened: bool) -> FailedGroup:
    failures = []
    for told in about["failures"]:
        state: dict[str, Any] = {name: str(told[name]) for name in _WORDS}
        packed = base64.b64decode(told["pickle"]) if opened else b""
        state |= {"stage": stage, "block_id": int(told["block_id"]), "attempt": int(told["attempt"])}
        failures.append(BlockFailure.__new__(BlockFailure))
        failures[-1].__setstate__({**state, "error": (packed, str(told["error"]))})
    if not failures:
        raise ValueError("a group failed without a block that did")
    blocks = tuple(map(int, about["blocks"]))
    return FailedGroup(int(about["group"]), blocks, int(about["attempt"]), tuple(failures))


def dump_batches(batches: Sequence[Batch]) -> bytes:
    """A list of batches."""
    rows = [None if batch.picked is None else batch.picked.rows.tolist() for batch in batches]
    told = [{**vars(batch), "picked": picked} for batch, picked in zip(batches, rows, strict=True)]
    return json.dumps(told).encode()


def load_batches(payload: bytes) -> list[Batch]:
    """What `dump_batches` wrote."""
    batches = []
    for told in parse_json(payload):
        (first, second), picked = told["key"], told["picked"]
        told |= {"key": (first, second), "blocks": tuple(told["blocks"])}
        batches.append(Batch(**{**told, "picked": None if picked is None else Ranges(picked)}))
    return batches
