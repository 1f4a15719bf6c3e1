"""The throughput of `wide` with encryption between all hosts, against the same fleet without it.

make bench-tls                         four turns on three machines of this one: `tls_ratio` of bench/results/data.json
make bench-tls ARGS="--rounds 1"       one turn of each; nothing is kept of it

One fleet of three machines: database and broker; balancer, API and scheduler; worker. Between turns, the ledger of the
fleet's secrets is set to a step of the introduction of TLS (ADR 40), and `airfleet apply` makes the hosts so. *Clear*
is the step in which servers offer TLS already and no client uses it: PostgreSQL through PgBouncer, AMQP, the execution
API, logs and metrics are in clear. *Encrypted* is what `apply` leads to by itself. In each turn, `wide` runs once
unmeasured, and then three times. `tls_ratio` is the tasks a second of the median with encryption, divided by those of
the median without. The bench reads from the kernel of the worker which port of the broker its connections use, and
fails if the turn is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import httpx  # noqa: E402

import fleet_speed  # noqa: E402
from airfleet.workspace import rotation  # noqa: E402
from airfleet.workspace.credentials import AUTHORITY, INTRODUCED  # noqa: E402
from airfleet.workspace.state_folder import write_file  # noqa: E402
from deadline import REQUEST_S, wait_until  # noqa: E402
from four import PACKAGES, Four  # noqa: E402
from machines import Bed, why_not  # noqa: E402
from machines.image import Recipe, ensure_image  # noqa: E402
from stock.workloads import WORKLOADS  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "data.json"
ROLES = {
    "db1": "roles: [database, broker]",
    "app1": "roles: [web, balancer, scheduler]",
    "work1": "roles: [worker], pools: [default]",
}
WIDE = WORKLOADS["wide"]
RUNS = 3
# Ports of RabbitMQ with and without TLS.
PORTS = {True: 5671, False: 5672}
# An apply that makes the hosts as the step says, and does not go on to the next step.
APPLY_STEP = """
from airfleet.cli.main import main
from airfleet.workspace.rotation import RotationLedger

RotationLedger.is_due = lambda *_, **__: False
main()
"""


def main() -> None:
    """Measure in turns, print the figures, and add the ratio to those of `bench/data.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each")
    chosen = parser.parse_args()
    if reason := why_not():
        sys.exit(f"bench: no machines can run here: {reason}")
    with (
        tempfile.TemporaryDirectory(prefix="airfleet-tls-") as folder,
        Bed.create(list(ROLES), image=ensure_image(Recipe(fetched=PACKAGES))) as bed,
    ):
        bed.wait_ready()
        fleet = make(Path(folder), bed)
        walls: dict[bool, list[float]] = {True: [], False: []}
        for number in range(chosen.rounds):
            # The order changes, so that a machine that becomes slower does not favour one of the two.
            for encrypted in (True, False) if number % 2 == 0 else (False, True):
                speak(fleet, encrypted=encrypted)
                walls[encrypted] += measure(fleet, f"round_{number}_{encrypted}")
                say(f"round {number + 1} of {chosen.rounds}, {name(encrypted)}: {walls[encrypted][-RUNS:]} s")
    figures = summarise(walls)
    print(json.dumps(figures, indent=2))
    if chosen.rounds < 2:
        say("one round: bench/results/data.json stays as it is")
        return
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, **figures}, indent=2) + "\n")


def make(folder: Path, bed: Bed) -> Four:
    """Return a fleet with the Dags of `wide`, all encrypted, as a first `apply` makes it."""
    fleet = Four(folder, bed, ROLES)
    fleet.write()
    paper = folder / "fleet.yaml"
    paper.write_text(paper.read_text().replace("concurrency: 4", f"concurrency: {fleet_speed.SLOTS}"))
    fleet_speed.write_dags(folder / "dags")
    say("the first apply")
    fleet.do("apply")
    fleet.do("release", "deploy", "-m", "first")
    return fleet


def speak(fleet: Four, *, encrypted: bool) -> None:
    """Let all hosts encrypt what they send to each other, or let them send it in clear."""
    secrets = fleet.folder / ".airfleet" / "secrets"
    ledger = set_step(json.loads((secrets / rotation.NAME).read_text()), encrypted=encrypted)
    for one in (rotation.COPY, rotation.NAME):
        write_file(secrets / one, json.dumps(ledger, indent=1))
    begun = time.monotonic()
    words = [sys.executable, "-c", APPLY_STEP, "apply"]
    done = subprocess.run(words, cwd=fleet.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench: apply failed with {done.returncode}\n{done.stdout}\n{done.stderr}")
    say(f"{name(encrypted)}: applied in {time.monotonic() - begun:.0f} s")
    wait_until(lambda: find_ports(fleet) == {PORTS[encrypted]}, "the worker's connections", every_s=1)


def set_step(ledger: Mapping[str, Any], *, encrypted: bool) -> dict[str, Any]:
    """Return a ledger in which TLS is introduced everywhere, or offered and not used yet."""
    changed = dict(ledger)
    for entry in (AUTHORITY, *INTRODUCED):
        newest = ledger[entry]["held"][-1]
        none = {"slot": int(newest["slot"] == 0), "value": rotation.NONE.reveal()}
        step = rotation.RotationStep.SETTLED if encrypted else rotation.RotationStep.ACCEPT
        changed[entry] = {
            **ledger[entry],
            "held": [newest] if encrypted else [none, newest],
            "used": (newest if encrypted else none)["slot"],
            "step": str(step),
        }
    return changed


def find_ports(fleet: Four) -> set[int]:
    """Return the ports of the broker to which the worker is connected."""
    listed = fleet.bed["work1"].console("ss --no-header --tcp --numeric state established")
    peers = (line.split()[-1].rpartition(":") for line in listed.splitlines() if line.strip())
    return {int(port) for _, _, port in peers if port.isdigit() and int(port) in PORTS.values()}


def measure(fleet: Four, turn: str) -> list[float]:
    """Return the seconds of RUNS runs of `wide`, after one that is not measured."""
    fleet.token = ""
    with log_in(fleet) as api:
        for dag in WIDE.dags:
            wait_until(partial(fleet_speed.is_known, api, dag), f"{dag} to appear")
            api.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
        found = [fleet_speed.run_all(api, WIDE.dags, f"{turn}_{number}") for number in range(RUNS + 1)]
    return found[1:]


def log_in(fleet: Four) -> httpx.Client:
    fleet.call("GET", "/dags?limit=1")
    headers = {"Authorization": f"Bearer {fleet.token}"}
    return httpx.Client(base_url=f"{fleet.url}/api/v2", headers=headers, timeout=REQUEST_S)


def summarise(walls: Mapping[bool, list[float]]) -> dict[str, Any]:
    rates = {encrypted: WIDE.tasks / statistics.median(found) for encrypted, found in walls.items()}
    return {
        "tls_ratio": round(rates[True] / rates[False], 3),
        "tls_wide_rate": round(rates[True], 2),
        "clear_wide_rate": round(rates[False], 2),
        "tls_walls_s": walls[True],
        "clear_walls_s": walls[False],
        "tls_load": round(os.getloadavg()[2], 1),
    }


def name(encrypted: bool) -> str:
    return "encrypted" if encrypted else "clear"


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
