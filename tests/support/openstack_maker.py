"""A real OpenStack here, which makes machines: Keystone, Glance, and Nova with a hypervisor that pretends."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openstack

from airfleet.operations.machines.openstack import OpenstackDriver
from airfleet.spec.machines import GIB, MachineGroup, Openstack
from openstack_node import IMAGE_ID

ROOT = Path(__file__).parents[2]
TOOLS = (ROOT / ".tools" / "openstack").resolve()
NODE = Path(__file__).with_name("openstack_node.py")
USER_DATA = "#cloud-config\nhostname: x\n"
PASSWORD = "secret"
IMAGE, REGION = "debian-13", "RegionOne"

_LOGIN = """
auth_type = password
auth_url = {url}
username = admin
password = secret
project_name = admin
user_domain_name = Default
project_domain_name = Default
"""


def has_openstack() -> bool:
    """Return whether tools/openstack ran here."""
    return (TOOLS / "stamp").exists()


class Cloud:
    """A maker of machines, as the user `airfleet` who is a member of the project `sales`."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Until the catalogue has the address of the identity service, which is another one in each test.
        first = self.connect("admin", project="admin", identity_endpoint_override=url).identity
        for one in first.endpoints():
            first.update_endpoint(one, url=url)
        self.admin = self.connect("admin", project="admin")

    def connect(self, user: str, password: str = PASSWORD, project: str = "sales", **more: str) -> Any:  # noqa: ANN401
        login = self.login(user, password, project)
        return openstack.connect(
            load_yaml_config=False, load_envvars=False, region_name=REGION, auth=login, api_timeout=60, **more
        )

    def login(self, user: str, password: str = PASSWORD, project: str = "sales") -> dict[str, str]:
        """Return what `clouds.yaml` has as `auth`."""
        login = {"auth_url": self.url, "username": user, "password": password, "project_name": project}
        return login | {"user_domain_name": "Default", "project_domain_name": "Default"}

    def open(self, fleet: str, cloud: Any = None, settings: Openstack | None = None) -> OpenstackDriver:  # noqa: ANN401
        return OpenstackDriver(
            cloud or self.connect("airfleet"),
            settings or Openstack(),
            fleet=fleet,
            user_data=lambda _: USER_DATA,
            clock=time.monotonic,
            sleep=lambda _: time.sleep(0.05),
        )

    def group(self, count: int) -> MachineGroup:
        return MachineGroup("web", count, 4, 8 * GIB, 50 * GIB, IMAGE, "private", apart=True)

    def count(self) -> int:
        return len(list(self.connect("airfleet").compute.servers()))

    def give_addresses(self) -> None:
        pass


@contextmanager
def run_openstack(folder: Path) -> Iterator[Cloud]:
    """Start an OpenStack with a project, a member, a reader and an image. It ends with the block."""
    state = folder / "state"
    shutil.copytree(TOOLS / "state", state)
    for path in state.glob("*.conf"):
        path.write_text(path.read_text().replace(str(TOOLS / "state"), str(state)))
    with ExitStack() as stack:
        port = _read_port(_start(stack, folder, "identity", state), folder, "identity")
        url = f"http://127.0.0.1:{port}/v3"
        login = _LOGIN.format(url=url)
        paste = (TOOLS / "etc" / "nova" / "api-paste.ini").read_text()
        head = "[filter:authtoken]\n"
        (folder / "nova.ini").write_text(paste.replace(head, head + login.lstrip()))
        with (state / "glance-api.conf").open("a") as file:
            file.write(f"[keystone_authtoken]{login}www_authenticate_uri = {url}\n[paste_deploy]\nflavor = keystone\n")
            file.write(f"config_file = {TOOLS / 'etc' / 'glance' / 'glance-api-paste.ini'}\n")
            file.write(f"[glance_store]\nfilesystem_store_datadir = {state / 'images'}\n")
        services = {"image": state, "compute": folder / "nova.ini"}
        started = [(service, _start(stack, folder, service, path)) for service, path in services.items()]
        image, compute = (_read_port(process, folder, service) for service, process in started)
        cloud = Cloud(url)
        _fill(cloud, {"image": f":{image}", "compute": f":{compute}/v2.1", "network": f":{compute}"})
        yield cloud


def _start(stack: ExitStack, folder: Path, service: str, path: Path) -> subprocess.Popen[str]:
    command = [str(TOOLS / "bin" / "python"), "-W", "ignore", str(NODE), service, str(path)]
    log = stack.enter_context((folder / f"{service}.log").open("w"))
    process = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    )
    stack.callback(process.kill)
    return process


def _read_port(process: subprocess.Popen[str], folder: Path, service: str) -> int:
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.strip().isdigit(), (folder / f"{service}.log").read_text()[-3000:]
    return int(said)


def _fill(cloud: Cloud, addresses: dict[str, str]) -> None:
    identity = cloud.admin.identity
    for kind, address in addresses.items():
        service = identity.create_service(type=kind, name=kind)
        url = f"http://127.0.0.1{address}"
        identity.create_endpoint(service_id=service.id, interface="public", url=url, region_id=REGION)
    project = identity.create_project(name="sales", domain_id="default")
    for name, role in (("airfleet", "member"), ("watcher", "reader")):
        user = identity.create_user(name=name, password=PASSWORD, domain_id="default")
        identity.assign_project_role_to_user(project, user, identity.find_role(role))
    cloud.admin = cloud.connect("admin", project="admin")
    image = cloud.admin.image
    for name, more in ((IMAGE, {"id": IMAGE_ID}), ("twice", {}), ("twice", {})):
        said = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public", **more}
        made = image.post("/images", json=said).json()["id"]
        image.put(f"/images/{made}/file", data=b"0", headers={"Content-Type": "application/octet-stream"})
