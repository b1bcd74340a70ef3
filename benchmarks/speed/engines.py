"""The peers, and the environment that each runs in: exactly the packages of ``environments/NAME.txt``."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import layers

from bioimage_py.bench import OWN, Engine

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Peer(Engine):
    """Another package, in an environment of its own.

    Parameters
    ----------
    environment : str
        Whose packages ``environments/ENVIRONMENT.txt`` lists, all of them.
    """

    environment: str

    def python(self, out: Path) -> Path:
        """Return the Python of the environment, which is made where it is missing or holds something else."""
        folder, wanted = out / "environments" / self.environment, self._list()
        python, done = folder / "bin" / "python", folder / "installed.txt"
        if not done.exists() or done.read_text() != wanted.read_text():
            print(f"installing {self.environment} into {folder} ...", flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            # --no-deps: the list is whole, and nothing is to be resolved anew
            install = [str(python), "-m", "pip", "install", "-qq", "--no-deps", "-r", str(wanted)]
            subprocess.run(install, check=True)
            done.write_text(wanted.read_text())
        return python

    def packages(self) -> tuple[str, ...]:
        """Those of the list that begin with the environment's name."""
        lines = self._list().read_text().replace("_", "-").splitlines()
        return tuple(line.replace("==", " ") for line in lines if line.startswith(self.environment))

    def _list(self) -> Path:
        return HERE / "environments" / f"{self.environment}.txt"


@dataclass(frozen=True)
class Tools(Peer):
    """A peer that is command line tools, which put the array they make into a group of a container of their own."""

    def result(self, output: Path, key: str = "") -> Any:
        """Open the full resolution of what it made."""
        return super().result(next(output.glob("made.zarr/*/s0")))


@dataclass(frozen=True)
class Layers(Peer):
    """A peer that knows Neuroglancer's precomputed layers only."""

    def prepare(self, data: Path) -> None:
        """Write the inputs as layers too."""
        layers.make(data)

    def result(self, output: Path, key: str = "") -> Any:
        """Open a level of the layer that it wrote."""
        return layers.Layer(output, int(key) if key else None)


ENGINES = {
    engine.name: engine
    for engine in (
        *OWN,
        Engine("scipy", HERE / "scipy_engine.py", "whole array"),
        Peer("bioimage-py", OWN[0].script, "local", "bioimage-py"),
        Peer("bioimage-py subprocess", OWN[0].script, "subprocess", "bioimage-py"),
        Peer("dask", HERE / "dask_engine.py", "threads", "dask"),
        Peer("dask distributed", HERE / "dask_engine.py", "distributed", "dask"),
        Peer("cubed", HERE / "cubed_engine.py", "threads", "cubed"),
        Peer("daisy", HERE / "daisy_engine.py", "processes", "daisy"),
        Peer("volara", HERE / "volara_engine.py", "processes", "volara"),
        Tools("cellmap-analyze", HERE / "cellmap_engine.py", "processes", "cellmap-analyze"),
        Layers("igneous", HERE / "igneous_engine.py", "processes", "igneous"),
    )
}
