"""A host of the role logs keeps the lines of all hosts, and no host can read or write more than it must."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airfleet.components.host_model import HostFile, Service
from airfleet.components.hosts import logs
from airfleet.components.model import reveal
from airfleet.errors import SpecError
from airfleet.runners.fleet.plan import systemd_units
from airfleet.spec.secrets import Secret
from airfleet_provider.contract.log_store_config import derive_search_token
from places import CREDENTIALS, NINE, config_path, desired, parse, place, with_setting

LOGS = with_setting(NINE, "roles: [web, monitor]", "roles: [web, monitor, logs]")
TWO = with_setting(LOGS, "roles: [database, broker]", "roles: [database, broker, logs]")
HOSTS = ("web1", "web2", "web3", "sched1", "sched2", "cpu1", "memory1", "io1", "data1")


def find_service(host: str, name: str, text: str = LOGS) -> Service | None:
    return next((one for one in desired(host, text).services if one.name == name), None)


def find_file(host: str, path: str, text: str = LOGS) -> HostFile:
    return next(file for file in desired(host, text).files if str(file.path) == path)


def read_agent(host: str, text: str = LOGS) -> dict[str, Any]:
    return dict(json.loads(reveal(find_file(host, "/etc/airfleet/log-agent/log-agent.json", text).content)))


def read_config(host: str, home: str, text: str = LOGS) -> str:
    return reveal(find_file(host, config_path(home), text).content)


@pytest.mark.parametrize("host", HOSTS)
def test_each_host_sends_its_lines_to_the_store(host: str) -> None:
    assert find_service(host, "log-agent")
    assert read_agent(host)["stores"] == {"web3": "https://10.0.0.13:9109"}
    assert (find_service(host, "log-store") is not None) is (host == "web3")


@pytest.mark.parametrize("host", HOSTS)
def test_a_fleet_without_the_role_has_neither(host: str) -> None:
    assert not {"log-agent", "log-store"} & {one.name for one in desired(host).services}
    assert "log_stores" not in "".join(reveal(file.content) for file in desired(host).files)


def test_with_two_stores_each_gets_all() -> None:
    assert set(read_agent("cpu1", TWO)["stores"]) == {"web3", "data1"}
    assert "log_stores = https://10.0.0.13:9109 https://10.0.0.41:9109" in read_config("sched1", "server", TWO)


def test_three_stores_are_refused() -> None:
    with pytest.raises(SpecError, match="role logs"):
        parse(with_setting(TWO, "roles: [scheduler]", "roles: [scheduler, logs]"))


def test_an_agent_reads_the_logs_of_the_roles_of_its_host() -> None:
    assert read_agent("cpu1")["tasks"] == ["/var/log/airfleet/tasks"]
    assert read_agent("sched1")["tasks"] == ["/var/log/airfleet/server"]
    assert read_agent("data1")["tasks"] == []


@pytest.mark.parametrize(
    ("host", "groups"),
    [
        ("cpu1", "systemd-journal airfleet-worker"),
        ("sched1", "systemd-journal airfleet"),
        ("data1", "systemd-journal"),
    ],
)
def test_an_agent_is_a_member_of_the_groups_whose_logs_it_reads(host: str, groups: str) -> None:
    service = find_service(host, "log-agent")
    assert service
    unit = systemd_units.render(service)
    assert f"SupplementaryGroups={groups}\n" in unit
    assert "User=airfleet-logs\n" in unit
    assert "CapabilityBoundingSet=\n" in unit
    # systemd does not start a service with a group that is not there.
    assert set(groups.split()) - {"systemd-journal"} <= set(desired(host, LOGS).users)


def test_what_the_triggerer_writes_is_open_to_the_agent() -> None:
    for name in ("triggerer", "dag-processor"):
        service = find_service("sched1", name)
        assert service
        assert "UMask=0027\n" in systemd_units.render(service)


@pytest.mark.parametrize("host", HOSTS)
def test_only_web_and_scheduler_hosts_can_search(host: str) -> None:
    files = "".join(reveal(file.content) for file in desired(host, LOGS).files)
    token = derive_search_token(CREDENTIALS.platform.jwt_secret.reveal())
    assert ("log_stores = " in files) is (host.startswith(("web", "sched")))
    assert (token in files) is (host == "web3")


def test_a_worker_host_keeps_airflows_own_configuration_of_logs() -> None:
    assert "logging_config_class" in read_config("sched1", "server")
    assert "logging_config_class" not in read_config("cpu1", "worker")


def test_only_the_store_can_read_its_tokens_and_its_key() -> None:
    for path in ("/etc/airfleet/log-store/log-store.json", "/etc/airfleet/log-store/host.key"):
        file = find_file("web3", path)
        assert (file.owner, file.group, file.mode) == ("root", "airfleet-logs", 0o640)


def test_the_store_is_open_to_hosts_of_the_fleet_only() -> None:
    rules = reveal(find_file("web3", "/etc/airfleet/firewall.nft").content)
    [rule] = [line for line in rules.splitlines() if "tcp dport 9109" in line]
    assert "ip saddr { 10.0.0.11," in rule
    assert "tcp dport 9109" not in reveal(find_file("web1", "/etc/airfleet/firewall.nft").content)


def test_monitor_hosts_watch_agents_and_stores() -> None:
    config = reveal(find_file("web3", "/etc/airfleet/prometheus/prometheus.yml").content)
    assert "/logs/metrics" in config
    assert "10.0.0.41:9101" in config
    assert "10.0.0.13:9109" in config


def test_a_host_without_airflow_runs_the_agent_from_packages_of_its_own() -> None:
    agent, own = find_service("data1", "log-agent"), desired("data1", LOGS).place
    assert agent
    assert agent.command[0] == str(own.logs / "bin" / "python")
    busy = find_service("cpu1", "log-agent")
    assert busy
    assert busy.command[0] == str(desired("cpu1", LOGS).place.runtime / "bin" / "python")


def test_with_an_opensearch_the_stores_write_there_and_an_agent_sends_to_one_of_them() -> None:
    text = TWO + "logs: {opensearch: {url: {env: OPENSEARCH_URL}, prefix: lines}}\n"
    assert read_agent("cpu1", text)["stores"] == {"opensearch": "https://10.0.0.13:9109 https://10.0.0.41:9109"}
    own = place(parse(text), "web3")
    known = replace(own, objects=replace(own.objects, opensearch=Secret("https://ann:s3cret@search:9200")))
    [config] = [file for file in logs.describe_store(known).files if file.path.name == "log-store.json"]
    assert json.loads(reveal(config.content))["opensearch"] == {
        "url": "https://ann:s3cret@search:9200",
        "prefix": "lines",
    }
    assert config.is_secret
    agents = "".join(reveal(file.content) for file in logs.describe_agent(known).files)
    assert "s3cret@search" not in agents


def test_a_password_in_fleet_yaml_itself_is_refused() -> None:
    with pytest.raises(SpecError, match="never holds a password"):
        parse(LOGS + "logs: {opensearch: {url: 'https://ann:s3cret@search:9200'}}\n")
