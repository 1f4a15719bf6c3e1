"""The pages of the catalogue say what is known, run nothing that a Dag author wrote, and replace those before them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

import invented_catalog
from airfleet.errors import UsageError
from airfleet.operations.catalog import picture, reading, site
from airfleet.operations.catalog.model import Catalog, CatalogDag
from airfleet_provider.contract.lineage.graph import LineageDag, LineageGraph, Relation, make_edges
from invented_catalog import EVIL, NOW, asset_node, dag_node


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(site.list_files(invented_catalog.make_catalog("bare")))


def test_the_page_of_a_dag_says_what_is_known(pages: dict[str, str]) -> None:
    text = " ".join(Elements(pages["dags/load.html"]).text.split())
    for words in (
        "Loads the orders of a day",
        "0 3 * * *",
        "owner ann",
        "Orders come from the **shop**.",
        "fetch_orders",
    ):
        assert words in text
    assert "load writes raw: settle" in text


def test_the_first_page_finds_a_dag_by_its_text_and_a_task_by_its_name(pages: dict[str, str]) -> None:
    rows = [one for tag, one in Elements(pages["index.html"]).found if tag == "tr" and "data-find" in one]
    assert any("orders come from" in str(one["data-find"]) for one in rows if one["data-kind"] == "dag")
    assert any("fetch_orders load" in str(one["data-find"]) for one in rows if one["data-kind"] == "task")


def test_what_is_missing_is_said(pages: dict[str, str]) -> None:
    assert "It has no description." in pages["dags/bare.html"]
    assert "no owner" in pages["dags/bare.html"]
    assert "It has no description." not in pages["dags/load.html"]


def test_names_and_texts_make_no_elements(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        if name.endswith(".html"):
            elements = Elements(page)
            assert [tag for tag, _ in elements.found if tag in ("img", "iframe", "object", "form", "base")] == []
            assert sum(tag == "script" for tag, _ in elements.found) == (name == "index.html")
            for tag, attributes in elements.found:
                assert not [key for key in attributes if key.startswith("on") or key == "style"], tag
                assert not str(attributes.get("href", "")).startswith("javascript")
            [policy] = [one["content"] for tag, one in elements.found if "http-equiv" in one]
            assert "default-src 'none'" in str(policy)
            assert "unsafe" not in str(policy)


def test_every_link_leads_to_a_file_of_the_site(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        for tag, attributes in Elements(page).found if name.endswith(".html") else ():
            if tag == "a":
                path, _, place = str(attributes["href"]).partition("#")
                target = path.removeprefix("../") if path.startswith("../") else path
                assert target in pages, attributes
                assert not place or f'id="{place}"' in pages[target]


def test_two_names_have_two_files_also_where_case_does_not_count() -> None:
    names = ["a", "A", "a-b", "a b", "a/b", "../a", "", "CON", "ü", "x" * 300, "x" * 301, site.make_slug("A")]
    slugs = [site.make_slug(name) for name in names]
    assert len({one.lower() for one in slugs}) == len(names)
    assert all(len(one) < 100 and not set(one) & set("/.\\:") for one in slugs)


def test_a_build_replaces_the_build_before_and_removes_what_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    site.write(invented_catalog.make_catalog("old"), folder)
    (folder / "dags" / ".load.html.new").write_text("of a build that was killed")
    site.write(invented_catalog.make_catalog(), folder)
    assert not (folder / "dags" / "old.html").exists()
    assert not (folder / "dags" / ".load.html.new").exists()
    body = json.loads((folder / "catalog.json").read_text())
    assert sorted(one["name"] for one in body["dags"]) == sorted(["load", "marts", EVIL])


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        site.write(invented_catalog.make_catalog(), tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_platform_without_dags_has_a_page(tmp_path: Path) -> None:
    site.write(Catalog("empty", LineageGraph(NOW)), tmp_path / "site")
    assert "No Dag is live" in (tmp_path / "site" / "index.html").read_text()


def test_a_picture_has_the_nearest_and_ends_in_a_circle() -> None:
    edges = [(dag_node(f"d{n}"), dag_node(f"d{(n + 1) % 100}"), Relation.TRIGGERS, "t") for n in range(100)]
    graph = LineageGraph(NOW, edges=make_edges(edges))
    drawn = picture.draw(graph, dag_node("d0"))
    assert len(drawn.boxes) == picture.MOST_BOXES
    assert drawn.is_cut
    assert {dag_node("d1"), dag_node("d99")} <= {box.node for box in drawn.boxes}
    assert not picture.draw(invented_catalog.make_catalog().graph, asset_node("raw")).is_cut


def test_tasks_and_their_text_come_from_the_serialised_dag() -> None:
    graph = invented_catalog.make_catalog().graph
    task = {"task_id": "settle", "task_type": "PythonOperator", "doc_md": "Settles.", "owner": "ann"}
    first = {"task_id": "first", "downstream_task_ids": ["settle"], "_is_mapped": True, "partial_kwargs": {"doc": "x"}}
    data = {"dag": {"doc_md": "### load", "tasks": [{"__type": "operator", "__var": one} for one in (first, task)]}}
    doc, (one, two) = reading.make_dag(graph, "load", data)
    assert doc == "### load"
    assert (one.is_mapped, one.doc, one.downstream) == (True, "x", ("settle",))
    assert (two.operator, two.doc, two.upstream, two.writes) == ("PythonOperator", "Settles.", ("first",), ("raw",))
    assert reading.make_dag(graph, "load", {}) == ("", ())


@pytest.mark.parametrize(
    ("description", "doc", "said"),
    [
        ("Loads.", "### load\n\nOther.", "Loads."),
        ("", "### load\n\nOrders of\nthe shop.\n\nMore.", "Orders of the shop."),
        ("", "### load", ""),
    ],
)
def test_a_dag_is_summed_up_by_its_description_or_its_first_paragraph(description: str, doc: str, said: str) -> None:
    assert CatalogDag(LineageDag("load", description=description), doc).summary == said


def test_a_box_shows_the_part_of_a_long_name_that_tells_it_from_others() -> None:
    assert picture.shorten("warehouse.flights") == "warehouse.flights"
    tables = [picture.shorten(f"postgres://wh.example.com:5432/dwh.public.{name}") for name in ("carriers", "flights")]
    assert [one.rpartition(".")[2] for one in tables] == ["carriers", "flights"]
    assert all(one.startswith("…") and len(one) == picture.MOST_CHARS for one in tables)
    assert picture.shorten("a_dag_with_a_name_of_many_words_in_it") == "a_dag_with_a_name_of_many_w…"
