"""`executor: celery` on one machine: a private broker, a worker, and the settings and secrets of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from airfleet.components import one_machine, settings
from airfleet.components.health import ConsumerCheck
from airfleet.components.model import BrokerNode, BrokerPorts, Component, Process, Site, reveal
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.components.rabbitmq import private_node
from airfleet.components.signing import derive_private, list_public
from airfleet.spec import load
from airfleet.spec.secrets import Secret
from one_site import CREDENTIALS, SITE

BROKER = BrokerNode(
    name="airfleet-abc",
    folder=Path("/srv/state/rabbitmq"),
    server=Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
    names_server=Path("/usr/bin/epmd"),
    ports=BrokerPorts(amqp=15672, names=14369, nodes=15673),
    publisher=Secret("p0blisher"),
    consumer=Secret("c0nsumer"),
    cookie=Secret("c00kie"),
    signing=Secret("s1gning"),
)
OWN = replace(CREDENTIALS, results=ResultLogins(Secret("wr1te"), Secret("r0ad")))
FLEET = load.parse("executor: celery\nparallelism: 6\n", file="fleet.yaml", default_name="x", cpus=2)


def describe(site: Site) -> tuple[Component, ...]:
    return one_machine.describe(FLEET, site, OWN, connections={}, variables={}, versions="", drain_s=7)


@pytest.fixture
def processes() -> dict[str, Process]:
    return {one.name: one for component in describe(replace(SITE, broker=BROKER)) for one in component.processes}


def test_the_worker_has_the_slots_of_the_fleet_and_is_watched_by_its_queue(processes: dict[str, Process]) -> None:
    worker = processes["worker"]
    words = [reveal(word) for word in worker.commands[0]]
    assert words[words.index("--concurrency") + 1] == "6"
    queue, mark = words[words.index("--queues") + 1], worker.env["AIRFLEET_DRAINED"]
    url = "amqp://pool-default:c0nsumer@127.0.0.1:15672/airflow"
    assert isinstance(worker.health, ConsumerCheck)
    assert (worker.health.url.reveal(), worker.health.queue) == (url, queue)
    assert Path(reveal(mark)) in worker.health.unless
    assert Path(reveal(worker.env["AIRFLEET_WORKERS"])) / "default.drained" in worker.health.unless
    assert worker.warm


def test_what_tasks_need_outlives_them(processes: dict[str, Process]) -> None:
    assert "worker" in processes["execution-api"].stops_after
    assert "rabbitmq" in processes["worker"].after
    assert "rabbitmq" in processes["scheduler"].after
    assert processes["worker"].stop_timeout_s == 7


def read_link(name: str) -> dict[str, object]:
    """Return the Celery file that the environment of a process names."""
    for component in describe(replace(SITE, broker=BROKER)):
        for process in component.processes:
            if process.name == name:
                path = reveal(process.env["AIRFLEET_CELERY"])
                (file,) = (one for one in component.files if str(one.path) == path)
                assert file.mode == 0o600
                found: dict[str, object] = json.loads(reveal(file.content))
                return found
    raise LookupError(name)


def test_the_worker_may_add_results_and_the_scheduler_read_them() -> None:
    for name, login in (("worker", "airfleet_results_writer:wr1te"), ("scheduler", "airfleet_results_reader:r0ad")):
        wanted = f"db+postgresql+psycopg2://{login}@127.0.0.1:15432/airfleet_results"
        assert read_link(name)["result_backend"] == wanted


def test_the_private_key_is_the_scheduler_s_alone() -> None:
    private = derive_private(BROKER.signing).reveal()
    assert read_link("scheduler")["signing_key"] == private
    assert read_link("worker")["public_keys"] == list_public(BROKER.signing)
    assert private not in json.dumps(read_link("worker"))


def test_no_login_is_in_the_configuration_that_all_share() -> None:
    text = settings.render(settings.list_settings(FLEET, replace(SITE, broker=BROKER), OWN, keys=Path("keys")))
    for secret in ("p0blisher", "c0nsumer", "wr1te", "r0ad", "s1gning"):
        assert secret not in text


def test_the_broker_listens_on_the_loopback_with_a_password_and_without_a_default_user(
    processes: dict[str, Process],
) -> None:
    files = {file.path.name: reveal(file.content) for file in private_node.describe(BROKER, ("default",)).files}
    config = dict(line.split(" = ") for line in files["rabbitmq.conf"].splitlines())
    assert config["listeners.tcp.1"] == "127.0.0.1:15672"
    assert "default_user" not in config
    assert {user["name"] for user in json.loads(files["definitions.json"])["users"]} == {"publisher", "pool-default"}
    for secret in (BROKER.publisher, BROKER.consumer):
        assert secret.reveal() not in "".join(files.values())
    env = {key: reveal(value) for key, value in processes["rabbitmq"].env.items()}
    assert env["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    assert "inet_dist_use_interface {127,0,0,1}" in env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert files[".erlang.cookie"] == "c00kie"


def test_without_a_broker_there_is_no_trace_of_celery() -> None:
    components = describe(SITE)
    assert not {"rabbitmq", "worker"} & {component.name for component in components}
