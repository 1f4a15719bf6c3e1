"""`executor: celery` on one machine: a private broker, a worker, and what each of them knows."""

from __future__ import annotations

import configparser
import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_components import CREDENTIALS, SITE

from airfleet.components import platform, rabbitmq, settings
from airfleet.components.base import Component, Consumed, Process, Site, reveal
from airfleet.spec import load
from airfleet.spec.secrets import Secret

BROKER = rabbitmq.Node(
    name="airfleet-abc",
    folder=Path("/srv/state/rabbitmq"),
    server=Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
    names_server=Path("/usr/bin/epmd"),
    ports=rabbitmq.Ports(amqp=15672, names=14369, nodes=15673),
    password=Secret("br0ker"),
    cookie=Secret("c00kie"),
)
OWN = replace(CREDENTIALS, databases={"celery": Secret("res0lts")})
FLEET = load.parse("executor: celery\nparallelism: 6\n", file="fleet.yaml", default_name="x", cpus=2)


def describe(site: Site) -> tuple[Component, ...]:
    return platform.describe(FLEET, site, OWN, connections={}, variables={}, versions="", drain_s=7)


@pytest.fixture
def processes() -> dict[str, Process]:
    return {one.name: one for component in describe(replace(SITE, broker=BROKER)) for one in component.processes}


def read_config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(
        settings.render(settings.list_settings(FLEET, replace(SITE, broker=BROKER), OWN, keys=Path("keys.json")))
    )
    return parser


def test_the_worker_has_the_slots_of_the_fleet_and_is_watched_by_its_queue(processes: dict[str, Process]) -> None:
    worker = processes["worker"]
    words = [reveal(word) for word in worker.commands[0]]
    assert words[words.index("--concurrency") + 1] == "6"
    queue, mark = words[words.index("--queues") + 1], worker.env["AIRFLEET_DRAINED"]
    assert worker.health == Consumed(BROKER.url, queue, unless=Path(reveal(mark)))
    assert worker.warm


def test_what_tasks_need_outlives_them(processes: dict[str, Process]) -> None:
    assert "worker" in processes["execution-api"].stops_after
    assert "rabbitmq" in processes["worker"].after
    assert "rabbitmq" in processes["scheduler"].after
    assert processes["worker"].stop_timeout_s == 7


def test_results_are_left_in_a_database_of_their_own() -> None:
    results = read_config()["celery"]["result_backend"]
    assert results == "db+postgresql+psycopg2://celery:res0lts@127.0.0.1:15432/celery"
    assert CREDENTIALS.airflow.reveal() not in results


def test_the_broker_listens_on_the_loopback_with_a_password_and_without_a_default_user(
    processes: dict[str, Process],
) -> None:
    files = {file.path.name: reveal(file.content) for file in rabbitmq.describe(BROKER).files}
    config = dict(line.split(" = ") for line in files["rabbitmq.conf"].splitlines())
    assert config["listeners.tcp.1"] == "127.0.0.1:15672"
    assert "default_user" not in config
    [user] = json.loads(files["definitions.json"])["users"]
    assert (user["name"], user["password_hash"]) == ("airflow", rabbitmq.hash_password("airflow", BROKER.password))
    assert "br0ker" not in "".join(files.values())
    env = {key: reveal(value) for key, value in processes["rabbitmq"].env.items()}
    assert env["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    assert "inet_dist_use_interface {127,0,0,1}" in env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert files[".erlang.cookie"] == "c00kie"


def test_without_a_broker_there_is_no_trace_of_celery() -> None:
    components = describe(SITE)
    assert not {"rabbitmq", "worker"} & {component.name for component in components}
