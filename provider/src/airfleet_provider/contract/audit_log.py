"""The audit log: what an entry holds, how rows are chained by hashes, and how a chain is verified (ADR 57). No I/O."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

# What the first row of all follows.
BEGINNING = "0" * 64
# The action of the entry that records which rows were removed after they were archived.
CUT = "audit cut"
# An intent whose request did not end within this time: its process has died. No proxy waits so long for an answer.
INTENT_ENDS_S = 900
# The word before the head in a line of a log.
HEAD_LINE = "audit head "
_LONGEST = {"actor": 250, "address": 100, "action": 1000}


class AuditSource(StrEnum):
    """Which way a change came in."""

    API = "api"  # Airflow's UI and REST API, and the Fleet pages
    TASK = "task"  # the execution API
    AIRFLOW = "airflow"  # Airflow's command line
    AIRFLEET = "airfleet"  # the command line of airfleet


class AuditOutcome(StrEnum):
    """What became of a change."""

    BEGUN = "begun"  # a command of airfleet; a second row has its end
    DONE = "done"
    REFUSED = "refused"  # the login or the rights did not suffice
    FAILED = "failed"
    UNKNOWN = "unknown"  # the process died before the outcome was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, from where, and what became of it.

    `before` and `after` are SHA-256 hashes of the row that the request changes, and `body` is a keyed one of what was
    sent.
    """

    id: str
    source: AuditSource
    actor: str
    action: str
    outcome: AuditOutcome
    address: str = ""
    status: int | None = None
    before: str = ""
    after: str = ""
    body: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the entry as a JSON object, without its id and without what it does not know."""
        fields = {name: value for name, value in asdict(self).items() if value not in ("", None, {}) and name != "id"}
        words = {name: value[: _LONGEST[name]] if name in _LONGEST else value for name, value in fields.items()}
        return json.dumps(clean(words), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def clean(value: object) -> object:
    """Return a value of JSON without what PostgreSQL does not store: NUL, and surrogates without their partner."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
        case dict():
            return {clean(key): clean(one) for key, one in value.items()}
        case list() | tuple():
            return [clean(one) for one in value]
        case _:
            return value


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `airfleet.audit`."""

    number: int
    recorded_at: datetime
    id: str
    entry: str
    previous: str
    hash: str

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Row:
        """Return the row of `to_json`, or of the database.

        Raises:
            ValueError: It is no row.
        """
        try:
            moment = body["recorded_at"]
            at = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
            words = (str(body[name]) for name in ("id", "entry", "previous", "hash"))
            return cls(int(body["number"]), at, *words)
        except (KeyError, TypeError) as error:
            raise ValueError(f"is no row of the audit log: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the row with all that its hash is made of."""
        return {**asdict(self), "recorded_at": format_moment(self.recorded_at)}

    def compute_hash(self) -> str:
        """Return the hash that the row must have."""
        parts = (self.previous, str(self.number), format_moment(self.recorded_at), self.id, self.entry)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def fields(self) -> dict[str, Any]:
        """Return what the entry says, and nothing if somebody broke it."""
        try:
            found = json.loads(self.entry)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def format_moment(moment: datetime) -> str:
    """Return a moment as the hash has it: UTC with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Head:
    """The number and hash of the last row at a moment; signed, if `signature` is not empty."""

    number: int
    hash: str
    at: str
    key: str = ""
    signature: str = ""

    def sign(self, key: str) -> Head:
        """Return the head with a signature."""
        return Head(self.number, self.hash, self.at, name_key(key), self._compute(key))

    def is_signed_by(self, key: str) -> bool:
        """Return whether this key signed the head."""
        return hmac.compare_digest(self._compute(key), self.signature)

    def to_line(self) -> str:
        """Return the head as one line of a file."""
        return json.dumps(asdict(self), sort_keys=True)

    def _compute(self, key: str) -> str:
        return hmac.new(key.encode(), f"{self.number}\n{self.hash}\n{self.at}".encode(), hashlib.sha256).hexdigest()


def derive_key(jwt_secret: str) -> str:
    """Return the key that signs heads. Who has it cannot find the secret that signs tokens."""
    return hmac.new(jwt_secret.encode(), b"airfleet heads of the audit log", hashlib.sha256).hexdigest()


def derive_body_key(jwt_secret: str) -> bytes:
    """Return the key for hashes of what was sent."""
    return hmac.new(jwt_secret.encode(), b"airfleet bodies in the audit log", hashlib.sha256).digest()


def name_key(key: str) -> str:
    """Return a short name of a key, which does not reveal it."""
    return hashlib.sha256(f"airfleet name of a key {key}".encode()).hexdigest()[:12]


def read_heads(lines: Iterable[str]) -> Iterator[Head]:
    """Yield the heads in the lines of a file or of the agents' log; other lines are skipped.

    The last line of a file may be cut off: the machine stopped while it was written.
    """
    for line in lines:
        text = line[line.find("{") :] if HEAD_LINE in line or line.startswith("{") else ""
        try:
            body = json.loads(text)
            yield Head(**{**body, "number": int(body["number"])})
        except (ValueError, TypeError, KeyError):
            continue


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """What is wrong with the chain, and the number of the first row that it is about."""

    number: int
    what: str


def verify(
    rows: Iterable[Row],
    head: Head | None,
    anchors: Iterable[Head],
    *,
    key: str = "",
    cuts: Collection[tuple[int, str]] | None = None,
) -> Iterator[ChainFinding]:
    """Yield what is wrong with the rows, which come in the order of their numbers.

    `head` is that of the database, and None for rows from a file. `anchors` are heads that were kept outside of it.
    Those that name `key` must be signed with it. Others are compared, too: a head can hide nothing. `cuts` are the
    numbers and hashes of the last rows that were removed, as they were kept outside of the database: who may write
    there can record a cut like any row. Without them, each recorded cut is believed.
    """
    kept: dict[int, list[Head]] = {}
    for one in anchors:
        if key and one.key == name_key(key) and not one.is_signed_by(key):
            yield ChainFinding(one.number, f"has a head of {one.at} whose signature is forged")
        else:
            kept.setdefault(one.number, []).append(one)
    recorded: list[Row] = []
    first: Row | None = None
    last: Row | None = None
    agreed = 0
    for row in rows:
        first = first or row
        yield from _check_row(row, last)
        found = kept.pop(row.number, [])
        if any(one.hash != row.hash for one in found):
            at = min(one.at for one in found if one.hash != row.hash)
            yield ChainFinding(
                row.number,
                f"is not the row that was there at {at}: it, or a row after {agreed}, was edited and the chain was"
                " made anew",
            )
        elif found:
            agreed = row.number
        if row.fields.get("action") == CUT:
            recorded.append(row)
        last = row
    yield from _check_beginning(first, recorded, cuts)
    end = last.number if last else 0
    if head is not None and head.number > end:
        yield ChainFinding(end + 1, f"is missing, as all rows from here to {head.number}")
    elif head is not None and last and (head.number, head.hash) != (last.number, last.hash):
        yield ChainFinding(end, "is not the row that the head of the chain names")
    if later := [one for number, found in kept.items() if number > end for one in found]:
        most = max(later, key=lambda one: one.number)
        yield ChainFinding(end + 1, f"is missing: at {most.at} there were {most.number} rows")


def _check_row(row: Row, before: Row | None) -> Iterator[ChainFinding]:
    if row.compute_hash() != row.hash:
        yield ChainFinding(row.number, "was edited: its hash is not that of its content")
    if before is None:
        return
    if row.number != before.number + 1:
        missing = f"{before.number + 1}" if row.number == before.number + 2 else f"{before.number + 1}-{row.number - 1}"
        yield ChainFinding(before.number + 1, f"is missing (rows {missing} were removed)")
    elif row.previous != before.hash:
        yield ChainFinding(row.number, f"does not follow row {before.number}: one of the two was edited")


def _check_beginning(
    first: Row | None, recorded: Iterable[Row], known: Collection[tuple[int, str]] | None
) -> Iterator[ChainFinding]:
    """Yield what is wrong with the first row: it follows nothing, or the last row of a recorded cut."""
    if first is None or (first.number == 1 and first.previous == BEGINNING):
        return
    place = (first.number - 1, first.previous)
    named = [one for cut in recorded if isinstance(one := cut.fields.get("detail"), dict)]
    if not any((one.get("number"), one.get("hash")) == place for one in named):
        yield ChainFinding(max(1, place[0]), "is missing, and no cut of the log is recorded that removed it")
    elif known is not None and place not in known:
        yield ChainFinding(
            max(1, place[0]),
            "is missing: the log records a cut, of which this state folder knows nothing. If it was made elsewhere,"
            " give its file with --archive",
        )
