"""A backend of somebody else, by the public interface alone: threads that a run gets one by one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.backends import Backend, BackendEvent, Limits, Work, backend_class, backend_names, register_backend
from bioimage_py.blocks import to_roi
from bioimage_py.runner import RunnerError, get_runner, map_blocks


class ToyBackend(Backend):
    """A thread a worker; how each has ended is told once."""

    limits = Limits(shares_memory=True)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.threads: dict[str, threading.Thread] = {}
        self.ends: list[BackendEvent] = []

    def start(self, worker: str, work: Work) -> None:
        """Run a worker on a thread of its own."""
        self.threads[worker] = threading.Thread(target=self._run, args=(worker, work), daemon=True)
        self.threads[worker].start()

    def _run(self, worker: str, work: Work) -> None:
        try:
            work(worker)
        except BaseException as error:  # noqa: BLE001 - the driver has to hear of it
            self.ends.append(BackendEvent(worker, "crashed", str(error), error))
        else:
            self.ends.append(BackendEvent(worker, "finished"))

    def alive(self) -> set[str]:
        """Workers whose threads run."""
        return {worker for worker, thread in self.threads.items() if thread.is_alive()}

    def ended(self) -> list[BackendEvent]:
        """Ends that were not told yet."""
        events, self.ends = self.ends, []
        return events

    def join(self, timeout: float | None = None) -> None:
        """Wait for the threads."""
        for thread in self.threads.values():
            thread.join(timeout)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioimage_py.backends.base._registered", {})
    register_backend("Toy", ToyBackend)


def double(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    outputs[0][to_roi(block)] = 2 * inputs[0][to_roi(block)]
    return int(block.id)


def arrays(folder: Path) -> tuple[Any, Any]:
    options: dict[str, Any] = {"shape": (40, 30), "chunks": (10, 10), "dtype": "i4"}
    data = zarr.create_array(folder / "in.zarr", **options)
    data[:] = np.arange(1200).reshape(40, 30)
    return data, zarr.create_array(folder / "out.zarr", **options)


def test_it_is_known_by_its_name() -> None:
    assert "toy" in backend_names()
    assert backend_class("TOY") is ToyBackend
    assert get_runner("toy").job_type == "toy"


def test_blocks_run_on_it(tmp_path: Path) -> None:
    data, out = arrays(tmp_path)
    report = map_blocks(
        double, [data], [out], block_shape=(10, 10), has_return_val=True, job_type="toy", num_workers=2, progress=False
    )
    assert list(report.results) == list(range(12))
    np.testing.assert_array_equal(out[:], 2 * data[:])


def test_a_run_with_a_block_that_fails_goes_on_where_it_was(tmp_path: Path) -> None:
    data, out = arrays(tmp_path)
    seen, broken = tmp_path / "seen", tmp_path / "broken"
    seen.mkdir()
    broken.touch()

    def flaky(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        (seen / str(block.id)).touch()
        if block.id == 5 and broken.exists():
            raise ValueError("no luck")
        outputs[0][to_roi(block)] = 2 * inputs[0][to_roi(block)]

    with bp.execution("toy", num_workers=2, progress=False, retries=0):
        with pytest.raises(RunnerError, match="no luck"):
            map_blocks(flaky, [data], [out], block_shape=(10, 10))
        assert (out[:] == 2 * data[:]).mean() == pytest.approx(11 / 12)
        for path in seen.iterdir():
            path.unlink()
        broken.unlink()
        map_blocks(flaky, [data], [out], block_shape=(10, 10))
    assert [path.name for path in seen.iterdir()] == ["5"]
    np.testing.assert_array_equal(out[:], 2 * data[:])
