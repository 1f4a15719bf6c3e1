"""The schema and the reference say what the loader does."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from airfleet.spec import fleet, load, model
from airfleet.spec import reference as manual
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.sections.access import AccessSection
from airfleet.spec.sections.references import Reference
from airfleet.spec.sections.slot_pools import SlotPoolSection
from airfleet.spec.sections.tracing import TracingSection


def parse(text: str) -> fleet.Fleet:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8)


def uncommented(but: str) -> str:
    lines = (re.sub(r"^( *)#(?! )", r"\1", line) for line in manual.reference().splitlines())
    kept, top = [], ""
    for line in lines:
        top = found[1] if (found := re.match(r"(\w+):", line)) else top
        # Only these two have keys that exclude each other.
        if top not in ("connections", "notifications") or not re.match(rf" +({but}):", line):
            kept.append(line)
    text = "\n".join(kept)
    # Servers of one's own go neither with hosts of their roles nor with `databases`. Only several balancers share an
    # address. Machines are made by one driver, here by a command.
    text = re.sub(r"^  (vsphere|ec2|libvirt|openstack):.*\n(?:    .*\n)*", "", text, flags=re.M)
    # Users come from one place.
    text = re.sub(r"^    ldap:.*\n(?:      .*\n)*", "", text, flags=re.M)
    return re.sub(r"^(database|broker|balancer):.*\n(?: .*\n)*", "", text, flags=re.M)


def test_the_reference_parses_to_the_defaults() -> None:
    assert parse(manual.reference()) == parse("")


# A connection has a URI or the other keys, and a receiver only those of its type.
RECEIVER = "receivers|team|to|from|encryption|url|key|token|resolved|authority|escalation"


@pytest.mark.parametrize(
    "but", ["uri|url|key|token", f"type|host|login|password|schema|port|extra|{RECEIVER}"], ids=["parts", "uri"]
)
def test_every_example_of_the_reference_is_valid(but: str) -> None:
    whole = parse(uncommented(but))
    assert whole.slot_pools["crm"].slots == 2
    assert whole.connections["crm"].uri != whole.connections["crm"].password
    assert whole.env["CRM_TOKEN"] == SecretRef(file="secrets/crm-token")


@pytest.mark.parametrize("section", [model.FleetFile, model.PortsSection, model.ConnectionSection, SlotPoolSection])
def test_schema_and_reference_explain_every_key(section: type[BaseModel]) -> None:
    reference = manual.reference()
    for name, field in section.model_fields.items():
        assert field.description
        assert f"# {field.description}" in reference
        assert re.search(rf"^ *#?{field.alias or name}:", reference, re.MULTILINE)


@pytest.mark.parametrize("section", [TracingSection, AccessSection])
def test_the_reference_has_every_key_of_a_section_that_may_be_left_out(section: type[BaseModel]) -> None:
    for name, field in section.model_fields.items():
        assert re.search(rf"^  # {re.escape(str(field.description))}$", manual.reference(), re.MULTILINE), name


def test_the_reference_shows_the_three_sources_of_a_secret() -> None:
    for key in Reference.model_fields:
        assert f"#   {{{key}: " in manual.reference()


def objects(node: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    if isinstance(node, list):
        return [found for inner in node for found in objects(inner)]
    if not isinstance(node, dict):
        return []
    here = [node] if "properties" in node or "patternProperties" in node else []
    return here + [found for inner in node.values() for found in objects(inner)]


def test_the_schema_is_closed_everywhere_but_for_x_keys() -> None:
    schema = manual.schema()
    written = {field.name for field in fleet.Fleet.__dataclass_fields__.values()} - {"promoted"}
    assert set(schema["properties"]) == written
    assert all(found["additionalProperties"] is False for found in objects(schema))
    assert schema["patternProperties"] == {"^x-": {}}


def test_a_value_of_the_schema_may_also_be_a_reference() -> None:
    (value,) = manual.schema()["properties"]["variables"]["patternProperties"].values()
    assert value == {"anyOf": [{}, {"$ref": "#/$defs/Reference"}]}


def test_schema_and_fleet_agree_on_the_keys_of_each_section() -> None:
    defs = manual.schema()["$defs"]
    for part in (fleet.Ports, fleet.Connection, fleet.SlotPool):
        assert set(defs[f"{part.__name__}Section"]["properties"]) == set(part.__dataclass_fields__)


def test_schema_defaults_are_the_fleet_s() -> None:
    ports = manual.schema()["$defs"]["PortsSection"]["properties"]
    assert {key: node["default"] for key, node in ports.items()} == yaml.safe_load(
        "{api: 8080, database: null, metrics: null}"
    )
    assert parse("").ports == fleet.Ports()
