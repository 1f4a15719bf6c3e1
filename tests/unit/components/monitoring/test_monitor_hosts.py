"""What monitor hosts are given: what they scrape, who may reach them, and how two of them work as a pair."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from airfleet.components.host_model import AUTHORITIES, HostFile, Part, Place, TlsProgress
from airfleet.components.hosts import agents, haproxy, host_parts, monitor
from airfleet.components.model import reveal
from airfleet.components.monitoring import private_servers
from airfleet.components.monitoring.private_servers import MonitorNode
from airfleet.runners.fleet.plan import systemd_units
from airfleet.spec.secrets import Secret
from airfleet.workspace import certificate_authority
from airfleet_provider.contract.metrics import METRICS, Scope
from airfleet_provider.contract.notification_policy import (
    NotificationPolicy,
    Receiver,
    ReceiverType,
    derive_link_key,
    derive_webhook_token,
)
from airfleet_provider.contract.tracing_policy import TracingPolicy
from deadline import PATIENCE_S
from places import CREDENTIALS, NINE, OBJECTS, parse, parts, place, with_setting

PAIR = with_setting(NINE, "roles: [web]}\n  web3", "roles: [web, monitor]}\n  web3")
DATABASES = with_setting(NINE, "roles: [scheduler]}\n  cpu1", "roles: [scheduler, database]}\n  cpu1")
NOBODY_WATCHES = with_setting(NINE, "[web, monitor]", "[web]")
PROMTOOL, AMTOOL = shutil.which("promtool"), shutil.which("amtool")


def find(name: str, host: str, text: str = NINE) -> Part:
    return next(part for part in parts(host, text) if part.name == name)


def read(part: Part, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        reveal(next(file for file in part.files if file.path.name == name).content)
    )
    return content


def list_targets(config: dict[str, Any]) -> set[str]:
    return {
        target for job in config["scrape_configs"] for group in job["static_configs"] for target in group["targets"]
    }


@pytest.mark.parametrize("text", [NINE, DATABASES])
def test_every_port_of_metrics_that_a_host_opens_is_scraped_and_no_other(text: str) -> None:
    where = place(parse(text), "web3")
    opened = {
        f"{host.address}:{port.number}"
        for host in parse(text).hosts
        for part in parts(host.name, text)
        for port in part.ports
        if port.sources == ("10.0.0.13",)
    }
    own = {"10.0.0.13:9090", "10.0.0.13:9093"}
    assert list_targets(read(monitor.describe_prometheus(where), "prometheus.yml")) == opened | own


def test_two_monitor_hosts_scrape_the_same_and_send_alerts_to_both() -> None:
    configs = [read(find("prometheus", host, PAIR), "prometheus.yml") for host in ("web2", "web3")]
    assert configs[0] == configs[1]
    [receivers] = configs[0]["alerting"]["alertmanagers"]
    assert receivers["static_configs"][0]["targets"] == ["10.0.0.12:9093", "10.0.0.13:9093"]
    [first], [second] = (find("alertmanager", host, PAIR).services for host in ("web2", "web3"))
    assert "--cluster.peer=10.0.0.13:9094" in first.command
    assert "--cluster.peer=10.0.0.12:9094" in second.command


def test_an_alertmanager_alone_opens_no_port_for_peers() -> None:
    part = find("alertmanager", "web3")
    assert "--cluster.listen-address=" in part.services[0].command
    assert 9094 not in {port.number for port in part.ports}


def test_only_who_has_the_key_of_a_host_may_silence_alerts() -> None:
    """Alertmanager has no logins, and every user of a monitor host reaches its port."""
    part = find("alertmanager", "web2", PAIR)
    [port] = [port for port in part.ports if port.number == 9093]
    assert port.sources == ("10.0.0.12", "10.0.0.13")
    asked = read(part, "web.yml")["tls_server_config"]
    assert asked["client_auth_type"] == "RequireAndVerifyClientCert"
    assert asked["client_ca_file"] == str(AUTHORITIES)
    config = read(find("prometheus", "web2", PAIR), "prometheus.yml")
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "alertmanager"]
    for one in (job, *config["alerting"]["alertmanagers"]):
        assert one["tls_config"]["cert_file"] == str(monitor.PROMETHEUS_FOLDER / "host.pem")
        assert one["tls_config"]["key_file"] == str(monitor.PROMETHEUS_FOLDER / "host.key")


def test_no_page_of_another_site_reads_metrics_through_a_browser() -> None:
    node = MonitorNode(Path("/x"), Path("/prometheus"), Path("/alertmanager"), 1, 2, Secret("x"), "hash")
    here = private_servers.describe(parse("name: test"), node, 3, Secret("x"))
    [private] = [process.commands[0] for process in here.processes if process.name == "prometheus"]
    for command in (private, find("prometheus", "web3").services[0].command):
        assert "--web.cors.origin=^$" in command


def test_a_host_that_runs_only_tasks_reaches_no_metrics() -> None:
    workers = {"10.0.0.31", "10.0.0.32", "10.0.0.33"}
    for host in parse().hosts:
        for part in parts(host.name):
            for port in part.ports:
                if "metrics" in port.why or part.name in {"prometheus", "alertmanager"}:
                    assert port.sources, port
                    assert not workers & set(port.sources), port


def test_readers_of_fleet_yaml_reach_prometheus() -> None:
    text = with_setting(NINE, "hosts:", "monitoring: {readers: [10.9.9.9], retention: 7, size: 2G}\nhosts:")
    part = find("prometheus", "web3", text)
    assert "10.9.9.9" in part.ports[0].sources
    assert {"--storage.tsdb.retention.time=7d", "--storage.tsdb.retention.size=2147483648B"} < set(
        part.services[0].command
    )


def test_an_alert_that_fires_while_prometheus_reloads_is_not_said_a_minute_later() -> None:
    """Prometheus drops it, as it knows no Alertmanager yet, and says it again after the delay: a minute by default."""
    [delay] = [one for one in find("prometheus", "web3").services[0].command if "resend-delay" in one]
    assert 0 < int(delay.removeprefix("--rules.alert.resend-delay=").removesuffix("s")) <= 20


def test_alerts_go_to_the_agents_of_every_scheduler_host_with_a_token_that_nobody_else_reads() -> None:
    part = find("alertmanager", "web3")
    [receiver] = read(part, "alertmanager.yml")["receivers"]
    assert [hook["url"] for hook in receiver["webhook_configs"]] == [
        "https://10.0.0.21:9108/alerts",
        "https://10.0.0.22:9108/alerts",
    ]
    assert all(
        hook["http_config"]["tls_config"] == {"ca_file": str(AUTHORITIES)} for hook in receiver["webhook_configs"]
    )
    token = next(file for file in part.files if file.path == monitor.TOKEN)
    assert (token.mode, token.group) == (0o640, "prometheus")
    assert reveal(token.content) == derive_webhook_token(CREDENTIALS.platform.jwt_secret.reveal())
    assert CREDENTIALS.platform.jwt_secret.reveal() not in reveal(token.content)


def test_agents_speak_tls_once_monitor_hosts_can_and_before_they_have_to() -> None:
    """A monitor host of one step reaches agents of the step before and of the step after."""
    steps = [TlsProgress(is_used=False, is_required=False), TlsProgress(is_required=False), TlsProgress()]
    for step, before in zip(steps, (steps[0], *steps), strict=False):
        for of_monitor, of_agents in ((step, before), (before, step)):

            def find_place(host: str, progress: TlsProgress) -> Place:
                encryption = replace(CREDENTIALS.encryption, agents=progress)
                return replace(place(parse(), host), credentials=replace(CREDENTIALS, encryption=encryption))

            monitors = find_place("web3", of_monitor)
            config = read(monitor.describe_prometheus(monitors), "prometheus.yml")
            [job] = [job for job in config["scrape_configs"] if job["job_name"] == "agents"]
            [receiver] = read(monitor.describe_alertmanager(monitors), "alertmanager.yml")["receivers"]
            schemes = {job.get("scheme", "http"), *(hook["url"].split(":")[0] for hook in receiver["webhook_configs"])}
            served = read(agents.describe(find_place("sched1", of_agents)), "agents.json")["server"]
            assert schemes == ({"https"} if of_monitor.is_used else {"http"})
            assert {"certificate", "key"} < served.keys()
            assert of_monitor.is_used or not served["tls_required"]


def test_peers_ask_each_other_for_the_certificate_of_a_host() -> None:
    part = find("alertmanager", "web2", PAIR)
    assert f"--cluster.tls-config={monitor.ALERTMANAGER_FOLDER}/peers.yml" in part.services[0].command
    assert read(part, "peers.yml")["tls_server_config"]["client_auth_type"] == "RequireAndVerifyClientCert"
    changed = replace(CREDENTIALS, encryption=replace(CREDENTIALS.encryption, trusted="another authority"))
    where = replace(place(parse(PAIR), "web2"), credentials=changed)
    again = monitor.describe_alertmanager(where).services[0]
    assert systemd_units.render(again) != systemd_units.render(part.services[0]), "it reads authorities at its start"


def test_nothing_that_a_worker_host_has_signs_a_link_or_a_report_of_an_alert() -> None:
    config = read(find("agents", "sched1"), "agents.json")["notifications"]
    assert config["link_key"] and config["webhook_tokens"]
    texts = [reveal(file.content) for part in parts("cpu1") for file in part.files]
    known = {word for text in texts for word in re.split(r"[\s\"'=:/@,;]+", text)}
    assert CREDENTIALS.platform.secret_key.reveal() in known
    assert config["link_key"] not in known | set(map(derive_link_key, known))
    assert not set(config["webhook_tokens"]) & (known | set(map(derive_webhook_token, known)))


@pytest.mark.parametrize(("text", "host"), [(NINE, "sched1"), ("hosts: {one: {address: 10.0.0.1}}", "one")])
def test_the_code_of_a_dag_cannot_read_the_secrets_of_receivers(text: str, host: str) -> None:
    policy = NotificationPolicy(receivers=(Receiver("page", ReceiverType.PAGERDUTY, secret="the-receiver-s-secret"),))
    where = replace(place(parse(text), host), objects=replace(OBJECTS, notifications=policy))
    found = host_parts.describe(where, ssh_ports=(22,))
    services = [service for part in found for service in part.services]
    readers = {
        file.group
        for file in (*(file for part in found for file in part.files), *(f for one in services for f in one.files))
        if "the-receiver-s-secret" in reveal(file.content)
    }
    [agents_user] = {service.user for service in services if service.name == "agents"}
    assert readers == {agents_user}
    assert [service.name for service in services if service.user == agents_user] == ["agents"]
    [process] = [service for service in services if service.name == "agents"]
    folders = {folder.path: folder.owner for part in found for folder in part.folders}
    assert all(folders.get(Path(value), "root") == "root" for value in process.env.values())


def test_a_fact_about_the_platform_does_not_name_the_agents_that_exported_it() -> None:
    config = read(find("prometheus", "web3"), "prometheus.yml")
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "agents"]
    rules = {rule["target_label"]: rule["regex"] for rule in job["metric_relabel_configs"]}

    def drops(label: str, name: str) -> bool:
        return bool(re.fullmatch(rules[label], name))

    assert drops("host", "airfleet_queue_depth")
    assert drops("instance", "airfleet_task_start_seconds_bucket")
    # The host of these is what they are about.
    assert not drops("host", "airfleet_component_up")
    for metric in METRICS.values():
        assert drops("instance", metric.name) == (metric.scope is Scope.PLATFORM)


def test_a_fleet_without_a_monitor_host_shows_its_metrics_to_nobody() -> None:
    where = place(parse(NOBODY_WATCHES), "cpu1")
    assert "frontend metrics" not in haproxy.render_proxy(where)
    assert "frontend metrics" in haproxy.render_proxy(place(parse(), "cpu1"))
    assert not any("metrics" in port.why for part in parts("cpu1", NOBODY_WATCHES) for port in part.ports)


def test_an_alert_knows_when_the_certificates_of_the_hosts_and_of_the_balancer_end() -> None:
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("flights", now), where="here")
    issued = certificate_authority.issue(authority, "web1", ["10.0.0.11"], now)
    secured = replace(CREDENTIALS, encryption=replace(CREDENTIALS.encryption, certificates=defaultdict(lambda: issued)))
    where = place(parse(), "web3")
    own = Secret(f"{issued.certificate}{issued.key.reveal()}")
    part = monitor.describe_prometheus(replace(where, credentials=secured, objects=replace(OBJECTS, tls=own)))
    [group] = read(part, "limits.yaml")["groups"]
    ends = x509.load_pem_x509_certificate(issued.certificate.encode()).not_valid_after_utc.timestamp()
    found = {
        (rule["labels"]["name"], rule["labels"]["host"]): rule["expr"] for rule in group["rules"] if "labels" in rule
    }
    assert found.keys() == {("balancer", "web1"), *(("host", host.name) for host in parse().hosts)}
    assert set(found.values()) == {f"vector({int(ends)})"}
    assert "PRIVATE KEY" not in reveal(next(file for file in part.files if file.path.name == "limits.yaml").content)


def put(files: tuple[HostFile, ...], folder: Path) -> None:
    """Write the files of a host below a folder, and let them name each other there."""
    for file in files:
        target = folder / file.path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(reveal(file.content).replace("/etc/airfleet", f"{folder}/etc/airfleet"))


def make_part(where: Place, folder: Path) -> Part:
    part = monitor.describe_prometheus(where)
    put((*part.files, HostFile(AUTHORITIES, "")), folder)
    return part


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: tools/prometheus installs it")
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    assert PROMTOOL
    make_part(place(parse(), "web3"), tmp_path)
    command = [PROMTOOL, "check", "config", f"{tmp_path}/etc/airfleet/prometheus/prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(AMTOOL is None, reason="no amtool here: tools/prometheus installs it")
def test_alertmanager_accepts_its_configuration(tmp_path: Path) -> None:
    assert AMTOOL
    put(monitor.describe_alertmanager(place(parse(), "web3")).files, tmp_path)
    command = [AMTOOL, "check-config", f"{tmp_path}/etc/airfleet/alertmanager/alertmanager.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "written", "silent_after_s"), [(NINE, 0.0, 180.0), (NOBODY_WATCHES, 0.0, 0.0), (NINE, 600.0, 600.0)]
)
def test_the_agents_expect_the_watchdog_where_a_monitor_host_is(
    text: str, written: float, silent_after_s: float
) -> None:
    where = place(parse(text), "sched1")
    where = replace(where, objects=replace(OBJECTS, notifications=NotificationPolicy(watchdog_s=written)))
    assert read(agents.describe(where), "agents.json")["notifications"]["watchdog_s"] == silent_after_s


def test_the_agents_of_each_scheduler_host_know_the_collector_and_no_process_shows_its_secret() -> None:
    policy = TracingPolicy("https://collector:4318", {"Authorization": "Bearer s3cret"}, "flights")
    for host in ("sched1", "sched2"):
        where = place(parse(NINE), host)
        assert "tracing" not in read(agents.describe(where), "agents.json")
        part = agents.describe(replace(where, objects=replace(OBJECTS, tracing=policy)))
        found = read(part, "agents.json")["tracing"]
        assert found["headers"] == {"Authorization": "Bearer s3cret"}
        assert found["base_url"] == read(part, "agents.json")["notifications"]["base_url"]
        [file] = [one for one in part.files if one.path.name == "agents.json"]
        assert file.mode & 0o077 in (0, 0o040)
        assert "s3cret" not in repr((part.services, file))
