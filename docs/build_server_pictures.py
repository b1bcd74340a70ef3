"""Draw the pictures of docs/server_page.md: `python docs/build_server_pictures.py` (needs Chromium)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import bioimage_py as bp
from bioimage_py.projects import BoxSet, Label, LandmarkSet, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind
from bioimage_py.server.accounts.callers import Caller
from bioimage_py.server.accounts.members import Role
from bioimage_py.server.site import Site
from bioimage_py.viz.viewing.browser import find_browser

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.browser.driver import Browser  # noqa: E402

PASSWORD = "correct horse battery"
SIZE = (1180, 760)


def settings() -> ProjectSettings:
    pixel, box, mark = LayerKind.PIXELWISE, LayerKind.BOUNDINGBOX, LayerKind.LANDMARK
    cells = [Label("axon", pixel, (230, 120, 30), value=1), Label("dendrite", pixel, (40, 140, 220), value=2)]
    layers = [
        Layer("cells", pixel, cells),
        Layer("check", box, [Label("split?", box, (255, 220, 40))]),
        Layer("synapses", mark, [Label("synapse", mark, (80, 220, 120))]),
    ]
    tags = [Tag("Reviewed", TagKind.Bool), Tag("Quality", TagKind.Enum, options=["good", "fair", "poor"])]
    return ProjectSettings("Cortex, layer 4", tags=tags, layers=layers, grouping_hierarchy=["Animal", "Section"])


def fill(folder: Path, images: Path) -> None:
    local, rng = Project.load(folder), np.random.default_rng(0)
    for number in range(30):
        volume = bp.sample.neurites((48, 96, 128), seed=number % 5)
        path = images / f"{number % 5}.zarr"
        if not path.exists():
            bp.copy(volume.raw, path / "raw", chunks=(16, 32, 32), progress=False)
        groups = (f"mouse {number // 6 + 1}", f"section {number % 6 + 1}")
        one = local.add_descriptor(bp.open_source(path / "raw"), f"scan {number:03d}", grouping=groups)
        if number % 3 == 0:
            one.tags["Reviewed"].value = number % 2 == 0
        if number % 2 == 0:
            one.tags["Quality"].value = ("good", "fair", "poor")[number % 3]
        if number < 9:
            one.labelmap_layers["cells"].save_new_data((np.asarray(volume.labels[...]) % 3).astype(np.uint8))
        if number % 4 == 0:
            boxes = BoxSet.from_descriptor(one, "check")
            boxes.add("split?", 0, (700, 300, 400), (1100, 700, 1000))
            one.boundingbox_layers["check"].save_new_data(boxes)
            marks = LandmarkSet.from_descriptor(one, "synapses")
            for _ in range(40):
                marks.add("synapse", 0, tuple(rng.uniform(0, 1, 3) * (1270, 950, 1410)))
            one.landmark_layers["synapses"].save_new_data(marks)
    local.save()


def share(site: Site, project: str, owner: Caller) -> None:
    """Let others in: two annotators with a layer of their own, somebody who looks after it, and one who only looks."""
    for name, role in (
        ("ben", Role.annotator),
        ("clara", Role.annotator),
        ("dora", Role.maintainer),
        ("emil", Role.viewer),
    ):
        site.users.add(name, PASSWORD)
        site.members.put(project, name, role, owner)
    root = site.projects.served(project).folder.root
    local = Project.load(root)
    for layer, reader in ((local.boundingbox_layers[0], "ben"), (local.landmark_layers[0], "clara")):
        site.sights.set_readers(project, layer.id, [reader], owner)
    site.sights.show_only_assigned(project, True, owner)
    names = [one.identifier for one in local.descriptors]
    site.sights.assign(project, names[:18], "ben", owner)
    site.sights.assign(project, names[12:], "clara", owner)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = Site(folder / "site")
        user = site.users.add("anna", PASSWORD)
        caller = site.sessions.visitor(site.sessions.signed_in(user.id))
        project = site.projects.create(settings().with_ids(), caller)
        fill(site.projects.served(project).folder.root, folder / "images")
        share(site, project, caller)
        site.close()
        command = [sys.executable, "-m", "bioimage_py", "server", "run", str(folder / "site"), "--port", "0"]
        with subprocess.Popen(
            [*command, "--image-root", str(folder / "images")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdout is not None
            url = next(line for line in server.stdout if line.startswith("Serving")).split()[-1]
            with Browser(find_browser(), SIZE) as browser:
                browser.open(url)
                browser.tab_to("#username")
                browser.type("anna")
                browser.tab_to("#password")
                browser.type(PASSWORD)
                browser.leave("Enter")
                browser.resize(*SIZE)
                browser.open(f"{url}/projects/{project}")
                browser.wait(
                    "[...document.querySelectorAll('img.thumb')].slice(0, 9).every(one => one.naturalWidth > 99)"
                )
                take(browser, "server_list")
                first = browser.run("document.querySelector('td.name a').href")
                browser.open(f"{first}?at-z=22")
                browser.run("new Promise(done => setTimeout(done, 3000))")
                take(browser, "server_data_set")
                browser.open(f"{url}/projects/{project}/members")
                take(browser, "server_members")
            server.terminate()


def take(browser: Browser, name: str) -> None:
    path = Path(__file__).with_name("pictures") / f"{name}.png"
    browser.picture(path)
    Image.open(path).convert("RGB").quantize(200).save(path, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
