"""What exporters answer to Prometheus, for tests without a platform.

The agents' answer is made from the table of their metrics. The files in `expositions/` were recorded from real programs
(HAProxy 2.6, the node exporter 1.5, the PostgreSQL exporter 0.11, RabbitMQ 3.10 and etcd 3.4 of Debian 12), and cut
down to the metrics that rules and dashboards read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airfleet_provider.contract.metrics import METRICS, Metric, MetricKind

RECORDED = Path(__file__).parent / "expositions"
LABELS = {
    "queue": ("default", "io"),
    "pool": ("default_pool", "crm"),
    "dag_id": ("nightly", "hourly"),
    "state": ("success", "failed", "up_for_retry", "queued", "running", "late", "met", "missed", "active", "waiting"),
    "lease": ("scheduler", "agents"),
    "component": ("scheduler", "triggerer"),
}
# Values that a sample has in place of a number of its own.
VALUES = {"airfleet_component_up": 1.0, "airfleet_lease_holder": 1.0, "airfleet_scheduler_loop_age_seconds": 1.0}


def render_agents(turn: int, others: dict[str, float] | None = None) -> str:
    """The agents' answer number `turn`: each counter has grown since the one before. `others` are values of gauges."""
    lines = []
    for metric in METRICS.values():
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for number, labels in enumerate(_combine(metric), 1):
            lines += _sample(metric, labels, number, turn, others or {})
    return "\n".join([*lines, ""])


def _combine(metric: Metric) -> Iterable[dict[str, str]]:
    values = [LABELS.get(label, (f"one-{label}",)) for label in metric.labels]
    return [dict(zip(metric.labels, words, strict=True)) for words in itertools.product(*values)]


def _sample(metric: Metric, labels: dict[str, str], number: int, turn: int, others: dict[str, float]) -> Iterator[str]:
    def line(suffix: str, value: float, **more: str) -> str:
        words = ",".join(f'{key}="{text}"' for key, text in {**labels, **more}.items())
        return f"{metric.name}{suffix}{{{words}}} {value}"

    match metric.kind:
        case MetricKind.HISTOGRAM:
            bounds = (*map(str, metric.buckets), "+Inf")
            for place, bound in enumerate(bounds, 1):
                yield line("_bucket", turn * 10 * place, le=bound)
            yield line("_count", turn * 10 * len(bounds))
            yield line("_sum", turn * 25.0)
        case MetricKind.COUNTER:
            yield line("", 100 + turn * number)
        case MetricKind.GAUGE:
            yield line("", others.get(metric.name, VALUES.get(metric.name, float(number))))


def render_recorded(name: str, turn: int) -> str:
    """The answer number `turn` of a recorded exporter: each counter that is not zero has grown."""
    lines, kind = [], ""
    for line in (RECORDED / f"{name}.prom").read_text().splitlines():
        if line.startswith("# TYPE"):
            kind = line.split()[-1]
        head, _, value = line.rpartition(" ")
        grows = kind in {"counter", "histogram"} and not line.startswith("#")
        lines.append(f"{head} {float(value) * (1 + 0.1 * turn)}" if grows else line)
    return "\n".join([*lines, ""])


@dataclass
class Exporters:
    """A server that answers as all exporters do, and takes alerts as the agents do."""

    port: int
    gauges: dict[str, float] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


@contextlib.contextmanager
def serve() -> Iterator[Exporters]:
    """A server on a free port: `/agents`, or the name of a recorded exporter, is the path of the metrics."""
    turns = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = urlsplit(self.path).path.strip("/")
            turn = next(turns)
            text = render_agents(turn, known.gauges) if name in {"agents", "metrics"} else render_recorded(name, turn)
            self._answer(text.encode())

        def do_POST(self) -> None:
            known.tokens.add(self.headers.get("Authorization", ""))
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known.alerts += body["alerts"]
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = Exporters(server.server_port)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()


def list_names(text: str) -> set[str]:
    """The names of metrics in an answer."""
    return set(re.findall(r"^([A-Za-z_][A-Za-z_0-9]*)[{ ]", text, re.MULTILINE))
