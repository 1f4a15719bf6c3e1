"""What the command line says of an error."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from airfleet.cli import main
from airfleet.errors import UsageError
from command_line import invoke, run


def test_an_error_sends_nothing_to_the_terminal_that_it_would_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*, standalone_mode: bool) -> None:
        assert not standalone_mode
        # Airflow lets an asset have this name.
        raise UsageError("there is no asset 'sale'", hint="one of sales\x1b]52;c;cm0gLXJmIH4K\x07,\r\n\tprices")

    monkeypatch.setattr(main, "cli", fail)
    with pytest.raises(SystemExit) as found:
        main.main()
    assert found.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith("hint: one of sales\\x1b]52;c;cm0gLXJmIH4K\\x07,\\r\n\tprices\n")


@pytest.mark.parametrize("verb", ["access", "migrate", "alerts", "workers"])
def test_the_help_of_a_group_has_the_whole_first_sentence_of_each_command(verb: str) -> None:
    said = invoke(verb, "--help").output
    assert said.count(".\n") > 2
    assert "...\n" not in said.split("Commands:")[1]


def test_a_command_that_has_a_short_help_keeps_it() -> None:
    one = click.Command("one", help="First. Second.", short_help="Short.")
    two = click.Command("two", help="The first\nsentence. The second.\n\nMore.")
    main.sum_up(click.Group("both", commands=[one, two]))
    assert (one.short_help, two.short_help) == ("Short.", "The first sentence.")


def test_a_command_that_takes_the_project_as_a_word_says_so(tmp_path: Path) -> None:
    done = run("down", "--project", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("\nhint: airfleet down PROJECT\n")


def test_a_command_that_takes_no_project_has_no_hint_about_it(tmp_path: Path) -> None:
    assert "hint" not in run("docs", "--project", str(tmp_path), cwd=tmp_path).stderr


@pytest.mark.parametrize("reason", ["half of a letter \udcc3", "\x1b]52;c;cm0gLXJmIH4K\x07"], ids=ascii)
def test_a_text_that_no_database_keeps_is_refused_before_anything_happens(tmp_path: Path, reason: str) -> None:
    done = run("breaker", "close", "crm", "--reason", reason, "--project", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "reason: the text has control characters or is not UTF-8" in done.stderr
    assert "hint: " in done.stderr
