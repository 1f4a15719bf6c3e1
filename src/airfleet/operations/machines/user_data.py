"""The cloud-init user-data of a machine: the login that `airfleet apply` uses, and nothing that is secret."""

from __future__ import annotations

from pathlib import Path

import yaml

from airfleet.errors import AirfleetError
from airfleet.spec.topology import Ssh

_HEAD = "#cloud-config\n"


def write(name: str, ssh: Ssh, project: Path) -> str:
    """Return the user-data of a machine. It holds the public half of `ssh.key` for `ssh.user`.

    Without `ssh.key`, the text sets the host name alone, and the image must have a login.

    Raises:
        AirfleetError: The public key cannot be read.
    """
    said: dict[str, object] = {"hostname": name, "ssh_pwauth": False}
    if ssh.key:
        key = read_public_key(project / Path(ssh.key).expanduser())
        if ssh.user is None:
            said["ssh_authorized_keys"] = [key]
        elif ssh.user == "root":
            said |= {"disable_root": False, "users": [{"name": "root", "ssh_authorized_keys": [key]}]}
        else:
            user: dict[str, object] = {"name": ssh.user, "shell": "/bin/bash", "lock_passwd": True}
            user |= {"sudo": "ALL=(ALL) NOPASSWD:ALL", "ssh_authorized_keys": [key]}
            said["users"] = ["default", user]
    return _HEAD + yaml.safe_dump(said, sort_keys=False, width=4096)


def read_public_key(path: Path) -> str:
    """Return the line of the public key beside a private one: the file of the same name with `.pub`.

    Raises:
        AirfleetError: There is none. The private key itself is not read.
    """
    public = path.with_name(path.name + ".pub")
    try:
        line = public.read_text().strip()
    except OSError as error:
        hint = f"ssh-keygen -y -f {path} > {public}"
        raise AirfleetError(f"the public key cannot be read: {error.strerror}", where=str(public), hint=hint) from None
    if "\n" in line or "PRIVATE" in line or len(line.split()) < 2:
        raise AirfleetError("this is no public key of one line", where=str(public), hint=f"ssh-keygen -y -f {path}")
    return line
