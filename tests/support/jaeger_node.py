"""Jaeger 2 on this machine, for tests. It is a build of OpenTelemetry's collector: it can also pass spans on alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from airfleet.runners.local import ports
from deadline import PATIENCE_S, REQUEST_S, wait_until

STORE: Mapping[str, Any] = {"backends": {"memory": {"memory": {"max_traces": 1000}}}}


class JaegerNode:
    """A node that takes OTLP over HTTP. With `to`, it hands all spans on to that URL, and stores none."""

    def __init__(self, program: Path, folder: Path, to: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.query_port, self._grpc_port, self._metrics_port = ports.find_several(4)
        self.url = f"http://127.0.0.1:{self.port}"
        self._program, self._folder = program, folder
        (folder / "config.json").write_text(json.dumps(self._configure(to)))
        self.start()

    def _configure(self, to: str) -> Mapping[str, Any]:
        exporter: Mapping[str, Any] = (
            {"otlphttp": {"endpoint": to, "tls": {"insecure": True}}}
            if to
            else {"jaeger_storage_exporter": {"trace_storage": "memory"}}
        )
        extensions: dict[str, Any] = {} if to else {"jaeger_storage": STORE}
        if not to:
            query = {
                "http": {"endpoint": f"127.0.0.1:{self.query_port}"},
                "grpc": {"endpoint": f"127.0.0.1:{self._grpc_port}"},
            }
            extensions["jaeger_query"] = {"storage": {"traces": "memory"}, **query}
        return {
            "service": {
                "extensions": list(extensions),
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": list(exporter)}},
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": extensions,
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.port}"}}}},
            "exporters": exporter,
        }

    def start(self) -> None:
        with (self._folder / "jaeger.log").open("ab") as log:
            command = [str(self._program), "--config", str(self._folder / "config.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        wait_until(self.is_up, "Jaeger", seen=(self._folder / "jaeger.log").read_text)

    def is_up(self) -> bool:
        try:
            return httpx.post(f"{self.url}/v1/traces", json={}, timeout=REQUEST_S).is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def find_trace(self, trace_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the spans of a trace as Jaeger's API shows them, or nothing if Jaeger does not have it."""
        answer = httpx.get(f"http://127.0.0.1:{self.query_port}/api/traces/{trace_id}", timeout=PATIENCE_S)
        return answer.json()["data"][0]["spans"] if answer.is_success else ()
