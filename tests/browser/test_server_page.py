"""The page of a server in a real browser: by the keyboard alone, on a phone, and as those hear it who cannot see."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.projects import BoxSet, Project
from bioimage_py.server.accounts.members import Role
from bioimage_py.server.site import Site

from ..server.conftest import PASSWORD, make_settings
from ..server.starting import Running
from .conftest import ALL
from .driver import Browser

AXE = "axe-core@4.14.1"
MANY = 1000
PHONE = (375, 720)


class Served:
    """A server with a project of many data sets, of which "anna" is the owner."""

    def __init__(self, folder: Path) -> None:
        site = Site(folder / "site")
        for name in ("anna", "ben"):
            site.users.add(name, PASSWORD, admin=name == "anna")
        anna = site.sessions.visitor(site.sessions.signed_in(site.users.named("anna").id))
        self.project = site.projects.create(make_settings("Cortex").with_ids(), anna)
        site.members.put(self.project, "ben", Role.annotator, anna)
        local = Project.load(site.projects.served(self.project).folder.root)
        site.close()
        volume = bp.sample.neurites((16, 48, 56), seed=3)
        bp.copy(volume.raw, folder / "images/a.zarr/raw", chunks=(8, 24, 28), progress=False)
        image = bp.open_source(folder / "images/a.zarr/raw")
        for number in range(MANY):
            one = local.add_descriptor(image, f"scan {number:04d}")
            if number == 0:
                one.labelmap_layers["cells"].save_new_data((np.asarray(volume.labels[...]) % 3).astype(np.uint8))
                boxes = BoxSet.from_descriptor(one, "boxes")
                boxes.add("cell", 0, (50, 50, 60), (300, 300, 400))
                one.boundingbox_layers["boxes"].save_new_data(boxes)
        local.save()
        self.first = local.descriptors[0].identifier
        self.running = Running(folder / "site", "--image-root", str(folder / "images"))
        self.path = f"{self.running.url}/projects/{self.project}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("page"))
    yield found
    found.running.stop()


@pytest.fixture
def seat(browser: str, served: Served) -> Iterator[Browser]:
    """A browser in front of which Anna has signed in, by the keyboard."""
    with Browser(browser) as found:
        found.open(served.running.url)
        found.tab_to("#username")
        found.type("anna")
        found.tab_to("#password")
        found.type(PASSWORD)
        found.leave("Enter")
        assert found.run("document.querySelector('h1').innerText") == "Projects"
        yield found


def test_all_is_done_by_the_keyboard(seat: Browser, served: Served) -> None:
    """Sign in, find a data set among 1,000, set a tag, move through the planes, make a token and revoke it."""
    seat.tab_to("td.name a")
    seat.leave("Enter")
    seat.wait("[...document.querySelectorAll('img.thumb')].slice(0, 5).every(one => one.naturalWidth > 20)")
    seat.tab_to("a[rel=next]")
    seat.leave("Enter")
    names = "[...document.querySelectorAll('td.name a')].map(one => one.innerText)"
    assert seat.run(names) == [f"scan {number:04d}" for number in range(50, 100)]
    seat.tab_to("#f-name")
    seat.type("0777")
    seat.leave("Enter")
    assert seat.run(names) == ["scan 0777"]
    seat.tab_to("td select")
    seat.press("ArrowDown")
    seat.wait("document.querySelector('td [role=status]').innerText == 'saved'")
    seat.open(served.path + "?name=0777")
    assert seat.run("document.querySelector('td select').value") == "true"
    seat.open(f"{served.path}/data/{served.first}")
    pictures = "[...document.querySelectorAll('image[data-picture=image]')].map(one => one.getAttribute('href'))"
    before = seat.run(pictures)
    assert len(before) == 3
    seat.tab_to("input[type=range]")
    seat.press("ArrowRight")
    seat.wait(f"JSON.stringify({pictures}) != {json.dumps(json.dumps(before, separators=(',', ':')))}")
    assert seat.run("new URLSearchParams(location.search).get('at-z')") == "9"
    seat.tab_to("[name=show]")
    seat.press(" ")
    seat.wait("new URLSearchParams(location.search).has('hide')")
    seat.tab_to("header a[href$='/account']")
    seat.leave("Enter")
    seat.tab_to("#t-name")
    seat.type("node-7")
    seat.leave("Enter")
    assert seat.run("document.querySelector('#made').innerText").startswith("bip_")
    seat.tab_to("button[aria-label='Revoke node-7']")
    seat.leave("Enter")
    assert seat.run("document.body.innerText.includes('node-7')") is False
    seat.tab_to("form[action$='/sign-out'] button")
    seat.leave("Enter")
    assert seat.run("document.querySelector('h1').innerText") == "Sign in"
    assert seat.problems == []


def test_a_list_of_all_is_quick_enough_to_scroll(seat: Browser, served: Served) -> None:
    """1,000 rows on one page, with pictures only where one looks."""
    seat.open(f"{served.path}?limit=1000")
    assert seat.run("document.querySelectorAll('tbody tr').length") == MANY
    asked = "performance.getEntriesByType('resource').filter(one => one.name.includes('thumbnail')).length"
    assert seat.run(asked) < MANY / 4
    assert seat.problems == []


def pages(served: Served) -> list[str]:
    own = ["", "/progress", "/history", "/locks", "/members", f"/data/{served.first}"]
    base = f"{served.running.url}"
    return [f"{served.path}{one}" for one in own] + [
        f"{base}/{one}" for one in ("projects", "account", "users", "audit")
    ]


@pytest.mark.parametrize("size", [(1200, 850), PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious(seat: Browser, served: Served, rules: str, size: tuple[int, int]) -> None:
    found = {}
    seat.resize(*size)
    for url in [*pages(served), f"{served.path}/data/none"]:
        seat.open(url)
        found[url] = serious(seat, rules)
    seat.tab_to("form[action$='/sign-out'] button")
    seat.leave("Enter")
    found["sign-in"] = serious(seat, rules)
    assert {url: problems for url, problems in found.items() if problems} == {}


def serious(seat: Browser, rules: str) -> list[str]:
    seat.run(rules + ";0")
    told = json.loads(seat.run("axe.run(document).then(found => JSON.stringify(found.violations))"))
    return [f"{one['id']}: {one['nodes'][0]['html'][:300]}" for one in told if one["impact"] in ("serious", "critical")]


def test_a_phone_shows_all_without_moving_sideways(seat: Browser, served: Served) -> None:
    seat.resize(*PHONE)
    for url in pages(served):
        seat.open(url)
        assert seat.run("document.documentElement.scrollWidth") <= PHONE[0], url
        small = "[...document.querySelectorAll('button, select, input:not([type=hidden])')]"
        hidden = f"{small}.filter(one => one.checkVisibility() && one.getBoundingClientRect().right > {PHONE[0]})"
        inside = f"{hidden}.filter(one => !one.closest('.scroll, .list')).length"
        assert seat.run(inside) == 0, url
    assert seat.problems == []


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What makes a page accessible, as a script; only these tests need it, so npm brings it."""
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, timeout=300, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        if ALL:
            pytest.fail(f"npm did not bring {AXE}: {error}")
        pytest.skip(f"npm did not bring {AXE}: {error}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()
