"""The Prometheus and the Alertmanager of `up --monitor`, by themselves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import yaml

import authorities
from airfleet.components.model import reveal
from airfleet.components.monitoring import private_servers
from airfleet.components.monitoring.private_servers import MonitorNode
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.checks import Checker
from airfleet.runners.local.prometheus import find_programs
from airfleet.spec.secrets import Secret
from deadline import PATIENCE_S, wait_until
from expositions import RECORDED
from places import parse

JWT_SECRET, PASSWORD = Secret("only-for-tests"), Secret("the-password-of-the-servers")


@dataclass(frozen=True)
class Prometheus:
    """A server that runs: its address, its password, and the address of its Alertmanager."""

    url: str
    password: Secret
    alertmanager: str = ""

    @property
    def login(self) -> tuple[str, str]:
        return (private_servers.USER, self.password.reveal())

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query, each with `metric` and `value`.

        Raises:
            AssertionError: Prometheus refuses the query.
        """
        url = f"{self.url}/api/v1/query"
        options: dict[str, Any] = {"timeout": PATIENCE_S, "trust_env": False, "verify": authorities.read()}
        answer = httpx.post(url, data={"query": expr}, auth=self.login, **options).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def value(self, expr: str) -> float | None:
        found = self.query(expr)
        return float(found[0]["value"][1]) if found else None


@contextlib.contextmanager
def serve(agents_port: int, *, fast: bool = True) -> Iterator[Prometheus]:
    """Both servers. The agents are at this port, and recorded exporters too.

    If `fast`, they have the intervals of `quicken`.
    Skips the test where they are not installed.
    """
    try:
        programs = find_programs()
    except AirfleetError as error:
        pytest.skip(f"{error}: tools/prometheus installs it")
    with tempfile.TemporaryDirectory(prefix="airfleet-monitor-", ignore_cleanup_errors=True) as name:
        first, second = ports.find_several(2)
        hashed = bcrypt.hashpw(PASSWORD.reveal().encode(), bcrypt.gensalt(4)).decode()
        node = MonitorNode(Path(name), programs.prometheus, programs.alertmanager, first, second, PASSWORD, hashed)
        component = private_servers.describe(parse("name: test"), node, agents_port, JWT_SECRET)
        for file in component.files:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            text = reveal(file.content)
            text = _add_recorded(text, agents_port) if file.path.name == "prometheus.yml" else text
            file.path.write_text(quicken(text) if fast else text)
        checker = Checker(Secret("no database is needed"))
        started: list[subprocess.Popen[bytes]] = []
        try:
            for process in component.processes:
                with (Path(name) / f"{process.name}.log").open("ab") as log:
                    words = [quicken(reveal(word)) if fast else reveal(word) for word in process.commands[0]]
                    started.append(subprocess.Popen(words, stdout=log, stderr=log, env=dict(os.environ), cwd="/"))
                checked = process.health
                assert checked is not None
                wait_until(
                    lambda checked=checked: checker.check(checked, started=0).healthy,  # type: ignore[misc]
                    process.name,
                    seen=(Path(name) / f"{process.name}.log").read_text,
                )
            yield Prometheus(component.processes[-1].url, PASSWORD, alertmanager=component.processes[0].url)
        finally:
            for one in reversed(started):
                one.send_signal(signal.SIGTERM)
                one.wait(PATIENCE_S)


def quicken(text: str) -> str:
    """Return a configuration, rules or a word of its command with which Prometheus needs no minutes for anything.

    It scrapes, evaluates, and repeats an alert that it had to drop, every two seconds. Windows of days are windows of
    minutes: those of days read one value a minute, so the first would come after a minute. promtool tests the rules as
    they are.
    """
    text = re.sub(r"((?:interval|timeout): )(10s|1m)$", r"\g<1>2s", text, flags=re.MULTILINE)
    text = re.sub(r"^(--rules\.alert\.resend-delay=).*$", r"\g<1>2s", text, flags=re.MULTILINE)
    return re.sub(r"\[(\d)d:1m\]", r"[\1m:2s]", text)


def _add_recorded(text: str, port: int) -> str:
    config = yaml.safe_load(text)
    for path in sorted(RECORDED.glob("*.prom")):
        targets = {"targets": [f"127.0.0.1:{port}"], "labels": {"host": "test"}}
        job = {"job_name": path.stem, "metrics_path": f"/{path.stem}", "static_configs": [targets]}
        config["scrape_configs"].append(job)
    return yaml.safe_dump(config)
