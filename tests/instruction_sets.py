"""Run the tests of kernels again as on processors with fewer vector instructions: ``python tests/instruction_sets.py``.

Prints a line for each level, and what a level could not switch off: a library may have it in its baseline.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

LEVELS = {"baseline": "Prescott", "AVX2": "Haswell"}
"""Levels, and what OpenBLAS calls them; with all instructions the file runs in the suite itself."""


def wide(feature: str) -> bool:
    """Whether a feature goes beyond AVX2."""
    return re.search(r"AVX_?512|VNNI|AMX|X86_V4", feature) is not None


def switchable() -> dict[str, list[str]]:
    """Features of this processor that the libraries choose at run time."""
    import cv2
    import numpy as np

    told = np.show_config(mode="dicts")["SIMD Extensions"]
    opencv = re.findall(r"\*(\S+?)(?= |$)", cv2.getCPUFeaturesLine())
    return {"numpy": list(told.get("found", [])), "opencv": [name for name in opencv if not name.endswith("?")]}


def switches(level: str) -> dict[str, str]:
    """Variables that switch off what a level may not use; none where this processor has nothing beyond it."""
    found = {}
    for library, variable, comma in (("numpy", "NPY_DISABLE_CPU_FEATURES", " "), ("opencv", "OPENCV_CPU_DISABLE", ",")):
        if names := [name for name in switchable()[library] if level == "baseline" or wide(name)]:
            found[variable] = comma.join(names)
    return {**found, "OPENBLAS_CORETYPE": LEVELS[level]} if found else {}


def main() -> int:
    """Run all levels; the exit code is the number of those that fail."""
    failed = 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_kernels.py"]
    for level in LEVELS:
        if not (off := switches(level)):
            print(f"{level}: this processor has nothing beyond it")
            continue
        env = {**os.environ, **off}
        done = subprocess.run(command, env=env, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        print(f"{level}: {(done.stdout.strip() or done.stderr.strip()).splitlines()[-1]}")
        if done.returncode:
            failed += 1
            print(done.stdout[-4000:], done.stderr[-2000:])
    return failed


if __name__ == "__main__":
    sys.exit(main())
