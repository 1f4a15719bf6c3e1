"""The software bill of materials: valid CycloneDX of what is installed, and the same for the same packages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import metadata

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from airfleet.errors import AirfleetError
from airfleet.operations import sbom
from airfleet.operations.sbom import RuntimeInventory, RuntimePackage

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def test_the_bill_of_this_runtime_is_valid_and_complete() -> None:
    inventory = sbom.read_here()
    bill = sbom.render(inventory, "flights", "1.0", NOW)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    shown = {one["name"].lower(): one["version"] for one in bill["components"]}
    for name in ("apache-airflow-core", "celery", "psycopg"):
        assert shown[name] == metadata.version(name)
    refs = {one["bom-ref"] for one in bill["components"]} | {"flights"}
    assert {one["ref"] for one in bill["dependencies"]} == refs
    assert all(set(one["dependsOn"]) <= refs for one in bill["dependencies"])
    core = next(one for one in bill["dependencies"] if one["ref"].startswith("pkg:pypi/apache-airflow-core@"))
    assert any(one.startswith("pkg:pypi/sqlalchemy@") for one in core["dependsOn"])


def test_the_same_packages_have_the_same_bill() -> None:
    one = RuntimePackage(
        "A.b", "1", requires=("c_d>=1", "none", "c-d; extra == 'x'", "c-d; python_version < '3'", "?!")
    )
    other = RuntimePackage("C-D", "2", license="MIT")
    bills = [sbom.render(RuntimeInventory("3.12.1", found), "x", "1", NOW) for found in ((one, other), (other, one))]
    assert bills[0] == bills[1]
    assert bills[0]["dependencies"][1] == {"ref": "pkg:pypi/a-b@1", "dependsOn": ["pkg:pypi/c-d@2"]}
    newer = RuntimeInventory("3.12.1", (one, RuntimePackage("C-D", "3")))
    assert sbom.render(newer, "x", "1", NOW)["serialNumber"] != bills[0]["serialNumber"]
    assert list(sbom.list_requirements(newer)) == ["a-b==1", "c-d==3"]


@pytest.mark.parametrize(("code", "out"), [(1, ""), (0, ""), (0, "[]"), (0, '{"python": "3.12.1"}')])
def test_a_host_that_does_not_answer_as_it_should_is_told(code: int, out: str) -> None:
    with pytest.raises(AirfleetError, match="cannot be read: no such file"):
        sbom.parse(code, out, "no such file", "cpu1")
