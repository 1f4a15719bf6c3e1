"""Which calls of a task the fast path answers, decided from a request's method, path and query. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from airfleet_provider.contract.text import one_line

TASK = re.compile(
    r"/execution/task-instances/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/"
    r"(run|state|end|heartbeat|rtif)"
)
XCOM = re.compile(r"/execution/xcoms/([^/]+)/([^/]+)/([^/]+)/([^/]+)")
# `end` is not Airflow's: `state` and `rtif` in one call.
METHODS = {"run": "PATCH", "state": "PATCH", "end": "PATCH", "heartbeat": "PUT", "rtif": "PUT"}
XCOM_METHODS = {"GET": "pull", "POST": "push"}
# The query parameters that the fast path accepts, and the form of their values.
PULLED = {"map_index": re.compile(r"\d{1,9}")}
PUSHED = {**PULLED, "dag_result": re.compile("true")}


@dataclass(frozen=True, slots=True)
class CallRoute:
    """One call: its name, the task instance whose token it needs (empty for any), and the values of path and query."""

    name: str
    instance: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """The subject of the call for a log, escaped, because the client chose its text."""
        return one_line(self.instance or "{dag_id} {run_id} {task_id} {key} {map_index}".format_map(self.words))


def find_call(method: str, path: str, query: str) -> CallRoute | None:
    """Return the call of a request, or None if Airflow must answer the request."""
    if found := TASK.fullmatch(path):
        is_known = METHODS[found[2]] == method and not query
        return CallRoute(found[2], found[1], {"id": found[1]}) if is_known else None
    if method in XCOM_METHODS and (found := XCOM.fullmatch(path)):
        name = XCOM_METHODS[method]
        said = parse_qsl(query, keep_blank_values=True)
        allowed = PULLED if name == "pull" else PUSHED
        if len(dict(said)) < len(said) or any(not _is_plain(allowed, *one) for one in said):
            return None
        more = dict(said)
        where = dict(zip(("dag_id", "run_id", "task_id", "key"), found.groups(), strict=True))
        index = int(more.get("map_index", -1))
        return CallRoute(name, words={**where, "map_index": index, "dag_result": "dag_result" in more})
    return None


def _is_plain(allowed: Mapping[str, re.Pattern[str]], name: str, value: str) -> bool:
    return name in allowed and bool(allowed[name].fullmatch(value))
