"""Speed against the peers: every work by every engine in turn, in one session, each result checked.

    python benchmarks/speed/run.py [--quick] [--works ...] [--engines ...] [--check]

Writes speed.json, speed.md and speed.png into the output folder. Exit status: 0; 2 where a result of ours is wrong;
with --check 1 where a ratio falls short of its target, each listed.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import check
import data
import table
from engines import ENGINES, Engine, python_of
from processes import Measured, measure, wait_for_quiet
from protocol import Case

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    small, large = (data.make(options.out, size, chunk) for size, chunk in ((64, 16), (options.size, options.chunk)))
    pythons = {engine.name: python_of(engine, options.out) for engine in options.engines}
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for repeat in range(options.repeats):
        for work in options.works:
            engines = [engine for engine in options.engines if engine.does(work)]
            # the order alternates, so nobody always finds the page cache as the same other one left it
            for engine in engines[:: -1 if repeat % 2 else 1]:
                found = _once(engine, pythons[engine.name], work, small, large, options)
                runs.setdefault(work, {}).setdefault(engine.name, []).append(found)
                print(f"{repeat + 1}/{options.repeats} {work:16} {engine.name:22} {_said(found)}", flush=True)
                table.write(options.out, _machine(options), _rows(runs))
        check.forget()
    rows = _rows(runs)
    print("\n" + table.markdown(rows))
    wrong = [row["work"] for row in rows for name, cell in row["engines"].items() if name == "ours" and cell["wrong"]]
    if wrong:
        print(f"wrong results: {', '.join(wrong)}", file=sys.stderr)
        return 2
    missed = table.missed(rows) if options.check else []
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=512, help="edge length of the volume (default 512)")
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--works", nargs="+", choices=list(check.CHECKS), default=list(check.CHECKS))
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one engine and work (default 600)")
    parser.add_argument("--quiet-load", type=float, default=1.5, help="wait (1 minute at most) for a load below this")
    parser.add_argument("--quick", action="store_true", help="128³, one repeat: does everything still run?")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    parser.add_argument("--out", type=Path, default=HERE.parent / "out" / "speed", help="data, environments, results")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.engines = [ENGINES[name] for name in options.engines]
    if options.quick:
        options.size, options.block, options.chunk, options.repeats = 128, 64, 32, 1
    return options


def _once(
    engine: Engine, python: Path, work: str, small: Path, large: Path, options: argparse.Namespace
) -> dict[str, Any]:
    place = options.out / "outputs"
    shutil.rmtree(place, ignore_errors=True)
    cases = [
        Case(str(small), str(place / "small.zarr"), 32, 16, options.workers, engine.backend),
        Case(str(large), str(place / "large.zarr"), options.block, options.chunk, options.workers, engine.backend),
    ]
    command = [str(python), str(HERE / engine.script), work, *(case.text() for case in cases)]
    wait_for_quiet(options.quiet_load, 60)
    measured = measure(command, options.timeout, options.out)
    found = {**asdict(measured), "wrong": _wrong(work, large, place / "large.zarr", measured, engine)}
    shutil.rmtree(place, ignore_errors=True)
    return found


def _wrong(work: str, folder: Path, output: Path, measured: Measured, engine: Engine) -> str:
    if measured.error or len(measured.cases) < 2:
        return measured.error.strip().splitlines()[-1][:200] if measured.error else "no result"
    try:
        return check.CHECKS[work](folder, engine.result(output), measured.cases[1]["result"])
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"[:200]


def _said(found: dict[str, Any]) -> str:
    if found["wrong"]:
        return f"WRONG: {found['wrong']}"
    return f"{found['cases'][1]['wall']:7.2f} s {found['cpu']:7.1f} CPU s {found['peak']:6.0f} MiB"


def _rows(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    rows = []
    for work, engines in runs.items():
        cells = {name: _cell(measured) for name, measured in engines.items()}
        rows.append({"work": work, "engines": cells})
    return rows


def _cell(runs: list[dict[str, Any]]) -> dict[str, Any]:
    wrong = next((run["wrong"] for run in runs if run["wrong"]), "")
    cell: dict[str, Any] = {"wrong": wrong, "runs": len(runs)}
    good = [run for run in runs if len(run["cases"]) == 2]
    if not wrong:
        cell |= {
            "wall": statistics.median(run["cases"][1]["wall"] for run in good),
            "start": statistics.median(run["cases"][0]["wall"] for run in good),
            "cpu": statistics.median(run["cpu"] for run in good),
            "peak": statistics.median(run["peak"] for run in good),
            "walls": [run["cases"][1]["wall"] for run in good],
        }
    return cell


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": f"{names[0] if names else platform.machine()}, {len(names) or '?'} cores",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "volume": f"{options.size}³, zarr v3 zstd, chunks {options.chunk}³, blocks {options.block}³",
        "workers": options.workers,
        "repeats": options.repeats,
    }


if __name__ == "__main__":
    sys.exit(main())
