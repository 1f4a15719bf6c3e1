"""Airflow's own UI in a real browser, without Airflow: the files of the installed one, and invented answers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import mimetypes
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from airfleet_provider.api_server import plugin
from airfleet_provider.console.files import FOLDER
from deadline import PATIENCE_S

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# A machine without network must not wait for Chromium's own services.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
API = f"{plugin.API}/"
AXE = Path(__file__).parents[2] / "console" / "node_modules" / "axe-core" / "axe.min.js"
# What the frame around the pages asks Airflow.
FRAME: dict[str, Any] = {
    "/ui/config": {
        "fallback_page_limit": 50,
        "auto_refresh_interval": 3,
        "hide_paused_dags_by_default": False,
        "instance_name": "Airflow",
        "enable_swagger_ui": True,
        "require_confirmation_dag_change": False,
        "default_wrap": False,
        "test_connection": "Disabled",
        "dashboard_alert": [],
        "show_external_log_redirect": False,
        "external_log_name": None,
        "theme": None,
        "multi_team": False,
    },
    "/ui/auth/menus": {
        "authorized_menu_items": ["Dags", "Assets", "Pools", "Plugins", "Docs"],
        "extra_menu_items": [],
    },
    "/ui/auth/me": {"id": "1", "username": "admin"},
    "/ui/backfills": {"backfills": [], "total_entries": 0},
    "/api/v2/version": {"version": "3.3.2", "git_version": None},
}


@dataclass(slots=True)
class Answer:
    """What the API of the Fleet pages answers to a path. A status of 0 ends the connection without an answer."""

    body: Any = None
    status: int = 200


@dataclass(slots=True)
class Request:
    """A request to the API of the Fleet pages."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Site:
    """Airflow's UI in a page of a browser. `answers` are those of the API of the Fleet pages, by path."""

    page: Page
    origin: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a page of a plugin, such as `fleet/alerts`."""
        self.page.goto(f"{self.origin}/plugin/{path}")


class Handler(BaseHTTPRequestHandler):
    """Answers the browser. A browser keeps the files of Airflow's UI, so that only the first page takes seconds."""

    site: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(API):
            self._answer_api(path.removeprefix(API), b"")
        elif path.startswith(f"{plugin.FILES}/"):
            self._send_file(FOLDER / path.removeprefix(f"{plugin.FILES}/"))
        elif path.startswith("/static/"):
            self._send_file(_find_ui() / path.removeprefix("/static/"))
        elif path == "/api/v2/plugins":
            self._send_json(200, {"plugins": [_describe_plugin()], "total_entries": 1})
        elif path in FRAME:
            self._send_json(200, FRAME[path])
        elif path.startswith(("/api/", "/ui/")):
            self._send_json(404, {"detail": "not here"})
        else:
            page = (_find_ui() / "index.html").read_text("utf-8")
            self._send(200, page.replace("{{ backend_server_base_url }}", f"{self.site.origin}/").encode(), "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer_api(self.path.removeprefix(API), body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer_api(self, path: str, body: bytes) -> None:
        self.site.requests.append(Request(self.command, path, dict(self.headers.items()), body))
        found = self.site.answers.get(path, Answer({"detail": "not here"}, 404))
        if found.status == 0:
            self.close_connection = True
            return
        self._send_json(found.status, found.body)

    def _send_json(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        tag = f'"{hashlib.sha256(raw).hexdigest()}"'
        if self.headers.get("If-None-Match") == tag:
            status, raw = 304, b""
        self._send(status, raw, "application/json", {"ETag": tag})

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self._send(404, b"", "text/plain")
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._send(200, path.read_bytes(), kind, {"Cache-Control": "max-age=3600"})

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Yield a browser. A process has one at a time. What tests expect of its pages has as long as any condition."""
    expect.set_options(timeout=1000 * PATIENCE_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def open_page(browser: Browser, *, is_dark: bool = False) -> Page:
    """Return a page of a browser, with cookies and a cache of its own."""
    size: ViewportSize = {"width": 1400, "height": 900}
    page = browser.new_page(viewport=size, color_scheme="dark" if is_dark else "light", reduced_motion="reduce")
    page.set_default_timeout(1000 * PATIENCE_S)
    return page


@contextmanager
def open_site(browser: Browser, *, is_dark: bool = False) -> Iterator[Site]:
    """Yield Airflow's UI in a page of a browser."""

    class OwnHandler(Handler):
        """Answers for the one site of this block."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), OwnHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), name="invented Airflow", daemon=True).start()
    page = open_page(browser, is_dark=is_dark)
    try:
        site = Site(page, f"http://127.0.0.1:{server.server_port}")
        OwnHandler.site = site
        yield site
    finally:
        page.close()
        server.shutdown()
        server.server_close()


def _find_ui() -> Path:
    found = importlib.util.find_spec("airflow")
    if found is None or not found.submodule_search_locations:
        raise LookupError("Airflow is not installed")
    return Path(found.submodule_search_locations[0]) / "ui" / "dist"


def _describe_plugin() -> dict[str, Any]:
    lists = ("macros", "flask_blueprints", "fastapi_apps", "fastapi_root_middlewares", "external_views", "listeners")
    apps: Any = plugin.AirfleetPlugin.react_apps
    more = ("appbuilder_views", "appbuilder_menu_items", "global_operator_extra_links", "operator_extra_links")
    return {
        "name": plugin.AirfleetPlugin.name,
        "source": "",
        **{name: [] for name in (*lists, *more, "timetables")},
        "react_apps": [{"category": None} | dict(one) for one in apps],
    }
