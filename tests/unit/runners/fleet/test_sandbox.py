"""What systemd keeps the services of a fleet from doing, as systemd itself judges their units."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from airfleet.components.host_model import Service
from airfleet.runners.fleet.plan import systemd_units
from places import NINE, desired, parse, with_setting
from ways_in import VPN

EVERYTHING = with_setting(NINE, "[web, monitor]", "[web, monitor, database, balancer]")
EVERYTHING += f"balancer: {{address: 10.0.0.9}}\n{VPN}"
HOSTS = [host.name for host in parse().hosts]
# `systemd-analyze security` gives 0 to what can do nothing and 10 to what can do all; 8.5 and more is EXPOSED.
WORST = 2.5
ANALYZE = shutil.which("systemd-analyze")


def services() -> dict[str, Service]:
    found = {one.unit: one for name in HOSTS for one in desired(name, EVERYTHING).services}
    assert len(found) > 15
    return found


def can_analyze() -> bool:
    if ANALYZE is None:
        return False
    said = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"\d+", said)[0]) >= 250


@pytest.mark.skipif(not can_analyze(), reason="no systemd-analyze of systemd 250 or later here")
@pytest.mark.parametrize("unit", sorted(services()))
def test_systemd_finds_no_service_exposed(tmp_path: Path, unit: str) -> None:
    (tmp_path / unit).write_text(systemd_units.render(services()[unit]))
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", str(tmp_path / unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"exposure level for \S+ ([\d.]+)", said)
    assert exposure, said
    assert float(exposure[1]) <= WORST, said


def test_a_service_writes_to_the_folders_of_its_user_alone() -> None:
    known = services()
    by_name = {name: set(map(str, one.writes)) for name, one in known.items()}
    assert {"/var/lib/airfleet/postgresql", "/run/postgresql", "/var/lib/airfleet/backups"} <= (
        by_name["airfleet-postgresql.service"]
    )
    assert by_name["airfleet-rabbitmq.service"] == {"/var/lib/rabbitmq", "/var/log/rabbitmq"}
    assert by_name["airfleet-api-server.service"] == {"/var/lib/airfleet/server", "/var/log/airfleet/server"}
    assert by_name["airfleet-vpn.service"] == {"/var/lib/airfleet/vpn"}
    assert by_name["airfleet-balancer.service"] == {"/var/lib/airfleet/haproxy"}
    for name, one in known.items():
        text = systemd_units.render(one)
        assert one.sandbox.get("ProtectSystem") == "full" or "ProtectSystem=strict" in text, name
        assert not any(path.startswith("/etc") for path in by_name[name]), name
        assert "NoNewPrivileges=yes" in text, name


def test_tasks_keep_what_they_need_of_a_host() -> None:
    text = systemd_units.render(services()["airfleet-worker-cpu.service"])
    assert "ProtectSystem=full" in text, "a task may write to a mounted share"
    assert "PrivateDevices=no" in text, "a task may use a GPU"
    assert "UMask=0022" in text, "what a task writes may be for others"
    assert "ProtectProc=invisible" in text, "a task sees no process of another user"
