"""Hooks for mkdocs: pages may link to any file of the repository, and the built site loads nothing from another host.

A link that leaves `docs/` leads to a copy of that file below `repository/` in the site, where a `.md` file is a page.
So the links work on the site and in the repository alike.
"""

from __future__ import annotations

import os
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")
OUTSIDE = "repository"
PAGES_OUTSIDE = ("CONTRIBUTING.md", "STYLE.md", "CHANGELOG.md")  # in the navigation, linked or not
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
QUIET_RELATIONS = {"canonical", "prev", "next", "alternate"}  # links that a browser does not load


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file of the repository that a page links to, and what those pages link to in turn."""
    todo = [f"docs/{file.src_uri}" for file in files.documentation_pages()] + list(PAGES_OUTSIDE)
    seen: set[str] = set()
    while todo:
        path = todo.pop()
        if path in seen or not (ROOT / path).is_file():
            continue
        seen.add(path)
        if files.get_file_from_path(_place(path)) is None:
            files.append(File.generated(config, _place(path), abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            todo += [_resolve(target, path) for _, target in LINK.findall((ROOT / path).read_text())]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with links that lead to the place of each file on the site."""
    place = page.file.src_uri
    source = place.removeprefix(f"{OUTSIDE}/") if place.startswith(f"{OUTSIDE}/") else f"docs/{place}"

    def lead(link: re.Match[str]) -> str:
        path = _resolve(link[2], source)
        if (ROOT / path).is_dir() and (ROOT / path / "index.md").exists():
            path += "/index.md"
        return link[1] + posixpath.relpath(_place(path), posixpath.dirname(place) or ".")

    return LINK.sub(lead, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Check the built site.

    Raises:
        PluginError: A page or a style sheet loads something from another host.
    """
    found = []
    for folder, _, names in os.walk(config.site_dir):
        for path in (Path(folder, name) for name in names):
            if path.suffix == ".html":
                reader = _Loads()
                reader.feed(path.read_text())
                found += [f"{path.relative_to(config.site_dir)} loads {address}" for address in reader.found]
            elif path.suffix == ".css":
                addresses = re.findall(r"(?:url\(|@import\s+)[\"']?(https?:[^\"')]+)", path.read_text())
                found += [f"{path.relative_to(config.site_dir)} loads {address}" for address in addresses]
    if found:
        raise PluginError("the site needs the network:\n" + "\n".join(found))


def _place(path: str) -> str:
    """Return the path of a file of the repository on the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{OUTSIDE}/{path}"


def _resolve(target: str, source: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


class _Loads(HTMLParser):
    """Collects what a browser loads from another host for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(LOADED.get(tag, "")) or ""
        relations = set((given.get("rel") or "").split())
        if re.match(r"(https?:)?//", address) and not relations & QUIET_RELATIONS:
            self.found.append(address)
