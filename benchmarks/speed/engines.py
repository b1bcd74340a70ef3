"""The engines that are compared, and the environment that each runs in."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    Parameters
    ----------
    name : str
    script : str
        Beside this file; ``python script --works`` lists what it can do.
    backend : str
    packages : tuple of str
        What its environment holds; none: this package's own.
    """

    name: str
    script: str
    backend: str
    packages: tuple[str, ...] = ()

    def does(self, work: str) -> bool:
        """Whether it has this work."""
        return work in _works(self.script)

    def result(self, output: Path) -> Path:
        """Where its result lies in zarr."""
        return output


@cache
def _works(script: str) -> tuple[str, ...]:
    # an engine imports its libraries inside its works, so any Python can say what they are
    done = subprocess.run([sys.executable, str(HERE / script), "--works"], capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


PEER = ("bioimage-py[io]==0.2.2",)
DASK = ("dask[array,distributed]", "dask-image", "scikit-image", "zarr>=3")
ENGINES = {
    engine.name: engine
    for engine in (
        Engine("ours", "bioimage.py", "local"),
        Engine("ours subprocess", "bioimage.py", "subprocess"),
        Engine("floor", "floor.py", "threads"),
        Engine("bioimage-py", "bioimage.py", "local", PEER),
        Engine("bioimage-py subprocess", "bioimage.py", "subprocess", PEER),
        Engine("dask", "dask_engine.py", "threads", DASK),
        Engine("dask distributed", "dask_engine.py", "distributed", DASK),
        Engine("cubed", "cubed_engine.py", "threads", ("cubed", "zarr>=3")),
        Engine("daisy", "daisy_engine.py", "processes", ("daisy>=2", "zarr>=3", "scipy", "scikit-image")),
    )
}


def python_of(engine: Engine, folder: Path) -> Path:
    """Python of an engine's environment, which the first call makes."""
    if not engine.packages:
        return Path(sys.executable)
    place = (
        folder
        / "environments"
        / "-".join(package.split("[")[0].split("=")[0].split(">")[0] for package in engine.packages[:1])
    )
    python = place / "bin" / "python"
    done = place / "packages.json"
    if not done.exists() or json.loads(done.read_text()) != list(engine.packages):
        print(f"installing {', '.join(engine.packages)} into {place} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", *engine.packages], check=True)
        done.write_text(json.dumps(engine.packages))
    return python
