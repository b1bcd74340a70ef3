"""Asks a server everything that its OpenAPI document allows, and more, by schemathesis: no 5xx, answers as described.

    python benchmarks/server_contract.py ST [--cases 20000] [--seed 1]

ST is the program `st` of schemathesis 4, in an environment of its own (`make test-contract` makes it). The first part
asks within a project, of which the paths are known, as its owner and an administrator; the second one everywhere, as
somebody who is no member of anything.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from server_speed import Site

_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
_ENDS = ("log_in", "log_out", "renew", "change_password", "stream")
"""What ends the login by which it is asked, waits longer the more often it is asked, or lasts."""
_REMOVES = ("remove_project", "remove_user", "change_user")
"""What would end the first part early."""


def ask(st: str, site: Site, token: str, folder: Path, part: str, per_route: int, seed: int) -> dict[str, int]:
    """Run schemathesis; return how many cases there were and how many failed."""
    inside = part == "inside"
    config = folder / f"{part}.toml"
    parameters = ['"query.wait" = 0']
    if inside:
        descriptor, layer, version = site.mapped()
        values = {"project": site.id, "descriptor": descriptor, "layer": layer, "version": version}
        parameters += [f'"path.{name}" = {json.dumps(value)}' for name, value in values.items()]
    config.write_text("[parameters]\n" + "\n".join(parameters) + "\n")
    command = [st, "--config-file", str(config), "run", f"{site.server.url}/api/v1/openapi.json", "-c", _CHECKS]
    command += ["--phases", "coverage,fuzzing", "-n", str(per_route), "--seed", str(seed), "--no-color"]
    command += ["-H", f"Authorization: Bearer {token}", "--request-timeout", "60", "--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", str(folder / f"{part}.json"), "--output-truncate", "true"]
    names = "|".join((*_ENDS, *(_REMOVES if inside else ())))
    command += ["--exclude-operation-id-regex", f"^({names})_api_v1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    (folder / f"{part}.txt").write_text(done.stdout + done.stderr)
    found = re.search(r"(\d+) generated", done.stdout)
    failed = re.search(r"(\d+) unique failure", done.stdout)
    return {"cases": int(found[1]) if found else 0, "failures": int(failed[1]) if failed else 0}


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("st", type=os.path.abspath)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder of the reports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        site = Site(folder, 20, "--access-seconds", "86400")
        site.client.post("/users", json={"username": "nobody", "password": "correct horse battery"})
        stranger = site.server.client("nobody", "correct horse battery").headers["Authorization"].split()[1]
        routes = sum(len(path) for path in site.client.get("/openapi.json").json()["paths"].values())
        bad = 0
        for part, token in (("inside", site.token), ("outside", stranger)):
            begun = time.monotonic()
            found = ask(options.st, site, token, folder, part, max(1, options.cases // 2 // routes), options.seed)
            bad += found["failures"] + (found["cases"] == 0)
            print(f"{part}: {found['cases']} cases, {found['failures']} failures, {time.monotonic() - begun:.0f} s")
            text = (folder / f"{part}.txt").read_text()
            if options.keep:
                options.keep.mkdir(exist_ok=True)
                (options.keep / f"{part}.txt").write_text(text)
            if bad:
                print(text[-6000:])
        wrong = [line for line in site.server.log().splitlines() if '"status": 5' in line or '"level": "error"' in line]
        print(f"lines of the log that tell of a failure: {len(wrong)}", *wrong[:5], sep="\n")
        site.server.stop()
    sys.exit(bool(bad or wrong))


if __name__ == "__main__":
    main()
