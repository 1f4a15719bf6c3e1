"""What `airfleet logs search` and `airfleet errors` print."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from airfleet_provider.compat.calls import config
from airfleet_provider.log_index.signatures import group
from airfleet_provider.log_index.store import LogQuery
from airfleet_provider.log_search import command
from log_hosts import LogHost


@pytest.fixture
def host(tmp_path: Path) -> LogHost:
    return LogHost(tmp_path)


def test_a_span_is_counted_back_from_now() -> None:
    assert command.read_since("2h", 10_000.0) == 2_800_000_000
    assert command.read_since("1970-01-01T00:00:05", 10_000.0) == 5_000_000
    with pytest.raises(SystemExit, match=r"5x.* 30m, 2h or 7d"):
        command.read_since("5x", 0.0)


def test_a_level_means_all_above_it_too() -> None:
    assert command.list_levels("warning") == ("warning", "error", "critical")
    assert command.list_levels(None) == ()


def test_following_shows_each_new_line_once(host: LogHost) -> None:
    host.print("before")
    host.take()
    shown = host.reader.search(LogQuery(), 10)
    news = iter([["one", "two"], [], ["three"], [], ["end"]])

    def sleep(seconds: float) -> None:
        host.print(*next(news))
        host.take()

    # The lines say that they were written at this moment.
    found = command.follow(host.reader, LogQuery(), shown, lambda: 1_795_926_973.0, sleep)
    assert [hit.text for hit in itertools.takewhile(lambda hit: hit.text != "end", found)] == ["one", "two", "three"]


def test_a_group_says_how_many_fail_and_since_which_release(host: LogHost) -> None:
    for number, dag in enumerate(("sales", "sales", "orders")):
        relative = f"dag_id={dag}/run_id=r{number}/task_id=check/attempt=1.log"
        host.print(f"no price in row {number}", relative=relative, level="error")
    host.take()
    [one] = group(host.search())
    told = command.tell_group(one, {(one.first.origin.dag, one.first.origin.run): "0123456789abcdef"})
    assert told.splitlines()[0].startswith("2 tasks of 2 Dags fail with this line in 3 tries since 2026-11-29 04:36, ")
    assert "release 0123456789ab;" in told
    assert "orders.check, sales.check" in told


def test_what_a_task_writes_cannot_steer_the_terminal(host: LogHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.print("red \x1b[31m alert\nsecond \x07 line")
    host.take()
    for hit in host.search():
        command._write_text(hit)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "    second" in out


def test_json_and_the_names_of_components_cannot_steer_the_terminal(
    host: LogHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.print("red \x9b31m alert \u202e")
    host.write("a\x1b[31m.log", "ERROR: broken")
    host.take()
    for hit in host.search():
        command._write_json(hit)
    print(*(command.tell_group(one, {}) for one in group(host.search(levels=("error",)))), sep="\n")
    out = capsys.readouterr().out
    assert "broken" in out
    assert not set(out) & {"\x1b", "\x9b", "\u202e"}


def test_no_index_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        config, "read_setting", lambda section, key: str(tmp_path / "none") if key == "log_index" else ""
    )
    with pytest.raises(SystemExit, match="airfleet up"):
        command.open_index()


def test_an_empty_index_has_no_line(tmp_path: Path) -> None:
    assert LogHost(tmp_path).reader.search(LogQuery(text="x"), 5).hits == []
