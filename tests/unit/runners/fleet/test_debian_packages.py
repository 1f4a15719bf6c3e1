"""Packages for hosts without a mirror: the list to send, and the message if a package is missing."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from airfleet.components.host_model import HostMachine
from airfleet.components.hosts.systems import SYSTEMS
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.apply import debian_packages
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, steps
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from deadline import PATIENCE_S
from places import desired

LISTING = """\
Reading package lists...
'http://deb.example/pool/h/haproxy_2.6.12-1%2bdeb12u4_amd64.deb' haproxy_2.6.12-1+deb12u4_amd64.deb 2042636 SHA256:ab
'http://deb.example/pool/l/liblua5.3-0_5.3.6-2_amd64.deb' liblua5.3-0_5.3.6-2_amd64.deb 123 SHA256:cd
"""


def view_of(host: str) -> HostView:
    want = desired(host)
    recipe = airflow_archive.Recipe("3.11", "x86_64", "", "", ())
    connection: Any = None
    return HostView(connection, want, HostFacts(), diff.decide(want, HostFacts()), recipe)


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"deb")
    return folder


def test_apt_s_own_names_of_the_files_are_read() -> None:
    assert debian_packages.parse_uris(LISTING) == (
        "haproxy_2.6.12-1+deb12u4_amd64.deb",
        "liblua5.3-0_5.3.6-2_amd64.deb",
    )


def test_of_a_folder_the_packages_of_the_architecture_are_taken(tmp_path: Path) -> None:
    folder = fill(tmp_path, "haproxy_2_amd64.deb", "haproxy_2_arm64.deb", "tzdata_1_all.deb", "notes.txt")
    taken = debian_packages.pick(folder, "amd64", ["haproxy"])
    assert [path.name for path in taken] == ["haproxy_2_amd64.deb", "tzdata_1_all.deb"]


def test_what_a_folder_lacks_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path, "haproxy_2_arm64.deb")
    with pytest.raises(AirfleetError, match="lacks packages: haproxy, pgbouncer"):
        debian_packages.pick(folder, "amd64", ["pgbouncer", "haproxy"])


def test_a_host_whose_packages_are_not_there_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    wanted = next(step.action for step in view_of("web1").steps if isinstance(step.action, steps.Install)).packages
    folder = fill(tmp_path / "debs", *(f"{name}_1_amd64.deb" for name in wanted))
    survey = Survey((view_of("web1"), view_of("data1")), ())
    shipment = debian_packages.ship(survey, folder, tmp_path, tmp_path, lambda _: None)
    assert [error.where for error in shipment.survey.errors] == ["data1"]
    (kept,) = shipment.survey.views
    (install,) = (step.action for step in kept.steps if isinstance(step.action, steps.Install))
    assert shipment.archives[install.archive].is_file()


def test_what_is_sent_is_installed_without_a_look_at_the_host_s_own_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SHIPPED", str(tmp_path / "shipped"))
    for name, text in {
        "apt-get": f'echo "$DEBIAN_FRONTEND $*" >> {tmp_path}/asked',
        "dpkg-deb": "echo Package: haproxy",
        "dpkg": ":",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "haproxy_1_amd64.deb").write_text("a package")
    archive = subprocess.run(
        ["tar", "-C", str(tmp_path), "-c", "haproxy_1_amd64.deb"], capture_output=True, check=True
    ).stdout
    script = steps.script(steps.Install(("haproxy", "nftables"), "web1"))
    subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH\n{script}"], input=archive, check=True, timeout=PATIENCE_S)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.partition("Languages=none ")[2] for line in asked] == [
        "update",
        "install --no-install-recommends haproxy nftables",
    ]
    own = f"sourcelist={tmp_path}/shipped"
    assert all("Dir::Etc::sourceparts=-" in line and own in line for line in asked)
    assert all(line.startswith("noninteractive ") for line in asked)
    assert not (tmp_path / "shipped").exists()


@pytest.mark.parametrize(
    ("apt", "own", "told"),
    [
        (None, 'ID=debian\nVERSION_ID="12"\n', "this machine has no apt"),
        ("/usr/bin/apt-get", 'ID="fedora"\nVERSION_ID=40\n', "it has Debian 12, this machine fedora 40"),
        ("/usr/bin/apt-get", 'ID=ubuntu\nVERSION_ID="22.04"\n', "it has Debian 12, this machine ubuntu 22.04"),
        ("/usr/bin/apt-get", 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n', ""),
    ],
)
def test_only_apt_of_the_same_release_can_fetch(
    monkeypatch: pytest.MonkeyPatch, apt: str | None, own: str, told: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: apt)
    machine = HostMachine(SYSTEMS["debian", "12"], "x86_64", 1 << 30, 2, ())
    with pytest.raises(AirfleetError, match=told) if told else nullcontext():
        debian_packages.check(machine, own)
