"""A domain controller of Active Directory on this machine, for tests: Samba with its LDAP server alone."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ldap3

from airfleet.workspace import certificate_authority
from airfleet_provider.contract.directory import LdapSource
from deadline import COMMAND_S, PATIENCE_S, wait_until

PROGRAM = shutil.which("samba", path="/usr/sbin:/usr/bin:/usr/local/sbin")
SCHEMA = Path("/usr/share/samba/setup/ad-schema")
# Samba's own modules belong to the system's Python.
PYTHON = "/usr/bin/python3"
PROVISION = Path(__file__).with_name("provision_domain.py")
REALM, DOMAIN, HOST = "AD.EXAMPLE.COM", "EXAMPLE", "dc1"
BASE = "DC=ad,DC=example,DC=com"
PEOPLE, GROUPS = f"OU=People,{BASE}", f"OU=Groups,{BASE}"
ADMINISTRATOR, ADMINISTRATOR_PASSWORD = f"administrator@{REALM.lower()}", "Of.the.administrator1"
SERVICE, SERVICE_PASSWORD = f"CN=airflow,{PEOPLE}", "Of.airflow1"
# What the guide says of Active Directory.
USER_FILTER = "(&(objectCategory=person)(objectClass=user)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))"
MEMBER = "member:1.2.840.113556.1.4.1941:"
GUESSES = 3
# Nobody can choose others: LDAP, and the global catalog, each without TLS and with it.
PORTS = (389, 636, 3268, 3269)

CONFIG = """\
[global]
netbios name = {host}
realm = {realm}
workgroup = {domain}
server role = active directory domain controller
server services = ldap
interfaces = {address}/8
bind interfaces only = yes
private dir = {folder}/private
state directory = {folder}/state
cache directory = {folder}/cache
lock directory = {folder}/lock
pid directory = {folder}/pid
ncalrpc dir = {folder}/ncalrpc
binddns dir = {folder}/dns
ntp signd socket directory = {folder}/ntp
winbindd socket directory = {folder}/winbindd
log file = {folder}/log
tls enabled = yes
tls cafile = {folder}/ca.pem
tls certfile = {folder}/server.pem
tls keyfile = {folder}/server.key
[sysvol]
path = {folder}/sysvol
[netlogon]
path = {folder}/sysvol
"""


def find_obstacle() -> str | None:
    """Return why no domain controller can run here, or None."""
    if PROGRAM is None or not SCHEMA.is_dir():
        return (
            "no domain controller here; `tools/samba` installs it "
            "(Debian: apt-get install samba samba-ad-provision samba-dsdb-modules)"
        )
    for port in PORTS:
        try:
            socket.create_server((_choose_address(), port)).close()
        except OSError as error:
            return f"a domain controller listens at port {port}, which is taken or needs root here: {error}"
    return None


def _choose_address() -> str:
    """Return an address of the loopback for this process: the ports of a domain controller are fixed."""
    number = os.getpid()
    return f"127.{64 + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}"


class NoDomainError(Exception):
    """Samba cannot make a domain on this machine, as where its file system keeps no extended attributes."""


class DomainController:
    """A domain with users in `PEOPLE` and groups in `GROUPS`. It locks an account after GUESSES wrong passwords."""

    def __init__(self, folder: Path) -> None:
        self.address = _choose_address()
        self._folder = folder
        now = datetime.now(UTC)
        authority = certificate_authority.load(certificate_authority.create("test", now), where="test")
        self.authority = authority.pem
        own = certificate_authority.issue(authority, self.address, [self.address], now)
        for name in ("private", "state", "cache", "lock", "pid", "ncalrpc", "sysvol"):
            (folder / name).mkdir(parents=True)
        (folder / "ca.pem").write_text(self.authority)
        (folder / "server.pem").write_text(own.certificate)
        (folder / "server.key").touch(0o600)
        (folder / "server.key").write_text(own.key.reveal())
        words = {"folder": folder, "host": HOST, "realm": REALM, "domain": DOMAIN, "address": self.address}
        self._config = folder / "smb.conf"
        self._config.write_text(CONFIG.format(**words))
        done = subprocess.run(
            [PYTHON, "-I", str(PROVISION), str(self._config), REALM, DOMAIN, HOST, self.address],
            input=f"{ADMINISTRATOR_PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise NoDomainError(done.stderr)
        self.start()
        for dn in (PEOPLE, GROUPS):
            self.add(dn, ["organizationalUnit"], {})
        self.change(BASE, lockoutThreshold=str(GUESSES))
        self.add_user("airflow", SERVICE_PASSWORD)

    @property
    def ldaps(self) -> str:
        return f"ldaps://{self.address}"

    @property
    def starttls(self) -> str:
        return f"ldap://{self.address}"

    def describe(self) -> LdapSource:
        """How fleet.yaml names this domain, as the guide says."""
        return LdapSource(
            urls=(self.ldaps,),
            bind_dn=SERVICE,
            bind_password=SERVICE_PASSWORD,
            user_base=BASE,
            group_base=BASE,
            name_attribute="sAMAccountName",
            user_filter=USER_FILTER,
            member=MEMBER,
            authority=self.authority,
        )

    def start(self) -> None:
        assert PROGRAM
        with (self._folder / "out").open("ab") as log:
            # One process, so that its end ends all of it.
            self._process = subprocess.Popen(
                [PROGRAM, "--interactive", "--model=single", f"--configfile={self._config}"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        wait_until(self._listens, "samba", seen=(self._folder / "out").read_text)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "out").read_text()
        with socket.socket() as one:
            return one.connect_ex((self.address, 636)) == 0

    def _connect(self) -> Any:  # noqa: ANN401 - ldap3 has no types
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_data=self.authority)
        server = ldap3.Server(self.ldaps, tls=tls, get_info=ldap3.NONE)
        return ldap3.Connection(
            server, ADMINISTRATOR, ADMINISTRATOR_PASSWORD, auto_bind=True, raise_exceptions=True, receive_timeout=60
        )

    def add(self, dn: str, classes: Sequence[str], values: Mapping[str, object]) -> None:
        with self._connect() as connection:
            connection.add(dn, list(classes), dict(values))

    def change(self, dn: str, **values: str) -> None:
        """Replace attributes of an entry."""
        with self._connect() as connection:
            connection.modify(dn, {name: [(ldap3.MODIFY_REPLACE, [value])] for name, value in values.items()})

    def add_user(self, name: str, password: str, *, cn: str = "", **more: str) -> str:
        """Make a user whose account can be used, and return the DN. A comma in `cn` is written with a backslash."""
        dn = f"CN={cn or name},{PEOPLE}"
        values = {
            "sAMAccountName": name,
            "userPrincipalName": f"{name}@{REALM.lower()}",
            "givenName": name.title(),
            "sn": "Person",
            "mail": f"{name}@example.com",
            "unicodePwd": f'"{password}"'.encode("utf-16-le"),
            "userAccountControl": "512",
        }
        self.add(dn, ["top", "person", "organizationalPerson", "user"], {**values, **more})
        return dn

    def add_group(self, name: str, *members: str) -> str:
        """Make a group with the entries of these DNs, and return its own."""
        dn = f"CN={name},{GROUPS}"
        self.add(dn, ["top", "group"], {"sAMAccountName": name, "member": list(members)})
        return dn
