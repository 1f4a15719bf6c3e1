"""The built files of the Fleet pages. They hold no data, so nobody has to be logged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"


class Files(StaticFiles):
    """Files that a browser keeps, and asks at each use whether they have changed."""

    def file_response(self, *words: Any, **named: Any) -> Response:  # noqa: ANN401 - as the base class
        response = super().file_response(*words, **named)
        response.headers["Cache-Control"] = "no-cache"
        return response


app = Files(directory=FOLDER)
