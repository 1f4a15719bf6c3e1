"""Files and pages that airfleet writes."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from airfleet.template import render_template


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with two templates."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "__init__.py").touch()
    for name in ("settings.cfg", "page.html"):
        (tmp_path / "templates" / f"{name}.j2").write_text("{% if name %}\nname = {{ name }}\n{% endif %}\nend\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "templates"


def test_only_pages_are_escaped(templates: str) -> None:
    assert render_template(templates, "settings.cfg", name="<a & b>") == "name = <a & b>\nend\n"
    assert render_template(templates, "page.html", name="<a & b>") == "name = &lt;a &amp; b&gt;\nend\n"


def test_a_value_that_is_not_given_is_an_error(templates: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="name"):
        render_template(templates, "settings.cfg")
