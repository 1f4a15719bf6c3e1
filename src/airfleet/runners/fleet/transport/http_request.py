"""Ask a server for a page from a host, with nothing there but bash; over TLS with the system's Python."""

from __future__ import annotations

import shlex

from airfleet.shell_script import read_program, render_script
from airfleet.spec.addresses import bracket


def build_command(host: str, port: int, page: str, *, status: int = 200, timeout_s: float, prints: bool = False) -> str:
    """Return a command that succeeds if the answer has this status; with `prints` it prints the rest of the answer."""
    programs = ("http_request", "http_body") if prints else ("http_request",)
    script = render_script(__package__, *programs, HOST=host, NAME=bracket(host), PORT=port, PAGE=page, STATUS=status)
    return f"timeout {timeout_s:g} bash -c {shlex.quote(script)}"


def build_tls_command(python: str, url: str, *, timeout_s: float) -> str:
    """Return a command that prints the page of a URL, or fails. It does not verify the server's certificate."""
    words = ("-c", read_program(__package__, "get_url"), url, f"{timeout_s:g}")
    return f"{python} {shlex.join(words)}"
