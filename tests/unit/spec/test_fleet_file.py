"""A fleet.yaml gives a Fleet, or all its problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet.errors import SpecError, UsageError
from airfleet.spec import fleet, load
from airfleet.spec.secret_ref import SecretRef

FULL = """\
x-note: [anything, {goes: here}]
name: flights
parallelism: 6
ports: {api: 9090, database: 15432}
env:
  TZ: Europe/Berlin
  TOKEN: {command: [sops, -d, token.enc]}
airflow:
  core: {load_examples: false, max_active_tasks_per_dag: 32, default_timezone: utc}
  scheduler: {task_queued_timeout: 0.5}
databases: [warehouse]
connections:
  crm: {type: postgres, host: crm, password: {env: CRM}, schema: sales, port: 5432, extra: {key: {file: k}, n: 1}}
  api: {uri: "http://reader@api:8080/?timeout=3"}
  erp: {uri: {command: "sops -d erp | head -1"}}
variables:
  days: 7
  country: NO
  nested: {env: prod, file: x}
  key: {file: secrets/key}
slot_pools:
  warehouse: {slots: 2}
  erp: {slots: -1, description: Slow, include_deferred: true}
"""


def parse(text: str, *, cpus: int = 8) -> fleet.Fleet:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=cpus)


def refused(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value


def test_a_full_file_becomes_a_fleet() -> None:
    assert parse(FULL) == fleet.Fleet(
        name="flights",
        ports=fleet.Ports(9090, 15432),
        parallelism=6,
        env={"TZ": "Europe/Berlin", "TOKEN": SecretRef(command=("sops", "-d", "token.enc"))},
        airflow={
            "core": {"load_examples": "False", "max_active_tasks_per_dag": "32", "default_timezone": "utc"},
            "scheduler": {"task_queued_timeout": "0.5"},
        },
        databases=("warehouse",),
        connections={
            "crm": fleet.Connection(
                type="postgres",
                host="crm",
                password=SecretRef(env="CRM"),
                schema="sales",
                port=5432,
                extra={"key": SecretRef(file="k"), "n": 1},
            ),
            "api": fleet.Connection(uri="http://reader@api:8080/?timeout=3"),
            "erp": fleet.Connection(uri=SecretRef(command="sops -d erp | head -1")),
        },
        variables={
            "days": 7,
            "country": "NO",
            "nested": {"env": "prod", "file": "x"},  # two keys: a value, not a reference
            "key": SecretRef(file="secrets/key"),
        },
        slot_pools={"warehouse": fleet.SlotPool(2), "erp": fleet.SlotPool(-1, "Slow", include_deferred=True)},
    )


@pytest.mark.parametrize(("cpus", "parallelism"), [(1, 4), (2, 4), (3, 6), (64, 128), (400, 512)])
def test_parallelism_follows_the_cpus(cpus: int, parallelism: int) -> None:
    assert parse("", cpus=cpus).parallelism == parallelism
    assert parse("parallelism: 1", cpus=cpus).parallelism == 1


def test_a_section_with_nothing_under_it_is_absent() -> None:
    assert parse("name:\nports:\nparallelism:\nvariables:\n  # days: 7\n") == parse("")


def test_every_problem_is_reported_at_once_in_the_order_of_lines() -> None:
    error = refused("""\
name: My Fleet
paralelism: 4
ports: {api: 80}
databases: [warehouse]
connections:
  warehouse: {type: postgres, prot: 5432}
slot_pools:
  warehouse:
    slots: two
  reports: {}
airflow:
  core:
    executor: CeleryExecutor
ports: {api: 80}
""")
    assert [(problem.line, problem.path) for problem in error.problems] == [
        (1, "name"),
        (2, "paralelism"),
        (6, "connections.warehouse"),
        (6, "connections.warehouse.prot"),
        (9, "slot_pools.warehouse.slots"),
        (10, "slot_pools.reports.slots"),
        (13, "airflow.core.executor"),
        (14, "ports"),
        (14, "ports.api"),
    ]
    assert error.exit_code == 2
    assert "fleet.yaml:9: slot_pools.warehouse.slots: expected a whole number, -1 or more, found 'two'" in str(error)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("paralelism: 4", "unknown key 'paralelism'", "did you mean 'parallelism'?"),
        ("Name: a", "unknown key 'Name'", "did you mean 'name'?"),
        ("zebra: {}", "unknown key 'zebra'", "known keys: name, ports,"),
        ("ports: {apo: 1}", "unknown key 'apo'", "did you mean 'api'?"),
        # The names of people's own things are no keys: the hint is about the connection called `ports`.
        ("connections: {ports: {type: a, hots: b}}", "unknown key 'hots'", "did you mean 'host'?"),
        ("env: {A: {fil: x}}", "unknown key 'fil'", "did you mean 'file'?"),
        ("variables: {A: {file: 5}}", "expected text that is not empty, found a number", "in quotes"),
        ("env: {A: {file: x, env: y}}", "a reference has exactly one of env, file and command", "{env: NAME}"),
        ("env: {A: {}}", "a reference has exactly one of env, file and command", "{env: NAME}"),
        ("env: {A: {command: []}}", "expected text that is not empty or a list that is not empty, found a list", ""),
        ("env: {A: 8080}", "expected text or a reference, found a number", "in quotes"),
        ("env: {A: true}", "expected text or a reference, found true", "in quotes"),
        ("env: {A-B: x}", "expected a variable name: letters, digits and _, no digit first; found 'A-B'", ""),
        ("env: {AIRFLOW__CORE__X: a}", "AIRFLOW__CORE__X is an Airflow option", "airflow: {core: {x: ...}}"),
        ("env: {AIRFLOW__API__PORT: a}", "AIRFLOW__API__PORT is an Airflow option", "use `ports.api`"),
        ("env: {AIRFLEET_X: a}", "AIRFLEET_X: names that start with AIRFLEET_ are airfleet's own", "another name"),
        ("name: 1st", "expected a name: a lower-case letter", ""),
        (f"name: {'a' * 41}", "expected a name: a lower-case letter", ""),
        ("name: 5", "expected text, found 5", "in quotes"),
        ("parallelism: 0", "expected a whole number from 1 to 512, found 0", ""),
        ("parallelism: 513", "expected a whole number from 1 to 512, found 513", ""),
        ('parallelism: "4"', "expected a whole number from 1 to 512, found '4'", "without quotes"),
        ("parallelism: true", "expected a whole number from 1 to 512, found true", ""),
        ("ports: {api: 80}", "expected a whole number from 1024 to 65535, found 80", ""),
        ("ports: {api: }", "expected a whole number from 1024 to 65535, found nothing", ""),
        ("ports: {database: 8080}", "the API already listens on port 8080", "another port"),
        ("ports: {api: 9000, database: 9000}", "the API already listens on port 9000", "another port"),
        ("databases: warehouse", "expected a list, found 'warehouse'", "[one, two]"),
        ("databases: [Warehouse]", "expected a database name", ""),
        (f"databases: [{'a' * 64}]", "expected a database name", ""),
        ("databases: [airflow]", "the database 'airflow' is not yours to create", "another name"),
        ("databases: [template1]", "the database 'template1' is not yours to create", "another name"),
        ("databases: [all]", "the database 'all' is not yours to create", "another name"),
        ("databases: [replication]", "the database 'replication' is not yours to create", "another name"),
        ("databases: [monitor]", "the database 'monitor' is not yours to create", "another name"),
        ("databases: [replicator]", "the database 'replicator' is not yours to create", "another name"),
        ("databases: [pgbouncer]", "the database 'pgbouncer' is not yours to create", "another name"),
        ("databases: [airflow_session]", "the database 'airflow_session' is not yours to create", "another name"),
        ("databases: [pg_x]", "the database 'pg_x' is not yours to create", "another name"),
        ("airflow: {DEFAULT: {x: 1}}", "this section would set options of every other one", "name theirs"),
        ("databases: [a, a]", "the database 'a' is listed 2 times", "keep one"),
        ("airflow: {core: {x: [1]}}", "expected text or a number or true or false, found a list", "'[1, 2]'"),
        ("airflow: {core: {x: }}", "expected text or a number or true or false, found nothing", ""),
        ("airflow: {core: x}", "expected a map, found text", ""),
        ("variables: {a: }", "expected a value, found nothing", '""'),
        ("slot_pools: {a: {slots: -2}}", "expected a whole number, -1 or more, found -2", ""),
        ("slot_pools: {a: 2}", "expected a map, found 2", "{slots: 2}"),
        ("executor: LocalExecutor", "expected local or celery, found 'LocalExecutor'", ""),
        ("slot_pools: {a: {}}", "this key is required and not there", ""),
        ("slot_pools: {a: {slots: 1, include_deferred: yes}}", "expected true or false, found 'yes'", "without quotes"),
        ("connections: {a: {host: b}}", "neither `type` nor `uri` is there", "add the connection type"),
        ("connections: {a: {type: b, uri: c://d}}", "`uri` stands alone, and here is type too", "keep either"),
        ("connections: {a: {uri: crm}}", "not a URI", "type://"),
        ("connections: {a: {type: b, port: 0}}", "expected a whole number from 1 to 65535, found a number", ""),
    ],
)
def test_a_problem_says_what_was_expected_and_what_to_do(text: str, what: str, hint: str) -> None:
    (problem,) = refused(text).problems
    assert problem.what.startswith(what)
    assert hint in problem.hint
    assert "Input should" not in problem.what


@pytest.mark.parametrize(
    "text",
    [
        "connections: {a: {type: b, password: hunter2}}",
        "connections: {a: {type: b, password: [hunter2]}}",
        "connections: {a: {type: b, extra: {aws_secret_access_key: hunter2}}}",
        "connections: {a: {uri: 'postgres://u:hunter2@h/d'}}",
        "connections: {a: {uri: 'postgres://u:hun/hunter2@h/d'}}",
        "connections: {a: {uri: 'postgres://h/d?password=hunter2'}}",
        "connections: {a: {type: 'postgres://u:hunter2@h/d'}}",
        "connections: {a: 'postgres://u:hunter2@h/d'}",
        "connections: 'postgres://u:hunter2@h/d'",
        "env: hunter2",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(text: str) -> None:
    error = refused(text)
    assert "hunter2" not in str(error)
    assert len(error.problems) == 1


@pytest.mark.parametrize(("section", "option"), sorted(fleet.OWNED))
def test_what_airfleet_owns_is_refused_with_the_airfleet_way(section: str, option: str) -> None:
    for name in (option, option.upper(), f"{option}_cmd", f"{option}_secret"):
        (problem,) = refused(f"airflow:\n  {section}:\n    {name}: x\n").problems
        assert (problem.line, problem.path) == (3, f"airflow.{section}.{name}")
        assert problem.hint == fleet.OWNED_INSTEAD[section, option]


def test_an_owned_name_in_another_section_is_free() -> None:
    assert parse("airflow: {metrics: {port: 1}}").airflow == {"metrics": {"port": "1"}}


def test_a_database_and_a_connection_of_one_name_clash_beside_other_problems() -> None:
    error = refused("databases: [crm]\nconnections:\n  crm: {type: Bad Type}\n")
    assert [problem.path for problem in error.problems] == ["connections.crm", "connections.crm.type"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("flights", "flights"),
        ("My Flights (2026)", "my-flights-2026"),
        ("01_etl", "etl"),
        ("2026", "fleet"),
        ("数据", "fleet"),
        ("a" * 39 + "--b", "a" * 39),
    ],
)
def test_a_folder_s_name_becomes_a_valid_fleet_name(folder: str, name: str, tmp_path: Path) -> None:
    project = tmp_path / folder
    project.mkdir()
    made = load.read(project, cpus=2)
    assert made.name == name
    assert parse(f"name: {made.name}") == parse(f"name: {name}")


def test_read_reports_problems_under_the_path_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("\ufeffnmae: a\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load.read(tmp_path, cpus=2)
    assert f"{tmp_path / 'fleet.yaml'}:1: nmae: unknown key 'nmae'" in str(caught.value)


def test_read_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    def error(project: Path) -> UsageError:
        with pytest.raises(UsageError) as caught:
            load.read(project, cpus=2)
        assert caught.value.hint
        return caught.value

    assert error(tmp_path / "gone").what == "no such project folder"
    (tmp_path / "fleet.yml").touch()
    assert error(tmp_path).hint == "rename it to fleet.yaml"  # not the defaults, in silence
    (tmp_path / "fleet.yaml").write_bytes(b"name: a\nx-note: caf\xe9\n")
    assert error(tmp_path).where == f"{tmp_path / 'fleet.yaml'}:2"
    (tmp_path / "fleet.yaml").unlink()
    (tmp_path / "fleet.yaml").mkdir()
    assert error(tmp_path).what == "cannot be read: Is a directory"
