"""What the log agent makes of a line: where it came from, its level, and no secret."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet_provider.log_index.lines import LineOrigin
from airfleet_provider.log_index.store import read_whole
from log_hosts import TRY, LogHost, make_event


def test_a_line_of_a_task_is_found_with_its_try_and_host(host: LogHost) -> None:
    host.print("loaded 17 rows", relative="dag_id=sales/run_id=a:1+00/task_id=load/map_index=3/attempt=2.log")
    host.take()
    [hit] = host.search("loaded")
    own = hit.origin
    assert (own.dag, own.run, own.task, own.map_index, own.try_number) == ("sales", "a:1+00", "load", 3, 2)
    assert (own.host, own.component, hit.level) == ("host1", "task", "info")


def test_a_line_of_a_component_is_found_with_the_time_and_level_that_it_says(host: LogHost) -> None:
    host.write("scheduler.log", "2026-11-29T05:27:58.165316Z [warning  ] the pool is full [airflow.jobs] loc=a.py:1")
    host.write("postgres.log", "2026-11-29 05:27:58.992 UTC [28773] @ FATAL:  the database is starting up")
    host.take()
    [pool] = host.search("pool", component="scheduler")
    assert (pool.level, pool.at % 1_000_000) == ("warning", 165316)
    [fatal] = host.search(levels=("critical",))
    assert fatal.origin.component == "postgres"


def test_a_traceback_in_a_component_is_an_error_as_a_whole(host: LogHost) -> None:
    lines = ("2026-11-29T05:27:58Z [info     ] up [a]", "Traceback (most recent call last):", '  File "x.py", line 1')
    host.write("triggerer.log", *lines, "KeyError: 'rows'", "2026-11-29T05:27:59Z [info     ] on [a]")
    host.take()
    assert [hit.text for hit in host.search(levels=("error",))] == [lines[1], lines[2], "KeyError: 'rows'"]


def test_standard_error_of_a_task_is_no_error_unless_it_says_so(host: LogHost) -> None:
    for event in ("50%|#####     |", "WARNING: old API", "ERROR: disk full", "Traceback (most recent call last):"):
        host.print(event, level="error", logger="task.stderr")
    host.print("it broke", level="error")
    host.take()
    found = sorted((hit.text.partition(":")[0], hit.level) for hit in host.search())
    assert found == [
        ("50%|#####     |", "info"),
        ("ERROR", "error"),
        ("Traceback (most recent call last)", "error"),
        ("WARNING", "warning"),
        ("it broke", "error"),
    ]


def test_an_exception_is_found_by_its_message_and_its_frames(host: LogHost) -> None:
    detail = [{"exc_type": "ValueError", "exc_value": "no price", "frames": [{"filename": "/x/load.py", "lineno": 4}]}]
    host.write(f"tasks/{TRY}", make_event("Task failed with exception", "error", error_detail=detail))
    host.take()
    [hit] = host.search('"no price" load.py')
    assert hit.text.splitlines()[1] == "ValueError: no price"


def test_a_very_long_line_is_cut_visibly_and_the_next_is_whole(host: LogHost) -> None:
    host.print("y" * 1_000_000, "after it")
    host.write("worker.log", "z" * 100_000, "after that")
    host.take()
    assert host.texts("after") == ["after it", "after that"]
    assert all("airfleet cut" in hit.text for hit in host.search() if len(hit.text) > 20_000)
    assert max(len(text) for text in host.texts()) < 40_000


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://app:{}@db:5432/x",
        "Authorization: Bearer {}",
        "password={}",
        '{{"password": "{}"}}',
        "PASSWD: {} x",
        "AWS_SECRET_ACCESS_KEY={}",
        '{{"aws_secret_access_key": "{}"}}',
        "client_secret={}&scope=x",
        "token={}",
        "X-Api-Key: {}",
        "Authorization: Token {}",
        "{{'Authorization': 'Token {}'}}",
        "FERNET_KEY={}",
        'password="correct horse {} staple"',
        "password=b'correct horse {} staple'",
        r"{{\"password\": \"a \\\" {}\"}}",
        "postgresql://app:p@ss/{}@db:5432/x",
        "postgresql://app:{}/p@ss@db:5432/x",
        "postgresql://app:p@{}@db:5432/x",
    ],
)
def test_a_secret_is_not_kept(host: LogHost, secret: str) -> None:
    host.write("worker.log", f"connecting: {secret.format('hunter22')} now")
    host.print(f"connecting: {secret.format('hunter22')} now")
    host.take()
    assert len(host.search("connecting")) == 2
    assert not host.search("hunter22")
    assert not any("hunter22" in hit.text for hit in host.search())


def test_a_secret_under_its_name_in_a_line_of_json_is_not_kept_and_the_line_stays_one(host: LogHost) -> None:
    host.write(f"tasks/{TRY}", make_event("connecting", api_key="hunter22", more={"client_secret": "a, hunter22"}))
    host.print("enter password:", 'token="hunter22 ')
    host.take()
    assert host.texts() == ["connecting", "enter password:", 'token="***']
    [source] = host.reader.find_sources(host.search()[0].origin)
    lines = [json.loads(line) for line in read_whole(host.reader, host.search()[0].origin, source)]
    assert [line["logger"] for line in lines] == ["task"] * 3
    assert "hunter22" not in str(lines)


def test_a_secret_at_the_place_where_a_line_is_cut_is_hidden(host: LogHost) -> None:
    host.write("worker.log", f"{'x ' * 16_370} postgresql://app:hunter22hunter22@db/x {'y ' * 100}")
    host.take()
    [text] = host.texts()
    assert "airfleet cut" in text
    assert "hunt" not in text


POISON = (
    r'{"timestamp":"2026-11-29T04:36:13Z","level":"info","event":"half \ud800 poison"}',
    "0001-01-01 00:00:00 poison",
    "9999-12-31 23:59:59-12:00 poison",
    "9998-01-01 00:00:00+00:00 poison",
    '{"event":' + "[" * 900 + "]" * 900 + ',"x":"poison"}',
)


def test_no_line_stops_the_index_or_a_search(host: LogHost) -> None:
    host.write(f"tasks/{TRY}", *POISON)
    host.print("afterwards")
    host.take()
    found = host.search()
    assert len(found) == len(POISON) + 1
    assert all(2000 < datetime.fromtimestamp(hit.at / 1e6, UTC).year < 2100 for hit in found), (
        "no moment that cannot be"
    )
    assert all(json.dumps(hit.to_json()) and hit.text.encode() for hit in found)
    assert host.texts("afterwards") == ["afterwards"]


def test_a_rule_of_the_user_hides_what_it_matches(tmp_path: Path) -> None:
    host = LogHost(tmp_path, redact=[r"IBAN (\w+)"])
    host.print("paid to IBAN DE02120300000000202051")
    host.take()
    assert host.texts() == ["paid to IBAN ***"]


def test_the_log_of_a_trigger_belongs_to_its_try(host: LogHost) -> None:
    host.print("runs")
    host.print("waits", relative=f"{TRY}.trigger.7.log")
    host.take()
    attempt = LineOrigin("", "task", "sales", "load", "manual__1", -1, 1)
    sources = host.reader.find_sources(attempt)
    lines = [json.loads(line)["event"] for source in sources for line in read_whole(host.reader, attempt, source)]
    assert sorted(lines) == ["runs", "waits"]


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-29T07:54:08Z [error    ] ERROR: disk nearly full        [task.stderr]",
        "2026-11-29 07:54:11+00:00 [info     ] loaded [shop.sales] dag_id=sales task_id=load ti_id=01a2 try_number=1",
    ],
)
def test_what_a_scheduler_prints_of_its_tasks_is_found_once(host: LogHost, line: str) -> None:
    host.write("scheduler.log", line, "2026-11-29T07:54:08Z [info     ] Task finished [supervisor] task_id=load")
    host.take()
    assert [hit.text.split()[3:5] for hit in host.search()] == [["Task", "finished"]]


@pytest.mark.parametrize("part", ["#", "a.", "x ", "://a:", "password=", 'token="', "secret='\\", "[", "\\", "0"])
def test_no_line_takes_long(host: LogHost, part: str) -> None:
    long = part * (120_000 // len(part))
    host.write("worker.log", long)
    host.print(long, level="error", logger="task.stderr")
    begun = time.process_time()
    host.take()
    assert time.process_time() - begun < 2
    assert len(host.search()) == 2
