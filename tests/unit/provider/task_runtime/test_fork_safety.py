"""Which Dag files share one load, and which warm processes are kept."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airfleet_provider.processes import fd_messages
from airfleet_provider.task_runtime import eviction, fork_safety, load_audit
from airfleet_provider.task_runtime.eviction import ZygoteLimits, ZygoteUsage
from airfleet_provider.task_runtime.pool_key import PoolKey

SHARED = [
    "from airflow.sdk import dag, task\n\n@task\ndef one():\n    return datetime.now()",
    "def helper():\n    return time.time()",
    "x = time(9, 30)  # datetime.time, a constant",
    "AIRFLEET_WARM_START = True",
    "keep = lambda: datetime.now()",
    "class Operator:\n    def execute(self, context):\n        return pendulum.now()",
]
OWN = [
    ("AIRFLEET_WARM_START = False", "AIRFLEET_WARM_START"),
    ("AIRFLEET_REPARSE_EVERY = 300", "AIRFLEET_REPARSE_EVERY"),
    ("TODAY = date.today()", "today()"),
    ("from time import time\nSTARTED = time()", "time()"),
    ("@dag(start_date=pendulum.now())\ndef one(): ...", "now()"),
    ("@dag\ndef one():\n    work(datetime.now())", "now()"),
    ("def one(day=date.today()): ...", "today()"),
    ("class Settings:\n    at = datetime.utcnow()", "utcnow()"),
    ("if get_parsing_context().dag_id: ...", "get_parsing_context()"),
    ("def broken(:", "does not load"),
]


@pytest.mark.parametrize("source", SHARED)
def test_a_file_whose_load_is_the_same_for_every_task_is_shared(source: str) -> None:
    assert fork_safety.find_objection(source) is None


@pytest.mark.parametrize(("source", "reason"), OWN)
def test_a_file_whose_load_belongs_to_one_task_is_not(source: str, reason: str) -> None:
    assert reason in (fork_safety.find_objection(source) or "")


def make(*used: float, memory: int = 0) -> dict[PoolKey, ZygoteUsage]:
    return {
        PoolKey("b", None, str(index)): ZygoteUsage(born=0, used=one, memory_bytes=memory << 20)
        for index, one in enumerate(used)
    }


def list_paths(records: dict[PoolKey, ZygoteUsage], chosen: ZygoteLimits, now: float = 100) -> list[str]:
    return [pool_key.path for pool_key in eviction.list_surplus(records, chosen, now)]


def test_the_least_recently_used_goes_first() -> None:
    assert list_paths(make(3, 1, 2), ZygoteLimits(count=2)) == ["1"]
    assert list_paths(make(3, 1, 2), ZygoteLimits(count=3)) == []


def test_memory_bounds_them_but_one_always_stays() -> None:
    assert list_paths(make(3, 1, 2, memory=600), ZygoteLimits(memory_mib=1300)) == ["1"]
    assert list_paths(make(3, 1, 2, memory=600), ZygoteLimits(memory_mib=100)) == ["1", "2"]


def test_an_old_or_much_used_one_goes_whatever_there_is_room_for() -> None:
    assert list_paths(make(99), ZygoteLimits(age_s=100)) == ["0"]
    records = make(99, 98)
    records[PoolKey("b", None, "1")].uses = 7
    assert list_paths(records, ZygoteLimits(uses=7)) == ["1"]


def test_what_was_read_is_fresh_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "tables.yaml"
    missing = str(tmp_path / "missing")
    file.write_text("a")
    watched = [(str(file), load_audit.fingerprint(str(file))), (missing, None)]
    assert load_audit.is_fresh(watched)
    Path(missing).touch()
    assert not load_audit.is_fresh(watched)
    Path(missing).unlink()
    file.write_text("ab")
    assert not load_audit.is_fresh(watched)
    file.unlink()
    assert not load_audit.is_fresh(watched)


AUDITED = """
import json, sys
from airfleet_provider.task_runtime.load_audit import LoadAudit
one = LoadAudit()
one.begin()
{load}
one.end()
open({after!r})
print(json.dumps([one.find_objection(), [path for path, _ in one.list_watched()]]))
"""


def load(tmp_path: Path, code: str) -> list[Any]:
    """What an audit says in a process of its own, as an audit hook can never be removed from a process."""
    (tmp_path / "after").touch()
    script = AUDITED.format(load=code, after=str(tmp_path / "after"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    import json  # noqa: PLC0415

    return list(json.loads(done.stdout))


def test_a_load_is_watched_for_modules_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("open('table.csv').read()")
    (tmp_path / "table.csv").write_text("1")
    objection, watched = load(tmp_path, "import os; sys.path.insert(0, '.'); import helper; os.listdir('.')")
    assert objection is None
    assert sorted(Path(str(path)).name for path in list(watched)) == sorted(
        [
            "helper.py",
            "table.csv",
            tmp_path.name,
        ]
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import socket; kept = socket.socketpair()", "connections"),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
    ],
)
def test_what_a_fork_would_break_is_an_objection(tmp_path: Path, code: str, reason: str) -> None:
    assert reason in str(load(tmp_path, code)[0])


def test_the_threads_of_a_library_that_knows_about_forks_are_none(tmp_path: Path) -> None:
    assert load(tmp_path, "import numpy; numpy.ones((500, 500)) @ numpy.ones((500, 500))")[0] is None


def test_a_message_travels_whole_with_its_descriptors() -> None:
    ours, theirs = fd_messages.pair()
    given, taken = fd_messages.pair()
    fd_messages.send(ours, {"path": "a.py"}, [given.fileno()])
    message, (descriptor,) = fd_messages.receive(theirs)
    assert message == {"path": "a.py"}
    ours.close()
    assert fd_messages.receive(theirs) == (None, [])
    import socket  # noqa: PLC0415

    with socket.socket(fileno=descriptor) as copy:
        fd_messages.send(copy, {"exit": 0})
    assert fd_messages.receive(taken)[0] == {"exit": 0}
    for one in (theirs, given, taken):
        one.close()


def test_modules_of_the_project_are_seen_whatever_a_load_does_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "airfleet_test_one.py").write_text("import airfleet_test_two\n")
    (tmp_path / "airfleet_test_two.py").write_text("import sys\nsys.modules.pop('wave', None)\nimport wave\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("wave")
    seen = load_audit.LoadAudit()
    seen.begin()
    importlib.import_module("airfleet_test_one")
    seen.end()
    assert [Path(path).stem for path in seen.list_modules()] == ["airfleet_test_one", "airfleet_test_two"]
    assert load_audit.MARK not in sys.modules
