"""Who hands over the events that tasks wrote to files, and what they cannot do with it, on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest

from airfleet_provider.contract.task_records import MOST_FILE_BYTES, REPORTED_AT, RecordKind, encode
from airfleet_provider.execution_api.record_reports import MOST_EVENT_BYTES, MOST_EVENTS
from airfleet_provider.task_records.writer import RecordWriter
from lineage_platform import LineagePlatform, TaskApiClient, leave_records, make_event


def test_an_attempt_hands_over_only_its_own_records_and_those_of_its_host(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, neighbour = platform.add_attempt(host="w1"), platform.add_attempt(host="w1", task="other")
    stranger = platform.add_attempt(host="w2")
    platform.emit(victim, monkeypatch, make_event())
    platform.hand_over(stranger, stranger).finish()
    assert not platform.query("SELECT * FROM airfleet.lineage_event"), "another host speaks for it"
    platform.emit(victim, monkeypatch, make_event())
    platform.hand_over(neighbour, neighbour).finish()
    assert len(platform.query("SELECT * FROM airfleet.lineage_event")) == 1


def test_a_task_that_works_for_long_keeps_its_file_until_it_has_ended(platform: LineagePlatform) -> None:
    """An attempt that ends meanwhile on the same host hands over what is left, and a quiet file is not left."""
    running = [platform.add_attempt(task=f"long{number}") for number in range(4)]
    writers = [RecordWriter(platform.hand_over(one).prepare()) for one in running]
    for writer in writers:
        assert writer.write(RecordKind.OPENLINEAGE, {"at": "the start"})
    left, other = platform.add_attempt(task="left"), platform.add_attempt(task="short")
    leave_records(platform, left)
    platform.hand_over(other).finish()
    [found] = platform.query("SELECT instance::text FROM airfleet.lineage_event")
    assert found["instance"] == left, "what runs keeps nothing back that was left"
    assert writers[0].write(RecordKind.OPENLINEAGE, {"at": "the end"})
    platform.hand_over(running[0]).finish()
    platform.hand_over(running[0]).finish()
    rows = platform.query("SELECT body FROM airfleet.lineage_event WHERE instance = %s ORDER BY place", running[0])
    assert [json.loads(one["body"])["at"] for one in rows] == ["the start", "the end"]


def test_an_attempt_that_failed_and_is_tried_again_loses_nothing_of_its_neighbours(platform: LineagePlatform) -> None:
    left, sender = platform.add_attempt(task="left"), platform.add_attempt(task="again")
    path = leave_records(platform, left)
    platform.query("DELETE FROM task_instance WHERE id = %s", sender)
    platform.hand_over(sender).finish()
    assert path.exists(), "nobody knows the sender"
    # Airflow gives the next try another id, before the supervisor of this one ends.
    platform.query("INSERT INTO task_instance_history VALUES (%s, 'sales', 'r1', 'again', 'w1')", sender)
    platform.hand_over(sender).finish()
    assert not path.exists()
    assert len(platform.query("SELECT * FROM airfleet.lineage_event")) == 1


def test_what_a_task_puts_into_the_folder_keeps_no_other_record_back(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance = platform.add_attempt()
    platform.emit(instance, monkeypatch, make_event())
    odd = [platform.folder / f"{instance}.{number:032x}.records" for number in range(3)]
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    odd[0].symlink_to(secret)
    os.mkfifo(odd[1])
    odd[2].mkdir()
    platform.hand_over(instance).finish()
    assert len(platform.query("SELECT * FROM airfleet.lineage_event")) == 1
    assert secret.exists()


def test_a_host_says_how_many_files_earlier_attempts_have_left(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its supervisors see the folder of a host, so an alert knows of it what they say."""
    running = platform.add_attempt(task="long")
    writer = RecordWriter(platform.hand_over(running).prepare())
    assert writer.write(RecordKind.OPENLINEAGE, {"at": "the start"})
    for number in range(5):
        leave_records(platform, platform.add_attempt(task=f"left{number}"))
    told = "SELECT host, files, oldest_s FROM airfleet.record_spool"
    for waiting in (2, 0):
        sender = platform.add_attempt(task="next")
        platform.emit(sender, monkeypatch, make_event())
        platform.hand_over(sender).finish()
        [spool] = platform.query(told)
        assert (spool["host"], spool["files"]) == ("w1", waiting), "what a task still writes to is not left"
        assert (spool["oldest_s"] >= 3000) is (waiting > 0)
    platform.query("UPDATE airfleet.record_spool SET told_at = now() - interval '4 days'")
    platform.turn()
    assert not platform.query(told), "a host that is gone is no alert for ever"


def test_an_attempt_that_hands_over_events_without_end_fills_no_database(platform: LineagePlatform) -> None:
    """A task has the token of its attempt, and needs no supervisor to use it."""
    for letters, count in ((100_000, 10), (0, 5000)):
        instance = platform.add_attempt()
        client = TaskApiClient(platform.dsn, instance)
        for _ in range(12):
            headers = {"Airfleet-Instance": instance, "Airfleet-File": uuid.uuid4().hex}
            content = encode(RecordKind.OPENLINEAGE, {"job": "x" * letters}) * count
            request = {"method": "PUT", "path": REPORTED_AT, "headers": headers, "content": content}
            assert client.send(request).status == 204
        [kept] = platform.query(
            "SELECT count(*) AS rows, sum(octet_length(body)) AS size FROM airfleet.lineage_event WHERE instance = %s",
            instance,
        )
        assert 0 < kept["rows"] <= MOST_EVENTS
        assert kept["size"] < MOST_EVENT_BYTES + MOST_FILE_BYTES
    assert platform.query("SELECT amount FROM airfleet.record_total WHERE kind = 'cut'")


def test_the_path_is_that_of_the_api() -> None:
    assert REPORTED_AT == "/execution/airfleet/records"
