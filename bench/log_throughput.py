"""What logs, traces and lineage cost the throughput of empty tasks: platforms with all of them and with none."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from airfleet.runners.local import ports
from alert_drills.collector import IdleCollector
from stock import measure, own_airfleet
from stock.__main__ import scratch
from stock.system import Plan, System
from support import say

# Each way is first once and last once, so that a machine that gets slower or warmer favours none.
TURNS = ("off", "on", "on", "off")
AGENT = "log-agent"


def measure_throughput(rounds: int, slots: int) -> dict[str, Any]:
    """Run `wide` so many rounds on each of four platforms, and return the ratio of the medians of tasks a second.

    With `on`, the log agent works, each run is sent to a collector as a trace, tasks write events of OpenLineage that a
    backend gets, and spans of tasks are kept. With `off`, the log agent stands still while tasks run. The collector,
    which is the backend too, runs in the process of the bench, on the same cores.
    """
    collector = IdleCollector(ports.find_free())
    collector.start()
    found: dict[str, list[dict[str, Any]]] = {"on": [], "off": []}
    try:
        for turn in TURNS:
            plan = Plan("local", slots, "folder", 0, ("wide",), fleet=_describe(collector.port) if turn == "on" else ())
            with scratch() as folder, own_airfleet.run(folder, plan) as system:
                measure.prepare(system)
                for number in range(rounds):
                    with _still(system) if turn == "off" else nullcontext():
                        figures = measure.measure(system, "wide", number)
                    if figures["failed"]:
                        raise SystemExit(f"{figures['failed']} tasks failed, so the figures mean nothing")
                    say(f"{turn}: {figures['tasks_per_s']:.1f} tasks a second")
                    found[turn].append(figures)
    finally:
        collector.stop()
    rates = {turn: statistics.median(one["tasks_per_s"] for one in listed) for turn, listed in found.items()}
    cpu = {turn: statistics.median(one["cpu_s_per_task"]["all"] for one in listed) for turn, listed in found.items()}
    return {
        "throughput_ratio": round(rates["on"] / rates["off"], 3),
        "tasks_per_s": {turn: round(rate, 2) for turn, rate in rates.items()},
        "cpu_s_per_task": {turn: round(seconds, 4) for turn, seconds in cpu.items()},
    }


def _describe(port: int) -> tuple[str, ...]:
    url = f"http://127.0.0.1:{port}"
    return (
        f'tracing: {{endpoint: "{url}"}}',
        "user_spans: true",
        f'openlineage: {{backends: {{marquez: {{kind: marquez, url: "{url}"}}}}}}',
    )


@contextmanager
def _still(system: System) -> Iterator[None]:
    """Stop the log agent for a round. It goes on afterwards, before the supervisor takes it for dead."""
    agent = system.find_roots()[AGENT]
    os.kill(agent, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(agent, signal.SIGCONT)
