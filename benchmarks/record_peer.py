"""Record how the peer package answers the calls of `peer_calls.py`.

Run it with the Python of an environment that has the peer, from the top of the checkout:

    python benchmarks/record_peer.py [OUTPUT]        (default tests/data/peer_VERSION.json)

The environment is made by `pip install "bioimage-py[io]==0.2.2"`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path

sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parents[1]]

import peer_calls  # noqa: E402 - the checkout must not hide the installed peer
import peer_table  # noqa: E402

PACKAGE = "bioimage_py"
DISTRIBUTION = "bioimage-py"


def record() -> dict[str, object]:
    """Signatures, members and answers of the installed package."""
    part = peer_table.package_part(PACKAGE)
    answers = {}
    for case in peer_calls.all_cases():
        if case.name in answers:
            raise SystemExit(f"two cases are called {case.name!r}")
        with tempfile.TemporaryDirectory() as folder:
            answers[case.name] = peer_calls.answer(case, part, Path(folder))
    libraries = ("numpy", "scipy", "scikit-image", "zarr", "bioimage-cpp")
    return {
        "package": f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}",
        "python": ".".join(map(str, sys.version_info[:3])),
        "libraries": {name: metadata.version(name) for name in libraries},
        "signatures": {
            name: peer_table.describe_signature(peer_table.resolve(part, name)) for name in peer_table.NAMES
        },
        "members": {name: peer_table.public_members(peer_table.resolve(part, name)) for name in peer_table.CLASSES},
        "answers": answers,
    }


def main() -> None:
    """Write the table."""
    table = record()
    version = str(table["package"]).split()[-1].replace(".", "_")
    default = Path(__file__).resolve().parents[1] / "tests" / "data" / f"peer_{version}.json"
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    sections = [f" {json.dumps(key)}: {_one_entry_a_line(value)}" for key, value in table.items()]
    output.write_text("{\n" + ",\n".join(sections) + "\n}\n")
    print(f"{output}: {len(table['signatures'])} signatures, {len(table['answers'])} answers")  # type: ignore[arg-type]


def _one_entry_a_line(value: object) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()) + "\n }"


if __name__ == "__main__":
    main()
