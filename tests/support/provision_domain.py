"""A program for Samba's Python: makes a domain of Active Directory. Its input is the administrator's password.

`samba-tool domain provision` also writes access lists of Windows to files, which takes rights that a container lacks.
"""

from __future__ import annotations

import logging
import sys

from samba.auth import system_session  # type: ignore[import-not-found]  # the system's Python has it
from samba.dsdb import DS_DOMAIN_FUNCTION_2008_R2  # type: ignore[import-not-found]
from samba.param import LoadParm  # type: ignore[import-not-found]
from samba.provision import FILL_FULL, provision  # type: ignore[import-not-found]


def main() -> None:
    config, realm, domain, host, address = sys.argv[1:]
    parameters = LoadParm()
    parameters.load(config)
    provision(
        logging.getLogger("provision"),
        system_session(),
        smbconf=config,
        lp=parameters,
        samdb_fill=FILL_FULL,
        realm=realm,
        domain=domain,
        hostname=host,
        hostip=address,
        adminpass=sys.stdin.readline().strip(),
        dns_backend="NONE",
        serverrole="active directory domain controller",
        backend_store="tdb",
        dom_for_fun_level=DS_DOMAIN_FUNCTION_2008_R2,
        skip_sysvolacl=True,
        batch_mode=True,
    )


if __name__ == "__main__":
    main()
