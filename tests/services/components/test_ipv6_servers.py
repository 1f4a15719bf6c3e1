"""Real servers and clients with what hosts with IPv6 addresses get."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from airfleet.components.host_model import AUTHORITIES, Encryption, HostFile, Place
from airfleet.components.hosts import haproxy, host_parts
from airfleet.components.model import reveal
from airfleet.workspace import certificate_authority
from airfleet_provider.agent_loops.server import HttpAnswer, Server
from deadline import COMMAND_S, PATIENCE_S
from places import CREDENTIALS, NINE, parse, place
from servers import serve

NOW = datetime.now(UTC)
SIX = NINE.replace("10.0.0.", "fd00:af::")
PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
HAPROXY, NFT = shutil.which("haproxy", path=PATH), shutil.which("nft", path=PATH)


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no address ::1")


def find_place(name: str) -> Place:
    authority = certificate_authority.load(certificate_authority.create("flights", NOW), where="here")
    hosts = parse(SIX).hosts
    proofs = {host.name: certificate_authority.issue(authority, host.name, [host.address], NOW) for host in hosts}
    credentials = replace(CREDENTIALS, encryption=Encryption(authority.pem, proofs))
    return replace(place(parse(SIX), name), credentials=credentials)


@pytest.mark.skipif(HAPROXY is None, reason="no haproxy here: tools/haproxy installs it")
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("web1", "balancer.cfg"),
        ("web1", "tls-proxy.cfg"),
        ("cpu1", "proxy.cfg"),
        ("cpu1", "log-proxy.cfg"),
        ("cpu1", "metrics-proxy.cfg"),
    ],
)
def test_haproxy_accepts_the_configurations_of_a_host(tmp_path: Path, name: str, config: str) -> None:
    where = find_place(name)
    for part in host_parts.describe(where, ssh_ports=(22,)):
        for file in part.files:
            if file.path.parent == haproxy.FOLDER or file.path == AUTHORITIES:
                (tmp_path / file.path.name).write_text(reveal(file.content))
    (tmp_path / AUTHORITIES.name).write_text(where.credentials.encryption.trusted)
    written = (tmp_path / config).read_text()
    assert "[fd00:af::" in written
    for old in (haproxy.FOLDER, AUTHORITIES.parent, haproxy.SOCKETS):
        written = written.replace(str(old), str(tmp_path))
    (tmp_path / config).write_text(written)
    done = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(tmp_path / config)],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nftables_accepts_the_firewall_of_every_host(tmp_path: Path) -> None:
    def check(rules: str) -> subprocess.CompletedProcess[str]:
        words = ["unshare", "--net", str(NFT), "-c", "-f", "-"]
        return subprocess.run(words, input=rules, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    if NFT is None or check("table inet t { chain c { ip6 saddr ::1 accept; }; }").returncode:
        pytest.skip("to check rules takes root and nftables (apt-get install nftables)")
    readers = f'{SIX}allow_from: ["fd00:99::/64", "fd00:98::5", 10.0.9.0/24]\n'
    for host in parse(readers).hosts:
        where = place(parse(readers), host.name)
        files = {str(file.path): reveal(file.content) for file in _list_files(where)}
        done = check(files["/etc/airfleet/firewall.nft"])
        assert done.returncode == 0, done.stderr


def _list_files(where: Place) -> list[HostFile]:
    return [file for part in host_parts.describe(where, ssh_ports=(22,)) for one in part.services for file in one.files]


@needs_ipv6
def test_the_server_of_agents_and_of_log_stores_listens_at_an_ipv6_address() -> None:
    server = Server("::1", 0, {"/health": lambda accept: HttpAnswer.of_json({"well": True})})
    with contextlib.closing(server.socket):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        assert server.place.startswith("[::1]:")
        url = f"http://{server.place}/health"
        assert httpx.get(url, timeout=PATIENCE_S, trust_env=False).json() == {"well": True}
        server.shutdown()
        thread.join(PATIENCE_S)


@needs_ipv6
@pytest.mark.parametrize("hosts", [("::1",), ("::1", "::1")])
def test_a_client_reaches_postgresql_at_one_of_several_ipv6_addresses(hosts: tuple[str, ...]) -> None:
    with serve() as server:
        server.stop()
        hba = server.folder / "pg_hba.conf"
        hba.write_text(f"{hba.read_text()}\nhost all all ::1/128 trust\n")
        server.start("-h", "127.0.0.1,::1")
        site = replace(place(parse(SIX), "sched1").site("server"), database_hosts=hosts, database_port=server.port)
        dsn = replace(site, tls={}).dsn("postgres", "postgres", CREDENTIALS.platform.airflow, driver="psycopg2")
        engine = create_engine(dsn.reveal())
        with engine.connect() as connection:
            assert str(connection.scalar(text("SELECT host(inet_server_addr())"))) == "::1"
        engine.dispose()
