"""The section `limits` of fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet_provider.contract import service_limits
from places import parse


def test_an_entry_is_a_limit_and_survives_the_way_to_airflow() -> None:
    text = "limits: {crm: {connection: crm_.*, starts_per_minute: 30}, dwh: {dag: load_.*, task: copy, at_once: 5}}"
    limits = parse(text).limits
    crm, dwh = limits
    assert (crm.name, crm.service.connection, crm.starts_per_minute, crm.at_once) == ("crm", "crm_.*", 30, None)
    assert (dwh.service.dag, dwh.service.task, dwh.starts_per_minute, dwh.at_once) == ("load_.*", "copy", None, 5)
    assert service_limits.parse(service_limits.render(limits)) == limits


def test_a_limit_with_the_name_of_a_breaker_is_for_its_tasks() -> None:
    fleet = parse("{breakers: {crm: {tag: crm, task: load_.*}}, limits: {crm: {at_once: 2}}}")
    [limit], [breaker] = fleet.limits, fleet.breakers
    assert (limit.service.tag, limit.service.task) == (breaker.tag, breaker.task)
    assert service_limits.list_services(fleet.breakers, fleet.limits) == fleet.breakers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {crm: {dag: crm}}", "it limits nothing"),
        ("limits: {crm: {at_once: 2}}", "this limit is for no task"),
        ("limits: {crm: }", "1 problem in fleet.yaml\nfleet.yaml:1: limits.crm: expected a map, found nothing"),
        ("{breakers: {crm: {dag: crm}}, limits: {crm: {at_once: 2, dag: crm}}}", "has expressions of its own"),
        ("limits: {crm: {dag: '(', at_once: 2}}", "not a regular expression"),
        ("limits: {crm: {dag: crm, starts_per_minute: 0}}", "starts_per_minute"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(text)
    assert said in str(error.value)
