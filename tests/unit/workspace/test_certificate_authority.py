"""The fleet's authority and the certificates of its hosts: who is believed, for how long, and what a change costs."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airfleet.components.host_model import Encryption, HostCertificate, TlsProgress
from airfleet.errors import AirfleetError
from airfleet.spec.secrets import Secret
from airfleet.spec.topology import Host
from airfleet.workspace import certificate_authority, host_certificates
from airfleet.workspace.certificate_authority import Authority
from airfleet.workspace.rotation import introduce, notice
from airfleet.workspace.state_folder import StateFolder
from places import parse
from rotations import show_steps

NOW = datetime.now(UTC)
# What has steps of its own, and its value once it is introduced.
APART = {
    "broker": Secret("amqps"),
    **{name: Secret("https") for name in ("api", "agents", "logs", "metrics")},
    "cluster": Secret("inet_tls"),
}


def make_authority() -> Authority:
    return certificate_authority.load(certificate_authority.create("flights", NOW), where="here")


def shake_hands(tmp_path: Path, own: HostCertificate, trusted: str, name: str) -> str:
    """Connect to a server with this certificate under a name; return the result of the TLS handshake."""
    (tmp_path / "host.pem").write_text(own.certificate)
    (tmp_path / "host.key").write_text(own.key.reveal())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "host.pem", tmp_path / "host.key")
    client = ssl.create_default_context(cadata=trusted)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()
    ours.settimeout(10)

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secure:
                secure.sendall(b"hello")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as secure:
            return secure.recv(5).decode()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", ["10.0.0.41", "data1", "127.0.0.1", "localhost"])
def test_a_host_is_believed_by_its_address_and_its_name(tmp_path: Path, name: str) -> None:
    authority = make_authority()
    own = certificate_authority.issue(authority, "data1", ["10.0.0.41"], NOW)
    assert shake_hands(tmp_path, own, authority.pem, name) == "hello"


@pytest.mark.parametrize("stranger", [False, True], ids=["another host", "another authority"])
def test_who_is_somebody_else_is_refused(tmp_path: Path, stranger: bool) -> None:
    authority = make_authority()
    own = certificate_authority.issue(make_authority() if stranger else authority, "data1", ["10.0.0.41"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, own, authority.pem, "10.0.0.41" if stranger else "10.0.0.42")


@pytest.mark.parametrize(
    ("address", "later", "is_due"),
    [
        ("10.0.0.41", timedelta(), False),
        ("10.0.0.41", certificate_authority.HOST_LIFE * 0.3, False),
        ("10.0.0.41", certificate_authority.HOST_LIFE * 0.4, True),
        ("10.0.0.42", timedelta(), True),
    ],
)
def test_a_certificate_is_issued_anew_for_another_address_and_in_time(
    address: str, later: timedelta, is_due: bool
) -> None:
    authority = make_authority()
    own = certificate_authority.issue(authority, "data1", ["10.0.0.41"], NOW)
    assert certificate_authority.is_due(own, authority, "data1", [address], NOW + later) == is_due
    assert certificate_authority.is_due(own, make_authority(), "data1", [address], NOW + later)


def test_after_any_apply_every_certificate_lasts_for_more_than_a_year() -> None:
    authority = make_authority()
    own = certificate_authority.issue(authority, "data1", [], NOW)
    for days in range(0, certificate_authority.HOST_LIFE.days, 10):
        apply = NOW + timedelta(days=days)
        if certificate_authority.is_due(own, authority, "data1", [], apply):
            return
        assert certificate_authority.find_end(own.certificate) - apply > timedelta(days=480)
    pytest.fail("it was never renewed")


def test_a_file_that_holds_no_authority_is_told_by_its_place() -> None:
    with pytest.raises(AirfleetError) as caught:
        certificate_authority.load(Secret("lorem ipsum"), where="secrets/tls_authority")
    assert caught.value.where == "secrets/tls_authority"


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def hosts() -> tuple[Host, ...]:
    return parse().hosts


def read(
    folder: StateFolder, authority: Secret, now: datetime = NOW, *, name: str = "broker", step: Secret = APART["broker"]
) -> Encryption:
    """Return how the hosts encrypt while what has this name is at this step."""
    return host_certificates.read(folder, authority, hosts(), now, **{**APART, name: step})


def test_what_hosts_have_stays_as_long_as_nothing_changes(folder: StateFolder) -> None:
    authority = certificate_authority.create("flights", NOW)
    first = read(folder, authority)
    assert read(folder, authority, NOW + timedelta(days=30)) == first
    for path in (folder.secrets / host_certificates.FOLDER).iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_encryption_comes_to_a_running_fleet_before_it_is_required(folder: StateFolder) -> None:
    steps = list(show_steps(introduce(certificate_authority.create("flights", NOW))))
    shown = [read(folder, step) for step in steps]
    assert [(one.is_used, one.is_required) for one in shown] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]
    assert all(one.broker == TlsProgress() for one in shown), "the broker has had it before"
    assert len({one.trusted for one in shown}) == 1
    assert all(one.certificates == shown[0].certificates for one in shown)


@pytest.mark.parametrize("name", APART)
def test_servers_that_got_tls_later_have_steps_of_their_own(folder: StateFolder, name: str) -> None:
    """A fleet whose database has TLS already gets it for RabbitMQ as another gets it for both."""
    authority = certificate_authority.create("flights", NOW)
    steps = [read(folder, authority, name=name, step=step) for step in show_steps(introduce(APART[name]))]
    assert [getattr(one, name) for one in steps] == [
        TlsProgress(is_used=False, is_required=False),
        TlsProgress(is_used=True, is_required=False),
        TlsProgress(is_used=True, is_required=False),
        TlsProgress(is_used=True, is_required=True),
    ]
    assert all(one.is_used and one.is_required for one in steps)
    assert all(getattr(one, other) == TlsProgress() for one in steps for other in APART if other != name)


def test_at_every_step_to_another_authority_each_host_believes_each_other(folder: StateFolder, tmp_path: Path) -> None:
    values = [certificate_authority.create("flights", NOW) for _ in range(2)]
    steps = list(show_steps(notice(notice(None, values[0]), values[1])))
    shown = [read(folder, step) for step in steps]
    for one, other in itertools.pairwise(shown):
        # In the middle of a step some hosts have what it brings, and some have not.
        for server, client in ((one, other), (other, one), (other, other)):
            own = server.certificates["data1"]
            assert shake_hands(tmp_path, own, client.trusted, "10.0.0.41") == "hello"
    assert shown[0].certificates != shown[-1].certificates
    assert all(one.is_required for one in shown)
