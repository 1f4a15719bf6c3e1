"""The documentation says what is true: generated pages, the commands in the README, every link."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from airfleet.cli.main import VERBS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
CODE = [ROOT / "src" / "airfleet", ROOT / "provider" / "src" / "airfleet_provider"]
ROOMS = {room.name for half in CODE for room in half.iterdir() if room.is_dir()}
RECORDS = sorted((DOCS / "adr").glob("0*.md"))


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert f"airfleet {verb}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_to_a_section_leads_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        there = (page.parent / target) if target else page
        assert anchor in list_anchors(there), f"{target}#{anchor}"


@functools.cache
def list_anchors(page: Path) -> frozenset[str]:
    """Return what links to the sections of a page end with."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles)


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_every_decision_says_when_it_is_violated(record: Path) -> None:
    assert "**Violated when**" in record.read_text()


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_every_decision_is_in_the_index(record: Path) -> None:
    assert f"({record.name})" in (DOCS / "adr" / "index.md").read_text()


def test_no_two_decisions_have_one_number() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert numbers == sorted(set(numbers))
    assert [record.name for record in RECORDS if f"# {int(record.name[:4])}. " not in record.read_text()] == []


def test_the_drawing_of_the_architecture_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "architecture.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_on_the_architecture_describes_every_room_of_the_drawing() -> None:
    rooms = re.findall(r">([a-z_.]+)</text>", (DOCS / "architecture.svg").read_text())
    page = (DOCS / "architecture.md").read_text()
    assert [room for room in rooms if f"`{room}`" not in page] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in {"CHANGELOG.md", "sdk-tests.md"}], ids=lambda path: path.name
)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", text))
    named |= {path for path in re.findall(r"`([a-z_]+(?:/[a-z_]+)+)`", text) if path.split("/")[0] in ROOMS}
    dotted = set(re.findall(r"`(airfleet_provider(?:\.[a-z_]+)+)`", text))
    assert [path for path in named if not path.startswith(("dags/", "include/")) and not _is_there(path)] == []
    assert [module for module in dotted if not _is_there(module.replace(".", "/"))] == []


def _is_there(path: str) -> bool:
    """Whether a file or folder of the repository ends in this path; an extension may be left out."""
    return (
        any(
            next(folder.rglob(f"{path}{extension}"), None)
            for folder in [
                *(half.parent for half in CODE),
                *(ROOT / name for name in ("tests", "tools", "bench", "examples")),
            ]
            for extension in ("", ".py")
        )
        or (ROOT / path).exists()
    )


def test_the_navigation_of_the_site_has_every_page() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yaml").read_text())["nav"]
    listed = {page.removeprefix("repository/") for page in _find_leaves(navigation)}
    pages = {str(page.relative_to(DOCS)) for page in PAGES if DOCS in page.parents}
    assert pages <= listed
    assert all((DOCS / page).exists() or (ROOT / page).exists() for page in listed)


def _find_leaves(tree: Any) -> list[str]:  # noqa: ANN401 - a document of YAML
    if isinstance(tree, str):
        return [tree]
    branches = tree.values() if isinstance(tree, dict) else tree
    return [leaf for branch in branches for leaf in _find_leaves(branch)]
