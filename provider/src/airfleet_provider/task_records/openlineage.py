"""A transport of OpenLineage's client that writes to the files of this host: `[openlineage] transport` names it.

Of an event, what nobody reads here is left out, and so is what may hold a secret: source code, the text of SQL, stack
traces, arguments of operators. OpenLineage's client loads this module, in processes of tasks only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from openlineage.client.serde import Serde
from openlineage.client.transport.transport import Config, Transport

from airfleet_provider.contract.redaction import Redaction
from airfleet_provider.contract.task_records import RecordKind, is_of_task
from airfleet_provider.task_records.writer import RecordWriter

# The facets that are kept, by what they are of.
RUN_FACETS = frozenset({"parent", "nominalTime", "processing_engine", "errorMessage", "tags"})
JOB_FACETS = frozenset({"jobType", "documentation", "ownership", "tags"})
DATASET_FACETS = frozenset(
    {
        *("schema", "columnLineage", "dataSource", "documentation", "ownership", "lifecycleStateChange", "symlinks"),
        *("storage", "version", "outputStatistics", "inputStatistics", "dataQualityMetrics", "catalog", "tags"),
    }
)
LONGEST_TEXT = 2000
# A query of an address, and the login in it, are of no dataset.
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")

Json = dict[str, Any]


class RecordTransport(Transport):
    """Writes each event as a record. It opens no connection."""

    kind = "airfleet"
    config_class = Config

    def __init__(self, config: Config) -> None:
        self._writer = RecordWriter()
        self._redaction = Redaction()

    def emit(self, event: Any) -> None:  # noqa: ANN401 - an event of any version of the specification
        """Append an event. That of the start of a task is left out: `lineage_events` makes it from that of the end."""
        if not self._writer.is_on:
            return
        slim = self.slim(event)
        if slim.get("eventType") == "START" and is_of_task(slim):
            return
        text = json.dumps(slim, separators=(",", ":"))
        hidden = self._redaction.hide(text)
        self.keep(slim if hidden == text else json.loads(hidden))

    def slim(self, event: Any) -> Json:  # noqa: ANN401 - an event of any version of the specification
        """Return what is kept of an event."""
        return slim_event(json.loads(Serde.to_json(event)))

    def keep(self, slim: Json) -> None:
        """Append what is kept of an event, which has no secret."""
        self._writer.write(RecordKind.OPENLINEAGE, slim)


def slim_event(event: Mapping[str, Any]) -> Json:
    """Return an event without what is not kept."""
    run, job = _get(event, "run"), _get(event, "job")
    slim: Json = {key: event[key] for key in ("eventType", "eventTime", "producer", "schemaURL") if key in event}
    slim["run"] = {"runId": run.get("runId", ""), "facets": _pick(run, RUN_FACETS)}
    slim["job"] = {
        "namespace": _clean(job.get("namespace", "")),
        "name": str(job.get("name", "")),
        "facets": _pick(job, JOB_FACETS),
    }
    for side, further in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        slim[side] = [_slim_dataset(one, further) for one in event.get(side) or () if isinstance(one, dict)]
    return slim


def _slim_dataset(dataset: Mapping[str, Any], further: str) -> Json:
    found: Json = {
        "namespace": _clean(dataset.get("namespace", "")),
        "name": _clean(dataset.get("name", "")),
        "facets": _pick(dataset, DATASET_FACETS),
    }
    if own := _pick(dataset, DATASET_FACETS, further):
        found[further] = own
    return found


def _pick(owner: Mapping[str, Any], names: frozenset[str], key: str = "facets") -> Json:
    facets = owner.get(key)
    found = {name: _shorten(one) for name, one in facets.items() if name in names} if isinstance(facets, dict) else {}
    if isinstance(error := found.get("errorMessage"), dict):
        error.pop("stackTrace", None)
    for lineage in [found.get("columnLineage")]:
        if isinstance(lineage, dict):
            for column in (lineage.get("fields") or {}).values():
                column.pop("transformationDescription", None)
    return found


def _shorten(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    if isinstance(value, str):
        return _clean(value[:LONGEST_TEXT])
    if isinstance(value, list):
        return [_shorten(one) for one in value]
    if isinstance(value, dict):
        return {name: _shorten(one) for name, one in value.items()}
    return value


def _clean(text: object) -> str:
    """Return an address without a login and without a query."""
    shown = _LOGIN.sub("", str(text))
    return shown.partition("?")[0] if "://" in shown and "\n" not in shown else shown


def _get(owner: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = owner.get(key)
    return found if isinstance(found, dict) else {}
