"""The components of one platform, as data."""

from __future__ import annotations

import configparser
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airfleet.components import image, one_machine, settings
from airfleet.components.model import Component, Process, Setting, Site, reveal
from airfleet.components.postgresql import embedded
from airfleet.errors import UsageError
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from one_site import CREDENTIALS, PASSWORDS, SITE

FLEET = """\
name: flights
parallelism: 6
databases: [warehouse]
airflow:
  core: {max_active_tasks_per_dag: 3}
  logging: {log_format: "%(message)s at 100%"}
  scheduler: {scheduler_idle_sleep_time: 2}
variables: {days: 7}
slot_pools: {crm: {slots: 2, include_deferred: true}}
"""


@pytest.fixture
def fleet() -> Fleet:
    return load.parse(FLEET, file="fleet.yaml", default_name="x", cpus=2)


@pytest.fixture
def components(fleet: Fleet) -> tuple[Component, ...]:
    return one_machine.describe(
        fleet, SITE, CREDENTIALS, connections={"crm": "http://crm"}, variables=fleet.variables, versions="", drain_s=7
    )


@pytest.fixture
def processes(components: tuple[Component, ...]) -> dict[str, Process]:
    return {process.name: process for component in components for process in component.processes}


def read_config(fleet: Fleet) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()  # interpolates as Airflow's own does
    parser.read_string(settings.render(settings.list_settings(fleet, SITE, CREDENTIALS, keys=Path("keys"))))
    return parser


def read_file(components: tuple[Component, ...], name: str) -> Any:  # noqa: ANN401 - JSON
    files = [file for component in components for file in component.files]
    files += [file for component in components for process in component.processes for file in process.inputs]
    file = next(file for file in files if file.path.name == name)
    assert file.mode == 0o600
    return json.loads(reveal(file.content))


def test_what_is_rendered_is_read_back_percent_signs_and_all(fleet: Fleet) -> None:
    config = read_config(fleet)
    assert config["logging"]["log_format"] == "%(message)s at 100%"
    assert config["core"]["dags_folder"] == "/srv/100% mine/dags"
    assert json.loads(config["dag_processor"]["dag_bundle_config_list"])[0]["kwargs"]["path"] == "/srv/100% mine"


def test_a_project_in_an_odd_folder_is_still_a_bundle(fleet: Fleet) -> None:
    odd = Site(**{**{name: getattr(SITE, name) for name in Site.__slots__}, "project": Path('/srv/a "b" \\c')})
    text = settings.render(settings.list_settings(fleet, odd, CREDENTIALS, keys=Path("keys")))
    parser = configparser.ConfigParser()
    parser.read_string(text)
    bundle = json.loads(parser["dag_processor"]["dag_bundle_config_list"])[0]
    assert bundle["kwargs"]["path"] == '/srv/a "b" \\c'


def test_what_the_user_says_wins(fleet: Fleet) -> None:
    config = read_config(fleet)
    assert config["scheduler"]["scheduler_idle_sleep_time"] == "2"
    assert config["core"]["max_active_tasks_per_dag"] == "3"
    assert config["core"]["parallelism"] == "6"


def test_every_setting_has_its_reason(fleet: Fleet) -> None:
    for setting in settings.list_settings(fleet, SITE, CREDENTIALS, keys=Path("keys")):
        assert len(setting.why) > 10, setting


def test_the_api_server_listens_on_the_loopback_only(fleet: Fleet) -> None:
    config = read_config(fleet)
    assert config["api"]["host"] == "127.0.0.1"
    assert config["core"]["execution_api_server_url"] == "http://127.0.0.1:8081/execution/"


def test_postgres_listens_on_the_loopback_only_and_has_no_socket(processes: dict[str, Process]) -> None:
    command = processes["postgres"].commands[0]
    assert "--listen_addresses=127.0.0.1" in command
    assert "--unix_socket_directories=" in command
    assert "--port=15432" in command


def test_postgres_asks_everybody_for_a_password(fleet: Fleet) -> None:
    (initdb,) = embedded.describe(fleet, SITE, CREDENTIALS).prepare
    assert "--auth=scram-sha-256" in initdb.argv
    assert not any(password in " ".join(initdb.argv) for password in PASSWORDS)


def test_no_secret_shows_in_what_is_printed(components: tuple[Component, ...]) -> None:
    text = repr(components) + repr(CREDENTIALS)
    assert [password for password in PASSWORDS if password in text] == []


def test_no_secret_is_on_the_command_line_of_a_new_program(processes: dict[str, Process]) -> None:
    # Everybody on the machine reads the command lines of programs; forked ones keep that of the image.
    for process in processes.values():
        if not process.warm:
            assert all(isinstance(word, str) for word in process.commands[0]), process.name


def test_names_are_unique(components: tuple[Component, ...], processes: dict[str, Process]) -> None:
    assert len(processes) == sum(len(component.processes) for component in components)
    assert len({component.name for component in components}) == len(components)


def test_what_a_process_waits_for_exists_and_comes_before_it(processes: dict[str, Process]) -> None:
    order = list(processes)
    for process in processes.values():
        for name in process.after:
            assert order.index(name) < order.index(process.name)


@pytest.mark.parametrize("direction", ["after", "stops_after"])
def test_nothing_waits_for_itself(processes: dict[str, Process], direction: str) -> None:
    def below(name: str, path: tuple[str, ...]) -> Iterator[str]:
        assert name not in path, f"{direction}: {' -> '.join((*path, name))}"
        for other in stops_before(name) if direction == "stops_after" else processes[name].after:
            yield other
            yield from below(other, (*path, name))

    def stops_before(name: str) -> list[str]:
        return [other.name for other in processes.values() if name in other.after] + list(processes[name].stops_after)

    assert {other for name in processes for other in below(name, ())} <= set(processes)


def test_tasks_can_report_until_the_scheduler_has_stopped(processes: dict[str, Process]) -> None:
    assert "scheduler" in processes["execution-api"].stops_after
    assert processes["scheduler"].stop_timeout_s == 7
    assert processes["postgres"].stop_signal == "SIGINT"  # SIGTERM would wait for every client to leave


def test_the_objects_of_fleet_yaml_are_imported(
    components: tuple[Component, ...], processes: dict[str, Process]
) -> None:
    own = read_file(components, "connections.json")
    assert own["crm"] == "http://crm"
    assert (own["warehouse"]["schema"], own["warehouse"]["port"]) == ("warehouse", 15432)
    assert own["warehouse"]["password"] == PASSWORDS[7]
    assert read_file(components, "variables.json") == {"days": 7}
    assert read_file(components, "pools.json") == {"crm": {"slots": 2, "description": "", "include_deferred": True}}
    kinds = [command[1] for command in processes["metadata"].commands]
    assert kinds == ["airfleet", "db", "airfleet", "airfleet", "airfleet", "connections", "variables", "pools"]


def test_what_the_metadata_job_reads_is_written_for_it_alone(
    components: tuple[Component, ...], processes: dict[str, Process]
) -> None:
    inputs = {file.path.name: file.mode for file in processes["metadata"].inputs}
    assert inputs == dict.fromkeys(("admin_password", "connections.json", "variables.json", "pools.json"), 0o600)
    kept = [reveal(file.content) for component in components for file in component.files]
    assert not any(CREDENTIALS.admin.reveal() in content for content in kept)


def test_a_fleet_without_objects_imports_nothing() -> None:
    fleet = load.parse("", file="fleet.yaml", default_name="x", cpus=2)
    components = one_machine.describe(fleet, SITE, CREDENTIALS, connections={}, variables={}, versions="", drain_s=7)
    job = next(process for component in components for process in component.processes if process.name == "metadata")
    assert [command[1] for command in job.commands] == ["airfleet", "db", "airfleet", "airfleet", "airfleet"]
    # Nobody confirms users of a directory that fleet.yaml does not name.
    assert "--no-directory" in job.commands[-1]


def test_access_is_applied_after_the_administrator_exists_and_from_a_file_of_its_own(fleet: Fleet) -> None:
    text = Secret('{"users": "with a password"}')
    components = one_machine.describe(
        fleet, SITE, CREDENTIALS, connections={}, variables={}, versions="", access=text, drain_s=7
    )
    job = next(process for component in components for process in component.processes if process.name == "metadata")
    [own] = [file for file in job.inputs if file.path.name == "access.json"]
    commands = [command[1:3] for command in job.commands]
    assert commands.index(("airfleet", "access")) > commands.index(("airfleet", "admin"))
    assert not any("--no-directory" in command for command in job.commands)
    assert (own.mode, reveal(own.content)) == (0o600, text.reveal())
    assert not any("with a password" in reveal(word) for command in job.commands for word in command)


def test_what_several_components_preload_is_in_memory_once(processes: dict[str, Process]) -> None:
    preloads = Counter(module for process in processes.values() for module in set(process.preload))
    assert {module for module, count in preloads.items() if count > 1} <= set(image.MODULES)


def test_the_metadata_job_runs_again_only_when_something_it_does_has_changed(fleet: Fleet) -> None:
    def fingerprint(versions: str = "1", variables: dict[str, object] | None = None) -> str:
        parts = one_machine.describe(
            fleet, SITE, CREDENTIALS, connections={}, variables=variables or {}, versions=versions, drain_s=7
        )
        return next(one.fingerprint for part in parts for one in part.processes if one.name == "metadata")

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(versions="2"), fingerprint(variables={"limit": 1})}) == 3


@pytest.mark.parametrize(("place", "known"), [("database", {}), ("s3://bucket/x/", {"store": "s3://bucket/x"})])
def test_tasks_are_told_where_releases_are_kept(place: str, known: dict[str, str]) -> None:
    fleet = load.parse(f"dags: releases\nreleases: {{store: {place}}}\n", file="fleet.yaml", default_name="x", cpus=2)
    config = read_config(fleet)
    assert json.loads(config["dag_processor"]["dag_bundle_config_list"])[0]["kwargs"] == known


@pytest.mark.parametrize(
    "value", ["a\nb", "100%\n%(x)s", "one\n[core]\nfernet_key = mine", "{\n  1: 2\n}", "x = y : z", "é$HOME"]
)
def test_a_value_is_read_back_and_no_other_with_it(value: str) -> None:
    mine = Setting("webserver", "text", value, "fleet.yaml: airflow")
    parser = configparser.ConfigParser()
    parser.read_string(settings.render([Setting("core", "fernet_key", "ours", "kept"), mine]))
    assert [line.strip() for line in parser["webserver"]["text"].split("\n")] == [
        line.strip() for line in value.split("\n")
    ]
    assert dict(parser["core"]) == {"fernet_key": "ours"}


@pytest.mark.parametrize("value", ["a\r[core]\rx = y", "a\n# b", "a\n; b"])
def test_a_value_that_would_be_read_otherwise_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"webserver\.text"):
        settings.render([Setting("webserver", "text", value, "fleet.yaml: airflow")])


def test_the_case_of_a_name_makes_no_second_option() -> None:
    text = settings.render([Setting("core", "fernet_key", "a", "ours"), Setting("Core", "FERNET_KEY", "b", "theirs")])
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser["core"]["fernet_key"] == "b"
    assert text.lower().count("fernet_key") == 1
