"""OpenLDAP's server on this machine, for tests: users, groups, an authority of its own, and nothing else."""

from __future__ import annotations

import shutil
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet_provider.contract.directory import LdapSource
from deadline import COMMAND_S, PATIENCE_S, wait_until

PROGRAM = shutil.which("slapd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
MISSING = "no slapd here; `tools/slapd` installs it (Debian: apt-get install slapd ldap-utils)"
BASE = "dc=example,dc=com"
SERVICE, SERVICE_PASSWORD = f"cn=airflow,ou=services,{BASE}", "of the service"
PEOPLE, GROUPS = f"ou=people,{BASE}", f"ou=groups,{BASE}"
MANAGER, MANAGER_PASSWORD = f"cn=manager,{BASE}", "of the manager"

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
database mdb
maxsize 10485760
suffix "{base}"
rootdn "{manager}"
rootpw "{manager_password}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by * none
"""


class SlapdNode:
    """A directory that speaks StartTLS and LDAPS at `localhost`, or at an address, and whose passwords only bind."""

    def __init__(self, folder: Path, now: datetime | None = None, *, address: str = "localhost") -> None:
        now = now or datetime.now(UTC)
        self._address = address
        self._folder = folder
        (folder / "data").mkdir(parents=True)
        authority = certificate_authority.load(certificate_authority.create("test", now), where="test")
        self.authority = authority.pem
        own = certificate_authority.issue(authority, address, [address], now)
        (folder / "ca.pem").write_text(self.authority)
        (folder / "server.pem").write_text(own.certificate)
        (folder / "server.key").write_text(own.key.reveal())
        words = {
            "folder": folder,
            "base": BASE,
            "manager": MANAGER,
            "manager_password": MANAGER_PASSWORD,
            "service": SERVICE,
        }
        (folder / "slapd.conf").write_text(CONFIG.format(**words))
        self.plain_port, self.tls_port = ports.find_several(2)
        self.start()
        self.change(
            *entry(BASE, "dcObject", "organization", dc="example", o="Example"),
            *(
                line
                for one in ("people", "groups", "services")
                for line in entry(f"ou={one},{BASE}", "organizationalUnit", ou=one)
            ),
            *entry(SERVICE, "organizationalRole", "simpleSecurityObject", cn="airflow", userPassword=SERVICE_PASSWORD),
        )

    @property
    def ldaps(self) -> str:
        return f"ldaps://{self._address}:{self.tls_port}"

    @property
    def starttls(self) -> str:
        return f"ldap://{self._address}:{self.plain_port}"

    def describe(self) -> LdapSource:
        """How fleet.yaml names this directory."""
        return LdapSource(
            urls=(self.ldaps,),
            bind_dn=SERVICE,
            bind_password=SERVICE_PASSWORD,
            user_base=PEOPLE,
            group_base=GROUPS,
            authority=self.authority,
        )

    def start(self) -> None:
        assert PROGRAM
        # The certificate is not for the last address.
        hosts = ("127.0.0.1", "127.0.0.2", *(() if self._address == "localhost" else (self._address,)))
        urls = " ".join(f"ldap://{one}:{self.plain_port}/ ldaps://{one}:{self.tls_port}/" for one in hosts)
        with (self._folder / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-h", urls, "-f", str(self._folder / "slapd.conf"), "-d", "0"], stdout=log, stderr=log
            )
        wait_until(self._listens, "slapd", seen=(self._folder / "slapd.log").read_text)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "slapd.log").read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.tls_port)) == 0

    def change(self, *lines: str) -> None:
        """Make the changes of LDIF; an entry without `changetype` is added."""
        url = f"ldap://127.0.0.1:{self.plain_port}"
        done = subprocess.run(
            ["ldapmodify", "-a", "-H", url, "-x", "-D", MANAGER, "-w", MANAGER_PASSWORD],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def add_user(self, name: str, password: str, mail: str = "") -> None:
        words = {"uid": name, "cn": f"{name.title()} Person", "sn": "Person", "givenName": name.title()}
        more = {"mail": mail or f"{name}@example.com", "userPassword": password}
        self.change(*entry(f"uid={name},{PEOPLE}", "inetOrgPerson", **words, **more))

    def remove_user(self, name: str) -> None:
        self.change(f"dn: uid={name},{PEOPLE}", "changetype: delete", "")

    def add_group(self, name: str, *members: str) -> None:
        lines = entry(f"cn={name},{GROUPS}", "groupOfNames", cn=name)[:-1]
        self.change(*lines, *(f"member: uid={one},{PEOPLE}" for one in members or ("nobody",)), "")

    def leave_group(self, name: str, member: str) -> None:
        dn = f"uid={member},{PEOPLE}"
        self.change(f"dn: cn={name},{GROUPS}", "changetype: modify", "delete: member", f"member: {dn}", "")


def entry(dn: str, *classes: str, **values: str) -> list[str]:
    """Return an entry as LDIF."""
    return [
        f"dn: {dn}",
        *(f"objectClass: {one}" for one in classes),
        *(f"{name}: {value}" for name, value in values.items()),
        "",
    ]
