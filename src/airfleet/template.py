"""Files and pages that airfleet writes: each is a Jinja2 template, `NAME.j2`, beside the module that fills it in."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def render_template(package: str, name: str, /, **values: object) -> str:
    """Return the text of the template `NAME.j2` of a package with these values in it.

    Only in a page, `NAME.html.j2`, are values escaped. Raises jinja2.UndefinedError for a value that is not given.
    """
    return _make_environment(package).get_template(f"{name}.j2").render(values)


@functools.cache
def _make_environment(package: str) -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - most commands write nothing

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
