"""What the command line says of an error."""

from __future__ import annotations

import pytest

from airfleet.cli import main
from airfleet.errors import UsageError


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
