"""The ways into a fleet in real networks: the rendered firewall, WireGuard, OpenSSH, and a listener on the wire.

The kernel of a test machine may have no WireGuard, so wireguard-go makes the interfaces.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from airfleet.components.hosts import entrances, vpn
from airfleet.components.model import reveal
from airfleet.operations import vpn as operation
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.survey import administrator_tunnel
from airfleet.runners.fleet.survey.administrator_tunnel import TunnelState
from airfleet.runners.fleet.transport.connection import HostConnection, Output
from airfleet.spec.fleet import Fleet
from captures import Capture
from deadline import REQUEST_S, wait_until
from loopback_sshd import SSHD, make_key
from net_places import NetPlace, why_not
from places import NINE, desired, parse

MISSING = why_not("wg", "wg-quick", "wireguard-go", "ssh", "sshd")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING}; tools/wireguard installs what it can")

PUBLIC, WEB, CPU = "198.51.100.1", "10.0.0.11", "10.0.0.31"
# Long enough for a busy machine to answer, as each attempt that has to fail is made after one that has to succeed.
NO_ANSWER_S = 1.0
TUNNEL_ADDRESS = bytes([10, 99, 0, 2])
SECRET = b"what nobody on the wire may read"
UI = """\
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode() + b" " + self.client_address[0].encode())
    def log_message(self, *words):
        return
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Page).serve_forever()
"""


@dataclass(frozen=True)
class Site:
    """A balancer with a public address, a worker behind it, and two administrators outside."""

    folder: Path
    web: NetPlace
    cpu: NetPlace
    ann: NetPlace
    bob: NetPlace
    keys: dict[str, str]

    def describe(self, *names: str, allow_from: str = "[]") -> str:
        """Return fleet.yaml with these administrators."""
        people = "".join(
            f"    {name}: {{public_key: {self.keys[name]}, address: 10.99.0.{2 + number}}}\n"
            for number, name in enumerate(("ann", "bob"))
            if name in names
        )
        administrators = f"  administrators:\n{people}" if people else ""
        return f"{NINE}allow_from: {allow_from}\nvpn:\n  host: web1\n  endpoint: {PUBLIC}\n{administrators}"

    def apply(self, text: str) -> None:
        """Make both hosts what fleet.yaml says, as far as it concerns the ways into them."""
        for place, name in ((self.web, "web1"), (self.cpu, "cpu1")):
            host = desired(name, text)
            place.run("nft", "-f", "-", text=read(host, "firewall.nft"))
        host = desired("web1", text)
        for file in (vpn.PEERS, vpn.PROGRAM):
            self.move(file).parent.mkdir(parents=True, exist_ok=True)
            self.move(file).write_text(self.rebase(read(host, file.name)))
        self.move(vpn.KEY).parent.mkdir(parents=True, exist_ok=True)
        self.web.run("bash", str(self.move(vpn.PROGRAM)))

    def move(self, path: Path) -> Path:
        """Return where a file of a host is here."""
        return self.folder / "web1" / path.relative_to("/")

    def rebase(self, text: str) -> str:
        for folder in (vpn.FOLDER, vpn.OWN):
            text = text.replace(f"={folder}/", f"={self.move(folder)}/")
        return text

    def read_tunnel(self) -> TunnelState:
        def run(script: str) -> Output:
            done = self.web.run("sh", "-s", text=script)
            return Output(done.returncode, done.stdout, done.stderr)

        return administrator_tunnel.read_state(run)

    def bring_up(self, place: NetPlace, fleet: Fleet) -> None:
        """Let an administrator enter by the configuration that `airfleet vpn config` prints."""
        assert fleet.vpn
        who = operation.find_administrator(fleet.vpn, place.name)
        text = operation.render_profile(fleet, fleet.vpn, who, self.read_tunnel().public_key)
        private = (self.folder / place.name / "private.key").read_text().strip()
        config = self.folder / place.name / "airfleet.conf"
        config.write_text(text.replace(operation.YOURS, private))
        config.chmod(0o600)
        place.run("wg-quick", "up", str(config))


def read(host: DesiredHost, name: str) -> str:
    return reveal(next(file for file in host.files if file.path.name == name).content)


def start_sshd(place: NetPlace, folder: Path, client: str) -> str:
    """Start OpenSSH's server at every address, and return its public key."""
    folder.mkdir()
    public = make_key(folder / "host_key")
    (folder / "authorized").write_text(f"{client}\n")
    lines = (
        *("ListenAddress 0.0.0.0:22", f"HostKey {folder / 'host_key'}", f"AuthorizedKeysFile {folder / 'authorized'}"),
        *(f"PidFile {folder / 'pid'}", "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password"),
    )
    (folder / "config").write_text("\n".join([*lines, ""]))
    place.start(str(SSHD), "-D", "-e", "-f", str(folder / "config"), log=folder / "log")
    wait_until(lambda: "Server listening" in (folder / "log").read_text(), "sshd listens")
    return public


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("vpn")
    (folder / "web1").mkdir()
    with NetPlace("web1") as web, NetPlace("cpu1") as cpu, NetPlace("ann") as ann, NetPlace("bob") as bob:
        web.join(cpu, ("private", f"{WEB}/24"), ("private", f"{CPU}/24"))
        # One public address on both cables.
        web.join(ann, ("toann", f"{PUBLIC}/32"), ("outside", "198.51.100.7/24"))
        web.join(bob, ("tobob", f"{PUBLIC}/32"), ("outside", "198.51.100.8/24"))
        web.run("ip", "route", "add", "198.51.100.7", "dev", "toann")
        web.run("ip", "route", "add", "198.51.100.8", "dev", "tobob")
        cpu.run("ip", "route", "add", "default", "via", WEB)
        keys = {}
        for place in (ann, bob):
            (folder / place.name).mkdir()
            private = place.run("wg", "genkey").stdout
            (folder / place.name / "private.key").write_text(private)
            keys[place.name] = place.run("wg", "pubkey", text=private).stdout.strip()
        client = make_key(folder / "client_key")
        known = {WEB: start_sshd(web, folder / "sshd-web1", client), CPU: start_sshd(cpu, folder / "sshd-cpu1", client)}
        (folder / "known").write_text("".join(f"{address},10.99.0.1 {key}\n" if address == WEB else f"{address} {key}\n" for address, key in known.items()))  # fmt: skip  # noqa: E501
        # What the kernel has elsewhere. The program of the host finds the interface and goes on.
        web.start("wireguard-go", "--foreground", entrances.TUNNEL, log=folder / "wireguard.log")
        web.start(sys.executable, "-c", UI, SECRET.decode(), log=folder / "ui.log")
        wait_until(lambda: web.run("wg", "show", entrances.TUNNEL, check=False).returncode == 0, "wireguard-go")
        made = Site(folder, web, cpu, ann, bob, keys)
        made.apply(made.describe("ann", "bob", allow_from="[198.51.100.0/24]"))
        wait_until(lambda: reaches(ann, PUBLIC, 8080), "the page")
        for place in (ann, bob):
            made.bring_up(place, parse(made.describe("ann", "bob")))
        yield made


@pytest.fixture(autouse=True)
def _both_may_enter(site: Site) -> None:
    site.apply(site.describe("ann", "bob"))


def reaches(place: NetPlace, address: str, port: int, *, source: str = "", limit_s: float = NO_ANSWER_S) -> bool:
    with place.enter():
        try:
            socket.create_connection((address, port), limit_s, (source, 0) if source else None).close()
        except OSError:
            return False
    return True


def fetch(place: NetPlace, address: str) -> str:
    with place.enter():
        return httpx.get(f"http://{address}:8080/", timeout=REQUEST_S, trust_env=False).text


def test_administrators_reach_ui_and_ssh_in_the_tunnel_and_nobody_does_outside(site: Site) -> None:
    for place, own in ((site.ann, "10.99.0.2"), (site.bob, "10.99.0.3")):
        for address in ("10.99.0.1", WEB):
            assert fetch(place, address) == f"{SECRET.decode()} {own}", "the page, and who asks"
            assert reaches(place, address, 22, limit_s=REQUEST_S)
    for port in (8080, 22):
        assert not reaches(site.ann, PUBLIC, port)
    # The same way is open where fleet.yaml lets it be.
    site.apply(site.describe("ann", "bob", allow_from="[198.51.100.7]"))
    for port in (8080, 22):
        assert reaches(site.ann, PUBLIC, port, limit_s=REQUEST_S)
        assert not reaches(site.bob, PUBLIC, port)


def test_the_ui_is_closed_at_a_public_address_before_the_list_is_written(site: Site) -> None:
    site.apply(site.describe("ann", "bob").replace("allow_from: []\n", ""))
    assert reaches(site.ann, PUBLIC, 22, limit_s=REQUEST_S)
    assert not reaches(site.ann, PUBLIC, 8080)
    assert fetch(site.ann, WEB).endswith("10.99.0.2")
    assert reaches(site.cpu, WEB, 8080, limit_s=REQUEST_S)


def test_a_tunnel_that_somebody_took_down_is_found_and_comes_up_with_the_next_reload(site: Site) -> None:
    text = site.describe("ann", "bob")
    found = parse(text).vpn
    assert found
    site.web.run("ip", "link", "set", "dev", entrances.TUNNEL, "down")
    (wrong,) = administrator_tunnel.judge(found, site.read_tunnel())
    assert wrong.level == "error"
    site.apply(text)
    assert [one.level for one in administrator_tunnel.judge(found, site.read_tunnel())] == ["ok"]


def test_nothing_on_the_wire_outside_is_clear(site: Site) -> None:
    with site.ann.enter():
        wire = Capture("outside")
    with wire:
        assert SECRET.decode() in fetch(site.ann, WEB)
        wait_until(lambda: wire.packets > 4, "packets outside")
    assert SECRET not in wire.seen
    assert b"HTTP/1." not in wire.seen
    assert TUNNEL_ADDRESS not in wire.seen, "no address of the tunnel either"
    # Without the tunnel, the same listener reads the page.
    site.apply(site.describe("ann", "bob", allow_from="[198.51.100.7]"))
    with site.ann.enter():
        wire = Capture("outside")
    with wire:
        fetch(site.ann, PUBLIC)
        wait_until(lambda: SECRET in wire.seen, "the page in clear")


def test_a_removed_administrator_is_out_and_the_sessions_of_others_stay(site: Site) -> None:
    assert fetch(site.bob, WEB).endswith("10.99.0.3")
    fetch(site.ann, WEB)
    with site.ann.enter():
        open_ = socket.create_connection((WEB, 8080), REQUEST_S)
    site.apply(site.describe("ann"))
    assert not reaches(site.bob, WEB, 8080)
    assert not reaches(site.bob, "10.99.0.1", 22)
    with open_:
        open_.sendall(b"GET / HTTP/1.0\r\n\r\n")
        open_.settimeout(REQUEST_S)
        assert open_.recv(64).startswith(b"HTTP/1.0 200"), "the connection that was open goes on"
    assert list(site.read_tunnel().peers) == [site.keys["ann"]]


def test_other_hosts_are_reached_by_a_jump_through_the_tunnel_alone(site: Site) -> None:
    config = site.folder / "ssh_config"
    config.write_text(
        f"Host {CPU}\n  ProxyJump root@10.99.0.1\n"
        f"Host *\n  User root\n  IdentityFile {site.folder / 'client_key'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {site.folder / 'known'}\n  GlobalKnownHostsFile /dev/null\n"
    )
    host = next(one for one in parse(NINE).hosts if one.name == "cpu1")
    connection = HostConnection(replace(host, ssh=replace(host.ssh, user="root")), site.folder, config=config)
    with site.ann.enter():
        connection.open()
    try:
        assert "10.0.0.31" in connection.check("ip -o -4 address show dev private")
        assert connection.client == WEB, "a jump host is what the worker sees, and its firewall lets in"
    finally:
        connection.close()
    site.web.run("ip", "address", "replace", "10.0.0.99/24", "dev", "private")
    assert reaches(site.web, CPU, 22, source=WEB, limit_s=REQUEST_S)
    assert not reaches(site.web, CPU, 22, source="10.0.0.99"), "another machine of the private network"


def test_the_tunnel_leads_no_further_even_where_the_host_forwards(site: Site) -> None:
    site.web.run("sysctl", "-q", "net.ipv4.ip_forward=1")
    key = site.read_tunnel().public_key
    site.ann.run("wg", "set", "airfleet", "peer", key, "allowed-ips", f"10.99.0.1/32,{WEB}/32,{CPU}/32")
    site.ann.run("ip", "route", "replace", CPU, "dev", "airfleet")
    assert not reaches(site.ann, CPU, 22)
    site.web.run("nft", "flush", "chain", "inet", "airfleet", "forward")
    site.cpu.run("nft", "flush", "ruleset")
    assert reaches(site.ann, CPU, 22, limit_s=REQUEST_S), "it is the firewall that keeps it out"


def test_the_key_of_the_host_is_its_own_and_stays(site: Site) -> None:
    key = site.move(vpn.KEY)
    assert (key.stat().st_mode & 0o777, key.stat().st_uid) == (0o600, 0)
    before = key.read_text()
    # As an apply leaves it that was killed while it made the key.
    (key.with_name("private.key.new")).write_text("")
    site.apply(site.describe("ann", "bob"))
    assert key.read_text() == before
    assert site.read_tunnel().public_key == site.web.run("wg", "pubkey", text=before).stdout.strip()


def test_a_key_that_somebody_added_by_hand_is_found_and_goes_with_the_next_reload(site: Site) -> None:
    text = site.describe("ann", "bob")
    found = parse(text).vpn
    assert found
    assert [one.level for one in administrator_tunnel.judge(found, site.read_tunnel())] == ["ok"]
    stranger = site.web.run("wg", "pubkey", text=site.web.run("wg", "genkey").stdout).stdout.strip()
    site.web.run("wg", "set", entrances.TUNNEL, "peer", stranger, "allowed-ips", "10.99.0.66/32")
    wrong = [one for one in administrator_tunnel.judge(found, site.read_tunnel()) if one.level == "error"]
    assert [stranger in one.what for one in wrong] == [True]
    site.apply(text)
    assert [one.level for one in administrator_tunnel.judge(found, site.read_tunnel())] == ["ok"]


def test_a_program_that_cannot_read_who_may_enter_ends_no_session(site: Site) -> None:
    site.move(vpn.PEERS).unlink()
    assert site.web.run("bash", str(site.move(vpn.PROGRAM)), check=False).returncode
    assert len(site.read_tunnel().peers) == 2


def test_the_private_key_is_in_no_argument(site: Site, tmp_path: Path) -> None:
    private = site.move(vpn.KEY).read_text().strip()
    spy = tmp_path / "bin"
    spy.mkdir()
    for name in ("wg", "ip", "awk", "cat"):
        (spy / name).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec {shutil.which(name)} "$@"\n')
        (spy / name).chmod(0o755)
    site.web.run("env", f"PATH={spy}:/usr/sbin:/usr/bin:/sbin:/bin", "bash", str(site.move(vpn.PROGRAM)))
    said = (tmp_path / "argv").read_text()
    assert "syncconf" in said
    assert private not in said


def test_the_rules_and_the_program_are_what_their_programs_accept(site: Site) -> None:
    for name in ("web1", "web2", "cpu1"):
        rules = read(desired(name, site.describe("ann", allow_from="[10.0.9.7, 10.0.9.0/24]")), "firewall.nft")
        done = subprocess.run(["nft", "-c", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
