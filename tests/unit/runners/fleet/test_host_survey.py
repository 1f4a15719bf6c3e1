"""What a survey makes of fleet.yaml for a host that answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from airfleet.components.model import reveal
from airfleet.runners.fleet.survey import host_survey
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.spec.topology import Host
from airfleet.workspace.rotation import RotationLedger
from airfleet_provider.contract.notification_policy import NotificationPolicy, Receiver, ReceiverType
from places import CREDENTIALS, NINE, OBJECTS, parse

FACTS = {"os": "debian\n12", "arch": "x86_64", "cpus": "2", "memory": "64000000", "init": "systemd"}


class BareHost:
    """A connection to a host with nothing on it."""

    ssh_port = 22
    client = "10.0.0.99"

    def __init__(self, host: Host) -> None:
        self.host = host

    def open(self) -> None:
        return

    def check(self, script: str, **_: object) -> str:
        is_probe = "section os" in script
        return "".join(f"@@airfleet@@ {name}\n{text}\n" for name, text in FACTS.items()) if is_probe else ""


def test_the_agents_of_a_host_know_whom_to_notify(tmp_path: Path) -> None:
    team = Receiver("team", ReceiverType.WEBHOOK, url="https://example.com/hook")
    objects = replace(OBJECTS, notifications=NotificationPolicy(receivers=(team,)))
    fleet = parse(NINE)
    spec = FleetSpec(fleet, tmp_path, CREDENTIALS, objects, RotationLedger(tmp_path), airflow="3.3.2")
    connection: Any = BareHost(next(host for host in fleet.hosts if host.name == "sched1"))
    desired = host_survey.inspect(spec, connection).desired
    (config,) = (file for file in desired.files if file.path.name == "agents.json")
    written = cast(dict[str, Any], json.loads(reveal(config.content)))
    assert "https://example.com/hook" in json.dumps(written["notifications"])
    assert replace(desired.place.objects, versions="") == replace(objects, versions="")
