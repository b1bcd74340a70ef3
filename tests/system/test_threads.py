"""Threads, their limits, interruption, and a million blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bioimage_py.errors import RunnerError
from bioimage_py.runner import get_runner

from ..helpers import Flaky, nothing

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

LOCAL = get_runner("local")


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info()]


def shared_threads() -> list[int]:
    """Of libraries whose limits are those of the process; OpenMP, which other tests may have loaded, has a thread's."""
    return [
        library["num_threads"]
        for library in threadpool_info()
        if "openmp" not in (library["user_api"], library.get("threading_layer"))
    ]


def test_libraries_get_one_thread_a_worker_and_theirs_back() -> None:
    np.ones((4, 4)) @ np.ones((4, 4))
    with threadpool_limits(2):
        before = blas_threads()
        seen = LOCAL.run(
            lambda b, i, o, m: blas_threads(), [np.zeros(4)], block_shape=2, num_workers=2, has_return_val=True
        )
        assert seen == [[1] * len(before)] * 2
        assert blas_threads() == before
        with pytest.raises(RunnerError):
            LOCAL.run(Flaky({0, 1}, always=True), [np.zeros(4)], block_shape=2, num_workers=2)
        assert blas_threads() == before
        for num_workers in (1, 4):
            alone = LOCAL.run(
                lambda b, i, o, m: blas_threads(),
                [np.zeros(4)],
                block_shape=4,
                num_workers=num_workers,
                has_return_val=True,
            )
            assert alone == [before], "a worker that is alone may use all of them"


def test_libraries_that_a_block_loads_are_limited_too() -> None:
    script = """
import numpy as np
import bioimage_py as bp
from threadpoolctl import threadpool_info

def function(block, inputs, outputs, mask):
    import scipy.linalg
    return len(threadpool_info()), {l["num_threads"] for l in threadpool_info()}

before = len(threadpool_info())
blocks = bp.get_runner("local").run(function, [np.zeros(40)], block_shape=1, num_workers=2, has_return_val=True)
print(before < blocks[-1][0], blocks[-1][1], {l["num_threads"] for l in threadpool_info()} == {2})
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout == "True {1} True\n", result.stderr


def test_threads_are_given_back_when_runs_overlap() -> None:
    """The first run ends while the second goes on, and the other way round."""
    with threadpool_limits(2):
        before = shared_threads()
        for first_to_end in (0, 1):
            inside = threading.Barrier(3)
            go = [threading.Event(), threading.Event()]

            def one(number: int, inside: threading.Barrier = inside, go: list[threading.Event] = go) -> None:
                def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
                    if block.id == 0:
                        inside.wait(120)
                        go[number].wait(120)

                LOCAL.run(function, [np.zeros(4)], block_shape=2, num_workers=2)

            runs = [threading.Thread(target=one, args=(number,)) for number in range(2)]
            for run in runs:
                run.start()
            inside.wait(120)
            go[first_to_end].set()
            runs[first_to_end].join(120)
            assert shared_threads() == [1] * len(before), "the other run still needs the limit"
            go[1 - first_to_end].set()
            runs[1 - first_to_end].join(120)
            assert shared_threads() == before


def test_workers_run_at_the_same_time() -> None:
    meet = threading.Barrier(3)
    LOCAL.run(lambda b, i, o, m: meet.wait(20) and None, [np.zeros(6)], block_shape=2, num_workers=3)


def test_no_more_threads_than_groups() -> None:
    names: set[str] = set()
    LOCAL.run(
        lambda b, i, o, m: names.add(threading.current_thread().name), [np.zeros(4)], block_shape=2, num_workers=64
    )
    assert len(names) <= 2


# --- in a process of its own ---

INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import bioimage_py as bp
from threadpoolctl import threadpool_info

# a shell that starts something in the background has it ignore SIGINT
signal.signal(signal.SIGINT, signal.default_int_handler)
done = []
def slow(block, inputs, outputs, mask):
    os.write(1, b"begin\\n")
    time.sleep(0.2)
    if outputs:
        outputs[0][bp.to_roi(block)] = 1
    done.append(block.id)

if len(sys.argv) > 1:
    import zarr
    outputs = [zarr.create_array(sys.argv[1], shape=(400,), chunks=(1,), dtype="u1")]
else:
    outputs = []
before = [library["num_threads"] for library in threadpool_info()]
try:
    bp.get_runner("local").run(slow, [np.zeros(400)], outputs, block_shape=1, num_workers=2)
except KeyboardInterrupt:
    left = [t.name for t in threading.enumerate() if t.name.startswith("bioimage_py")]
    after = [library["num_threads"] for library in threadpool_info()]
    print("interrupted", len(done), left, before == after, flush=True)
    raise
"""


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "storage"])
def test_ctrl_c_ends_a_run_within_a_block(tmp_path: Path, stored: bool) -> None:
    arguments = [str(tmp_path / "o.zarr")] if stored else []
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begin\n"
    child.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out, err = child.communicate(timeout=60)
    assert time.monotonic() - begin < 10, "400 blocks of 0.2 s on 2 workers take 40 s"
    told = out.splitlines()[-1].split(maxsplit=2)
    assert told[0] == "interrupted"
    assert int(told[1]) <= 10
    assert told[2] == "[] True", "no thread is left, thread limits are as before"
    assert child.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)
    assert "\nKeyboardInterrupt\nthe run was interrupted: " in err


MANY = """
import sys, resource
import numpy as np
import bioimage_py as bp

def nothing(block, inputs, outputs, mask):
    pass

class Zeros(bp.Source):
    shape, dtype = (100, 100, 100), np.dtype("u1")
    def _getitem(self, roi):
        return np.zeros([p.stop - p.start for p in roi], "u1")

peaks = []
for n in (10_000, 1_000_000):
    ids = {} if n == 1_000_000 else {"roi": (slice(0, 1),)}
    report = bp.map_blocks(nothing, [Zeros()], block_shape=1, num_workers=2, **ids)
    assert report.n_blocks == n, report.n_blocks
    del report
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_million_blocks_take_little_more_memory_than_ten_thousand() -> None:
    begin = time.monotonic()
    result = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 50 * 2**20
    assert time.monotonic() - begin < 120, "generous: the machine may be busy"


def test_the_environment_stays_as_it_was() -> None:
    before = dict(os.environ)
    LOCAL.run(nothing, [np.zeros(8)], block_shape=2, num_workers=2)
    assert dict(os.environ) == before
