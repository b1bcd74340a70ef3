"""Read files with flipped, cut and overwritten bytes: an error of the package or an image, and nothing else.

    python benchmarks/fuzz_files.py [--count 10000] [--seconds 10] [--seed 0] [--only a.nii a.czi]

Each format has a process of its own, which may take 1 GiB of memory more than before its first file; each input has a
limit of processor time, and one of thirty times as long on the wall. Prints how many were read, how many refused and by
which error, and the seed of each that broke a rule, also of one that ended the process; ends with 1 if a rule was
broken. `--count` is of each file.
"""

from __future__ import annotations

import argparse
import collections
import logging
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import fuzz_corpus

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError
from bioimage_py.system.memory import peak_bytes

MEMORY_BYTES = 2**30
_WAITING = 30


class LateError(BaseException):
    """An input takes too long; no error that a library, or a reader of ours, takes for one of its own."""


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Return the bytes of a file with something wrong in them."""
    found = bytearray(content)
    kind = generator.randrange(4)
    if kind == 0:
        return bytes(found[: generator.randrange(len(found))])
    reach = min(len(found), 600) if generator.random() < 0.7 else len(found)
    if kind == 1:
        for _ in range(generator.randint(1, 8)):
            found[generator.randrange(reach)] ^= 1 << generator.randrange(8)
    elif kind == 2:
        at = generator.randrange(reach)
        found[at : at + 4] = generator.choice([b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"])
    else:
        at = generator.randrange(reach)
        found[at : at + generator.randint(1, 32)] = generator.randbytes(generator.randint(1, 32))
    return bytes(found)


def outcome(path: Path) -> str:
    """Read a file by all means; return the name of the error of the package that it ended with, or "read"."""
    try:
        told = iio.improps(path)
        iio.immeta(path)
        read = iio.imread(path)
        if (told.shape, told.dtype) != (read.shape, read.dtype):
            raise AssertionError(f"told {told.shape} {told.dtype}, read {read.shape} {read.dtype}")
    except BioimageError as error:
        return type(error).__name__
    return "read"


def limit_memory() -> None:
    """Have the process fail, and not the machine, where it takes more than it may."""
    if Path("/proc/self/status").exists():
        taken = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
        resource.setrlimit(
            resource.RLIMIT_DATA, (int(taken[0].split()[1]) * 1024 + MEMORY_BYTES, resource.RLIM_INFINITY)
        )


def limit_processor(seconds: int) -> None:
    """Have the system end the process where a library does not come back, to which no exception gets."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 2 * seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def fuzz(name: str, count: int, seconds: int, first: int, folder: Path) -> int:
    """Read so many mutations of one file; return how many broke a rule."""
    warnings.simplefilter("ignore")
    for library in ("tifffile", "pydicom", "nibabel", "nd2", "libav"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    content = fuzz_corpus.made(name)
    path = folder / f"whole-{name}"
    path.write_bytes(content)
    if outcome(path) != "read":
        print(f"{name}: the whole file is not read")
        return 1
    before = peak_bytes()
    limit_memory()
    ends: collections.Counter[str] = collections.Counter()
    wrong = 0

    def late(*_: object) -> None:
        raise LateError(f"more than {seconds} s")

    signal.signal(signal.SIGPROF, late)
    signal.signal(signal.SIGALRM, late)
    for seed in range(first, first + count):
        path = folder / f"f{seed}-{name}"
        path.write_bytes(mutated(content, random.Random(f"{seed} {name}")))
        # of the processor, which others on the machine may have; and, for who waits for ever, on the wall
        limit_processor(seconds)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(_WAITING * seconds)
        try:
            ends[outcome(path)] += 1
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            wrong += 1
            ends[f"WRONG {type(error).__name__}"] += 1
            if wrong <= 3:
                print(f"seed {seed}, {name}: {type(error).__name__}: {error}")
                print(traceback.format_exc(limit=-6), flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
        path.unlink()
        if peak_bytes() - before > MEMORY_BYTES:
            print(f"seed {seed}, {name}: {peak_bytes() - before} bytes of memory")
            return wrong + 1
    told = ", ".join(f"{end} {number}" for end, number in ends.most_common())
    print(
        f"{name:12} {count} inputs, {wrong} wrong, {(peak_bytes() - before) / 2**20:.0f} MiB more: {told}", flush=True
    )
    return wrong


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(fuzz_corpus.MAKERS))
    parser.add_argument("--here", action="store_true", help="in this process")
    given = parser.parse_args()
    wrong = 0
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            if given.here:
                wrong += fuzz(name, given.count, given.seconds, given.seed, Path(folder))
                continue
            call = [sys.executable, __file__, "--here", "--only", name, "--count", str(given.count)]
            call += ["--seconds", str(given.seconds), "--seed", str(given.seed)]
            ended = subprocess.run(call, env={**fuzz_corpus.ENVIRONMENT, "TMPDIR": folder})
            wrong += ended.returncode != 0
            if ended.returncode < 0:  # by a signal: the input is still there
                left = sorted(Path(folder).glob("*/f*"))
                print(f"{name}: the process ended with {ended.returncode} at {left[0].name if left else '?'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
