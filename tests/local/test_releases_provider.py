"""Releases on a real metadata database: publish, roll back, and a releaser that dies at the worst moments."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import psycopg
import pytest

from airfleet_provider.contract import release_archive
from deadline import PATIENCE_S, wait_until
from shops import AIRFLOW, FERNET_KEY, PASSWORD, Shop

pytestmark = pytest.mark.local


def test_all_dags_switch_and_only_what_changed_is_parsed_and_written(shop: Shop) -> None:
    one = shop.build()
    first = shop.deploy(one)
    assert first["parsed"] == 20
    assert shop.versions() == {f"d{n:02}": (one, False, 1, one) for n in range(20)}
    before = shop.hashes()
    shop.write("d03", task="other")
    (shop.project / "dags" / "d19.py").unlink()
    two = shop.build()

    second = shop.deploy(two)

    assert (second["parsed"], second["cached"]) == (1, 18)
    assert second["dags"] == {"written": 1, "switched": 18, "retired": 1, "errors": 0}
    after = shop.versions()
    assert after.pop("d19") == (one, True, 1, one)
    assert after == {f"d{n:02}": (two, False, 1, two) for n in range(19)}
    assert {name for name, digest in shop.hashes().items() if digest != before[name]} == {"d03"}
    assert shop.executed() == {**{f"d{n:02}": 1 for n in range(20)}, "d03": 2}
    assert shop.live() == two

    assert shop.deploy(None, "rollback")["parsed"] == 0
    assert shop.versions() == {f"d{n:02}": (one, False, 1, one) for n in range(20)}
    assert shop.hashes() == before
    pointer = "SELECT live, previous, moved_by, reason FROM airfleet.pointer WHERE bundle = %s"
    assert shop.database.query(pointer, shop.name) == [(one, two, "ann", "because")]
    link = shop.database.folder / "bundles" / shop.name / "live"
    assert link.resolve().name == one


def test_the_way_back_leads_to_other_files_also_past_an_id_of_an_earlier_version(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    shop.write("d03", task="other")
    two = shop.build()
    former = release_archive.shorten(two)
    shop.database.query("UPDATE airfleet.release SET id = %s WHERE id = %s", former, two)
    shop.deploy(former)
    assert shop.build() == two
    shop.deploy(two)
    assert shop.ledger.find(former).id == two

    shop.deploy(None, "rollback")
    assert shop.live() == one


def test_a_comment_changes_the_shown_source_and_no_version(shop: Shop) -> None:
    shop.deploy(shop.build())
    shop.write("d05", more="# a comment")
    two = shop.build()

    detail = shop.deploy(two)

    assert detail["dags"]["written"] == 0
    assert shop.versions()["d05"] == (two, False, 1, two)
    rows = shop.database.query("SELECT source_code FROM dag_code WHERE dag_id = %s", f"{shop.name}_d05")
    assert [row[0].strip().endswith("# a comment") for row in rows] == [True]


def test_a_helper_or_a_file_that_is_read_makes_its_dags_be_parsed_again(shop: Shop) -> None:
    (shop.project / "include" / "names.txt").write_text("a")
    (shop.project / "include" / "names.py").write_text(
        "from pathlib import Path\nNAME = (Path(__file__).parent / 'names.txt').read_text()\n"
    )
    for name in ("d01", "d02"):
        shop.write(name, more="from include.names import NAME")
    shop.deploy(shop.build())
    (shop.project / "include" / "names.txt").write_text("b")
    assert shop.deploy(shop.build())["parsed"] == 2
    (shop.project / "include" / "names.txt").write_text("a")
    assert shop.deploy(shop.build())["parsed"] == 0
    (shop.project / "include" / "shared.py").write_text("TAG = 'two'\n")
    assert shop.deploy(shop.build())["parsed"] == 20


def test_a_run_keeps_the_release_it_began_with(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    dag = f"{shop.name}_d00"
    shop.database.airflow("dags", "trigger", dag, "--run-id", "before")
    shop.write("d00", task="other")
    two = shop.build()
    shop.deploy(two)
    shop.database.airflow("dags", "trigger", dag, "--run-id", "after")

    rows = shop.database.query(
        "SELECT r.run_id, r.bundle_version, v.version_number, array_agg(t.task_id::text ORDER BY t.task_id) "
        "FROM dag_run r "
        "JOIN dag_version v ON v.id = r.created_dag_version_id "
        "JOIN task_instance t ON (t.dag_id, t.run_id) = (r.dag_id, r.run_id) "
        "WHERE r.dag_id = %s GROUP BY 1, 2, 3 ORDER BY 3",
        dag,
    )
    assert rows == [("before", one, 1, ["first", "last"]), ("after", two, 2, ["first", "other"])]


def test_a_release_that_does_not_load_touches_nothing(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    before = shop.versions()
    shop.write("d07", more="import no_such_module")
    bad = shop.build()

    state, detail = shop.wait(shop.ask(bad))

    assert state == "failed"
    assert [error["path"] for error in detail["errors"]] == ["dags/d07.py"]
    assert "no_such_module" in detail["errors"][0]["error"]
    assert (shop.live(), shop.versions()) == (one, before)
    errors = "SELECT filename FROM import_error WHERE bundle_name = %s"
    assert shop.database.query(errors, shop.name) == []

    assert shop.deploy(bad, allow_errors=True)["dags"]["errors"] == 1
    assert shop.database.query(errors, shop.name) == [("dags/d07.py",)]
    assert {name for name, row in shop.versions().items() if row[0] != bad} == {"d07"}
    broken = "SELECT dag_id FROM dag WHERE bundle_name = %s AND has_import_errors"
    assert shop.database.query(broken, shop.name) == [(f"{shop.name}_d07",)]
    (shop.project / "dags" / "d07.py").unlink()
    shop.deploy(shop.build())
    assert shop.database.query(broken, shop.name) == [], "a Dag whose file is gone should not run any more"
    (shop.project / "dags" / "d07.py").write_text("import no_such_module")
    shop.deploy(shop.build(), allow_errors=True)
    assert shop.database.query(broken, shop.name) == [], "the Dag was removed before"
    shop.deploy(one)
    assert shop.database.query(errors, shop.name) == []
    assert shop.versions() == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("import os; os._exit(7)", "exited with 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "was ended by SIGSEGV"),
        ("import time\nwhile True: time.sleep(1)", "20 s"),
    ],
)
def test_a_file_that_kills_or_hangs_its_parser_costs_itself_only(shop: Shop, more: str, said: str) -> None:
    shop.kill()
    if "while" in more:
        # Another file may take seconds on a busy machine.
        shop.start(AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT="20")
    else:
        shop.start()
    shop.write("d11", more=more)
    detail = shop.deploy(shop.build(), allow_errors=True)
    assert [error["path"] for error in detail["errors"]] == ["dags/d11.py"]
    assert said in detail["errors"][0]["error"]
    assert detail["dags"]["written"] == 19


def test_what_a_file_touches_while_it_is_parsed_is_noted(shop: Shop) -> None:
    shop.database.airflow("variables", "set", "colour", "green")
    connect = "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass"
    more = f"COLOUR = Variable.get('colour')\n{connect}"
    shop.write("d02", more=f"{more}\nassert COLOUR == 'green'")
    shop.deploy(shop.build())
    rows = shop.database.query(
        "SELECT result -> 'accesses' FROM airfleet.parsed WHERE result -> 'dags' ? %s", f"{shop.name}_d02"
    )
    source = (shop.project / "dags" / "d02.py").read_text().splitlines()
    found = [(one["kind"], one["what"], source[one["line"] - 1][:12]) for one in rows[0][0]]
    assert found == [("variable", "colour", "COLOUR = Var"), ("network", "127.0.0.1:9", "try: socket.")]


def test_killed_while_it_parses_it_goes_on_where_it_was(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    for number in range(20):
        shop.write(f"d{number:02}", pause=0.8, task="slow")
    two = shop.build()
    asked = shop.ask(two)
    wait_until(lambda: sum(shop.executed().values()) >= 30, "ten parsed files")

    shop.kill()

    done = sum(shop.executed().values())
    assert shop.state(asked) == "parsing"
    assert {row[0] for row in shop.versions().values()} == {one}
    shop.start()
    assert shop.wait(asked)[0] == "done"
    assert shop.versions() == {f"d{n:02}": (two, False, 1, two) for n in range(20)}
    assert sum(shop.executed().values()) < done + 20, "what was parsed before is not parsed again"


def test_killed_while_it_publishes_nothing_or_all_is_there(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    for number in range(20):
        shop.write(f"d{number:02}", task="other")
    two = shop.build()
    with psycopg.connect(shop.database.dsn) as blocker:
        blocker.execute("LOCK TABLE airfleet.pointer IN EXCLUSIVE MODE")
        asked = shop.ask(two)
        blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%airfleet.pointer%%'"
        wait_until(lambda: shop.database.query(blocked), "a publish before its last step")
        shop.kill()
        assert {row[0] for row in shop.versions().values()} == {one}
    assert shop.live() == one

    shop.start()

    assert shop.wait(asked)[0] == "done"
    assert shop.versions() == {f"d{n:02}": (two, False, 1, two) for n in range(20)}


def test_deployments_are_done_in_the_order_they_were_asked_for(shop: Shop) -> None:
    one = shop.build()
    shop.write("d00", task="other")
    two = shop.build()
    asked = [shop.ask(release) for release in (one, two, one, two, one)]
    assert [shop.wait(deployment)[0] for deployment in asked] == ["done"] * 5
    ended = shop.database.query("SELECT id FROM airfleet.deployment WHERE id = ANY(%s) ORDER BY finished_at", asked)
    assert [row[0] for row in ended] == asked
    assert shop.live() == one


def test_a_second_releaser_waits_until_the_first_is_gone(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    first, shop.releaser = shop.releaser, None
    shop.start()
    second = shop.releaser
    assert first
    assert second
    try:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: shop.database.query(waiting), "the second releaser")
    finally:
        first.kill()  # one that stayed would do the work of the tests that follow
        first.wait(PATIENCE_S)
    assert shop.deploy(one)["cached"] == 20
    assert second.is_running()


def test_only_files_with_a_clock_are_evaluated_again(shop: Shop) -> None:
    shop.write(
        "d04",
        more="AIRFLEET_REPARSE_EVERY = 1\nCOUNT = open(os.environ['EXECUTIONS']).read().count('d04')\n"
        f"MADE = DAG(f'{shop.name}_made_{{COUNT}}', schedule=None)",
    )
    shop.deploy(shop.build())
    wait_until(lambda: shop.executed()["d04"] >= 3, "two more evaluations")
    assert {count for name, count in shop.executed().items() if name != "d04"} == {1}
    made = "SELECT count(*) FROM dag WHERE bundle_name = %s AND dag_id LIKE %s"
    wait_until(lambda: shop.database.query(made, shop.name, "%made_3")[0][0] == 1, "the new Dag")


# It beats once in each turn of its loop, so by then it has gone through several, and through the interval of 1 s.
HAS_LOOKED = (
    "SELECT 1 FROM job WHERE job_type = 'DagProcessorJob' AND state = 'running' "
    "AND latest_heartbeat > start_date + interval '3 s'"
)


def test_the_dag_processor_parses_nothing_and_leaves_all_as_it_is(shop: Shop) -> None:
    shop.name = "shop"
    for name in list(shop.dags):
        shop.write(name)
    one = shop.build()
    shop.deploy(one)
    before = shop.versions()
    for interval in ("2147483647", "1"):
        environment = {
            **shop.database.environment,
            "EXECUTIONS": str(shop.executions),
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": interval,
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
        }
        log = (shop.project / f"processor{interval}.log").open("wb")
        processor = subprocess.Popen(
            [sys.executable, "-c", AIRFLOW, "dag-processor"],
            env=environment,
            cwd=shop.database.folder,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until(partial(shop.database.query, HAS_LOOKED), "the Dag processor's looks")
        finally:
            processor.terminate()
            processor.wait(PATIENCE_S)
        assert shop.versions() == before
        assert set(shop.executed().values()) == {1}
        rows = shop.database.query("SELECT active FROM dag_bundle WHERE name = 'shop'")
        assert rows == [(True,)]


HOSTILE = """
import gc, json, os, re
from pathlib import Path

stolen = {}


def attempt(what):
    def run(function):
        try:
            stolen[what] = str(function())
        except BaseException as error:
            stolen[what] = f"REFUSED {type(error).__name__}"
    return run


@attempt("orm")
def _():
    from airflow.models import Variable as Stored
    from airflow.utils.session import create_session
    with create_session() as session:
        return session.query(Stored).all()


@attempt("engine")
def _():
    from airflow import settings
    return settings.engine.connect()


@attempt("poison")
def _():
    from airfleet_provider.compat.calls import metadata_db
    with metadata_db.open_session() as session:
        session.connection().exec_driver_sql("DELETE FROM airfleet.parsed")


@attempt("poison by a connection")
def _():
    from airfleet_provider.compat.calls import metadata_db
    metadata_db.connect().cursor().execute("DELETE FROM airfleet.parsed")


@attempt("dsn")
def _():
    from airflow.configuration import conf
    return conf.get("database", "sql_alchemy_conn")


@attempt("fernet")
def _():
    from airflow.configuration import conf
    return conf.get("core", "fernet_key")


@attempt("write")
def _():
    from airflow.sdk import Variable as Own
    Own.set("planted", "1")


stolen["environment"] = json.dumps(dict(os.environ))
stolen["parent"] = Path(f"/proc/{os.getppid()}/environ").read_text()
links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
stolen["descriptors"] = [os.readlink(link) for link in links if os.path.lexists(link)]
memory = bytearray()
for line in Path("/proc/self/maps").read_text().splitlines():
    span, rights = line.split()[:2]
    begin, end = (int(part, 16) for part in span.split("-"))
    if rights.startswith("rw") and end - begin < 1 << 28:
        with open("/proc/self/mem", "rb", 0) as file:
            try:
                file.seek(begin)
                while begin < end and (part := file.read(min(1 << 20, end - begin))):
                    Path(os.environ["EXECUTIONS"] + ".memory").open("ab").write(part)
                    begin += len(part)
            except OSError:
                pass
stolen["variable"] = Variable.get("colour")
from airflow.sdk.bases.hook import BaseHook
stolen["connection"] = BaseHook.get_connection("shop").password
Path(os.environ["EXECUTIONS"] + ".stolen").write_text(json.dumps(stolen))
"""


def test_a_hostile_dag_file_finds_no_way_to_the_database(shop: Shop) -> None:
    shop.database.airflow("variables", "set", "colour", "green")
    shop.database.airflow("connections", "add", "shop", "--conn-uri", "http://ann:of-the-shop@example.com")
    shop.write("d02", more=HOSTILE)
    detail = shop.deploy(shop.build())
    assert detail["parsed"] == 20
    stolen = json.loads((shop.project / "executions.stolen").read_text())
    for what in ("orm", "engine", "poison", "poison by a connection", "write"):
        assert stolen[what].startswith("REFUSED"), (what, stolen[what])
    everything = json.dumps(stolen).encode() + (shop.project / "executions.memory").read_bytes()
    for secret in (PASSWORD, FERNET_KEY):
        assert secret.encode() not in everything
    assert (stolen["variable"], stolen["connection"]) == ("green", "of-the-shop")
    sockets = [target for target in stolen["descriptors"] if target.startswith("socket:")]
    assert len(sockets) == 1, "its own channel, and none to the database"
    assert shop.database.query("SELECT count(*) FROM airfleet.parsed")[0][0] >= 20
    accesses = "SELECT result -> 'accesses' FROM airfleet.parsed WHERE result -> 'dags' ? %s"
    ((noted,),) = shop.database.query(accesses, f"{shop.name}_d02")
    assert {"database", "variable", "connection"} <= {one["kind"] for one in noted}


def test_a_file_that_ends_the_parser_itself_costs_itself_only(shop: Shop) -> None:
    shop.write("d11", more="import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    detail = shop.deploy(shop.build(), allow_errors=True)
    assert [error["path"] for error in detail["errors"]] == ["dags/d11.py"]
    assert "was ended" in detail["errors"][0]["error"]
    assert detail["dags"]["written"] == 19
