"""The template with which Packer makes the image in a cloud: Packer's JSON syntax, without a login or a secret.

https://developer.hashicorp.com/packer/docs/templates/hcl_templates/syntax-json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airfleet.operations.machines.hcl import HclExpression, quote
from airfleet.spec.machines import GIB, Ec2, Machines, Openstack, Vsphere

FILE = "image.pkr.json"
THERE = "/var/tmp/airfleet-image"  # noqa: S108 - on the machine that Packer makes for this, where nobody else is
# Where the plugins come from, and which versions have the names used here.
_PLUGINS = {"amazon": ">= 1.2.0", "openstack": ">= 1.1.0", "vsphere": ">= 1.2.0"}


def write_template(machines: Machines | None, name: str) -> str | None:
    """Return the text of the template, or None where Packer has nothing to do with the driver.

    The variables say what only the user knows: the base that the image starts from, and the login of this base.
    """
    if machines is not None and machines.ec2 is not None:
        return _write("amazon", "amazon-ebs", _describe_ec2(machines.ec2, name), {"base": "the id of an AMI"})
    if machines is not None and machines.vsphere is not None:
        asked = {"base": "a template", "user": "the account at the vCenter", "password": "its password"}
        return _write("vsphere", "vsphere-clone", _describe_vsphere(machines.vsphere, name), asked)
    if machines is not None and machines.openstack is not None:
        asked = {"base": "the id of an image", "flavor": "a flavor with 2 CPUs and 4 GiB or more"}
        return _write("openstack", "openstack", _describe_openstack(machines.openstack, name), asked)
    return None


def _write(plugin: str, kind: str, source: Mapping[str, Any], asked: Mapping[str, str]) -> str:
    variables: dict[str, Any] = {one: {"type": "string", "description": what} for one, what in asked.items()}
    if "password" in variables:
        variables["password"]["sensitive"] = True
    variables["ssh_username"] = {"type": "string", "description": "who may log in to the base and use sudo"}
    become = "sudo sh -c"
    # The folder of the template, and never the folder where somebody types: that may be the project with its secrets.
    body = {
        "packer": {
            "required_plugins": {
                plugin: {"version": _PLUGINS[plugin], "source": f"github.com/hashicorp/{plugin}"},
            }
        },
        "variable": variables,
        "source": {kind: {"airfleet": {**source, "ssh_username": _ask("ssh_username")}}},
        "build": {
            "sources": [f"source.{kind}.airfleet"],
            "provisioner": [
                {"shell": {"inline": [f"mkdir -p {THERE}"]}},
                {"file": {"source": HclExpression("${path.root}/"), "destination": f"{THERE}/"}},
                {"shell": {"inline": [f"{become} 'sh {THERE}/prepare.sh && sh {THERE}/clean.sh && rm -rf {THERE}'"]}},
            ],
        },
    }
    return json.dumps(quote(body), indent=2) + "\n"


def _ask(name: str) -> HclExpression:
    """Return the reference to a variable."""
    return HclExpression(f"${{var.{name}}}")


def _describe_ec2(place: Ec2, name: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "ami_name": name,
        "source_ami": _ask("base"),
        "instance_type": f"c{place.generation}.large",
        "encrypt_boot": True,
        "metadata_options": {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
    }
    return {**said, **({"region": place.region} if place.region else {})}


def _describe_openstack(place: Openstack, name: str) -> dict[str, Any]:
    said: dict[str, Any] = {"image_name": name, "source_image": _ask("base"), "flavor": _ask("flavor")}
    if place.security_groups:
        said["security_groups"] = list(place.security_groups)
    named = {"cloud": place.cloud, "region": place.region, "availability_zone": place.zone}
    return {**said, **{key: value for key, value in named.items() if value}}


def _describe_vsphere(place: Vsphere, name: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "vcenter_server": place.server,
        "username": _ask("user"),
        "password": _ask("password"),
        "datacenter": place.datacenter,
        "cluster": place.cluster,
        "template": _ask("base"),
        "vm_name": name,
        "convert_to_template": True,
        "CPUs": 2,
        "RAM": 4 * GIB >> 20,
    }
    return {**said, **{key: value for key in ("datastore", "folder") if (value := getattr(place, key))}}
