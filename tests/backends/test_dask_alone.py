"""Dask without a shared folder: nodes with a network, files and process numbers of their own, and data in a bucket.

A node is a network namespace with an address, in which workers of Dask see neither the run folder nor the caller's
processes; bucket and scheduler are reached by their addresses. That needs root on Linux.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConfigError, ParameterError
from bioimage_py.run_folder import RunFolder
from bioimage_py.runner import DaskConfig
from bioimage_py.sources.stores.location import locate
from bioimage_py.testing.trials import until

cloudpickle.register_pickle_by_value(sys.modules[__name__])
distributed = pytest.importorskip("distributed")
BLOCKS = 24

SCRIPT = """
import sys, time
import bioimage_py as bp
from bioimage_py.runner import DaskConfig, map_blocks

def add(block, inputs, outputs, mask):
    time.sleep(0.3)
    outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1
    return int(block.id)

if __name__ == "__main__":
    url, address, root = sys.argv[1:]
    data = bp.open_source(url + "/data.zarr", "x", mode="r+")
    with bp.execution(dask=DaskConfig(cluster=address, shared=False, tmp_root=root), num_workers=2, progress=False):
        report = map_blocks(add, [data], [data], block_shape=4, has_return_val=True, version="1")
    print("values", list(report.results) == list(range(24)), flush=True)
"""


class Nodes:
    """A network of a scheduler, a bucket and two nodes."""

    def __init__(self, folder: Path, hidden: Path) -> None:
        self.folder, self.hidden = folder, hidden
        self.name = f"bp{secrets.token_hex(3)}"
        self.net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(200) + 20}"
        self.address = f"tcp://{self.net}.1:8786"
        self.spaces: list[str] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._ip(f"link add {self.name} type bridge")
        self._ip(f"addr add {self.net}.1/24 dev {self.name}")
        self._ip(f"link set {self.name} up")

    def _ip(self, words: str) -> None:
        done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no network namespaces here: ip {words}: {done.stderr}")

    def _begin(self, *command: str) -> None:
        log = (self.folder / f"log-{len(self.processes)}").open("wb")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd="/"))

    def scheduler(self) -> None:
        self._begin(
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", f"{self.net}.1", "--port", "8786",
            "--no-dashboard",
        )  # fmt: skip

    def node(self) -> None:
        """Begin a node with one worker under a nanny; the folder of the driver is not there."""
        number = len(self.spaces) + 2
        space = f"{self.name}n{number}"
        self._ip(f"netns add {space}")
        self.spaces.append(space)
        self._ip(f"link add {self.name}v{number} type veth peer name eth0 netns {space}")
        self._ip(f"link set {self.name}v{number} master {self.name} up")
        for words in (f"addr add {self.net}.{number}/24 dev eth0", "link set eth0 up", "link set lo up"):
            self._ip(f"-n {space} {words}")
        worker = (
            f"hostname {space}; mount --make-rprivate /; mount -t tmpfs none {self.hidden};"
            f" exec {sys.executable} -m distributed.cli.dask_worker {self.address} --nworkers 1 --nthreads 1"
            " --no-dashboard --death-timeout 200 --local-directory /tmp"
        )
        self._begin(
            "ip", "netns", "exec", space, "unshare", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c",
            worker,
        )  # fmt: skip

    def kill_worker(self, space: str) -> None:
        """Kill the process of its worker, not its nanny."""
        told = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=True).stdout
        for pid in told.split():
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and b"spawn_main" in command.read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        for space in self.spaces:
            told = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True).stdout
            for pid in told.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        subprocess.run(["ip", "link", "del", self.name], capture_output=True)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    if sys.platform != "linux" or os.geteuid() or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("nodes need root on Linux, with ip and unshare")
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    hidden = tmp_path / "driver"
    hidden.mkdir()
    made = Nodes(tmp_path, hidden)
    server = server_module.ThreadedMotoServer(ip_address=f"{made.net}.1", port=5000, verbose=False)
    server.start()
    url = f"http://{made.net}.1:5000"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ):
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="volumes")
    try:
        made.scheduler()
        for _ in range(2):
            made.node()
        yield made
    finally:
        made.close()
        server.stop()


def driver(nodes: Nodes, script: Path, log: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(script), "s3://volumes/a", nodes.address, str(nodes.hidden / "runs")]
    return subprocess.Popen(words, stdout=log.open("ab"), stderr=subprocess.STDOUT)


def recorded(nodes: Nodes) -> int:
    """Blocks of which the driver's journals say something."""
    return sum(path.stat().st_size for path in (nodes.hidden / "runs").rglob("journal/0/s*"))


@pytest.mark.long
@pytest.mark.timeout(580)
def test_workers_and_a_driver_are_killed_on_nodes_that_share_nothing(nodes: Nodes, tmp_path: Path) -> None:
    """In place, in a bucket: a second write of a block would show in its voxels."""
    data = bp.io.create_array("s3://volumes/a/data.zarr", "x", shape=(4 * BLOCKS,), dtype="i4", chunks=(4,))
    data[...] = np.arange(4 * BLOCKS)
    script, log = tmp_path / "script.py", tmp_path / "driver.log"
    script.write_text(SCRIPT)
    first = driver(nodes, script, log)
    deadline = time.monotonic() + 200

    def going(size: int) -> bool:
        assert first.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        return recorded(nodes) > size

    until(lambda: going(400))
    nodes.kill_worker(nodes.spaces[0])
    before = recorded(nodes)
    until(lambda: going(before + 100))
    first.kill()
    first.wait()
    (run,) = (path.parent for path in (nodes.hidden / "runs").rglob("run.json"))
    assert RunFolder(run).batches.is_dir()
    second = driver(nodes, script, log)
    assert second.wait(300) == 0, log.read_text()
    assert "values True" in log.read_text()
    np.testing.assert_array_equal(data[...], np.arange(4 * BLOCKS) + 1)
    assert not list((nodes.hidden / "runs").rglob("run.json"))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_operations_with_arrays_between_their_stages(nodes: Nodes, tmp_path: Path) -> None:
    """Labels, and a watershed whose basins lie in the bucket between its stages, and are removed at the end."""
    raw = bp.io.create_array("s3://volumes/b/raw.zarr", "x", shape=(24, 24, 24), dtype="u1", chunks=(8, 8, 8))
    raw[...] = np.random.default_rng(0).integers(0, 255, raw.shape, "u1")
    root = nodes.hidden / "runs"
    config = DaskConfig(cluster=nodes.address, shared=False, tmp_root=root, scratch="s3://volumes/scratch")
    with bp.execution(dask=config, num_workers=2, progress=False):
        smooth = bp.filters.gaussian_smoothing(raw, 1.0, "s3://volumes/b/smooth.zarr/x")
        labels = bp.segmentation.label(smooth, "s3://volumes/b/labels.zarr/x", threshold=127)
        flooded = bp.segmentation.watershed(smooth, labels, "s3://volumes/b/flooded.zarr/x")
    here = np.asarray(raw[...])
    expected = bp.filters.gaussian_smoothing(here, 1.0)
    np.testing.assert_array_equal(smooth[...], expected)
    np.testing.assert_array_equal(labels[...], bp.segmentation.label(expected, threshold=127))
    flat = [
        bp.io.create_array(tmp_path / f"{number}.zarr", "x", shape=raw.shape, dtype=one.dtype, chunks=(8, 8, 8))
        for number, one in enumerate((smooth, labels, flooded))
    ]
    flat[0][...], flat[1][...] = smooth[...], labels[...]
    np.testing.assert_array_equal(flooded[...], bp.segmentation.watershed(*flat, job_type="local")[...])
    assert not locate("s3://volumes/scratch").names()


def test_arrays_between_stages_need_a_place(tmp_path: Path) -> None:
    data, seeds = (
        bp.io.create_array(tmp_path / f"{name}.zarr", "x", shape=(16, 16), dtype="u1", chunks=(8, 8)) for name in "ab"
    )
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        bp.execution(dask=DaskConfig(cluster=cluster, shared=False), num_workers=1, progress=False),
        pytest.raises(ConfigError) as caught,
    ):
        bp.segmentation.watershed(data, seeds, tmp_path / "c.zarr/x")
    assert "scratch=" in str(caught.value.remedy)


@pytest.mark.parametrize("wrong", [{"shared": 1}, {"scratch": "/tmp/x"}, {"scratch": 7}])
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, ParameterError), match=next(iter(wrong))):
        DaskConfig(**wrong)
