"""Makes lines of the index from lines of files and entries of the journal: hides secrets, cuts, and repairs levels."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from airfleet_provider.contract.redaction import Redaction
from airfleet_provider.log_agent.files import LogFile
from airfleet_provider.log_agent.journal import JournalEntry
from airfleet_provider.log_index.lines import Line, LineOrigin, clean_text, read_line
from airfleet_provider.log_index.store import LEFT_OUT

log = logging.getLogger(__name__)

# Characters of a line that are kept.
LONGEST_LINE = 32_768
# What a line has at its end if it was longer.
CUT = " … airfleet cut {} characters of this line"
# Microseconds that a line may be ahead of the clock of this host. A moment after that is none: the line would be the
# newest of every search for years.
AHEAD_US = 86_400 * 1_000_000
# Microseconds that a line of a try may name before the agent saw that it was not there yet.
BEHIND_US = 60 * 1_000_000


class LineMaker:
    """Makes the lines of one host. In the place of one that cannot be read is LEFT_OUT."""

    def __init__(self, host: str, redaction: Redaction, wall: Callable[[], float]) -> None:
        """Hide what `redaction` says. `wall` returns the seconds since 1970."""
        self._host = host
        self._redaction = redaction
        self._wall = wall
        # The level of the last line of each component of the journal.
        self._levels: dict[str, str] = {}

    def make_line(self, log_file: LogFile, end: int, raw: bytes, origin: LineOrigin) -> Line:
        """Return the line of a file that ends at the offset `end`, and note its time and level for the next one."""
        source = log_file.position.source
        try:
            text = self._clean(raw)
            read = read_line(text)
            now = int(self._wall() * 1e6)
            said = read.at if read.at is not None and read.at <= now + AHEAD_US else None
            if said is not None and origin.dag and said < log_file.ended - BEHIND_US:
                # A task wrote it into the log of a try, perhaps of another Dag, with a time of its choice.
                said = now
            # A line without a time or a level of its own, such as one of a traceback, goes on with those before it.
            log_file.at = said or log_file.at or now
            log_file.level = read.level or log_file.level
            return Line(source, end, log_file.at, log_file.level, read.text, text, origin)
        except Exception as error:
            at = log_file.at or int(self._wall() * 1e6)
            return _leave_out(source, end, at, origin, error)

    def make_entry(self, entry: JournalEntry) -> Line:
        """Return the line of an entry of the journal. Its time is that at which the journal got it."""
        source = f"{self._host}:journal-{entry.journal}"
        origin = LineOrigin(self._host, entry.component)
        try:
            text = self._clean(entry.text)
            read = read_line(text)
            level = entry.level or read.level or self._levels.get(entry.component, "info")
            if not entry.level:
                self._levels[entry.component] = level
            return Line(source, entry.number, entry.at, level, read.text, text, origin)
        except Exception as error:
            return _leave_out(source, entry.number, entry.at, origin, error)

    def _clean(self, raw: bytes) -> str:
        text = raw.decode("utf-8", "replace").replace("\x00", "")
        # A secret is hidden first: no rule would know the rest of one that was cut.
        text = self._redaction.hide(text)
        return clean_text(text if len(text) <= LONGEST_LINE else _shorten(text))


def _leave_out(source: str, offset: int, at: int, origin: LineOrigin, error: Exception) -> Line:
    # Were the line tried again, no later line of any file would ever be kept.
    log.warning("a line of %s is left out of the index: %s", source, type(error).__name__)
    return Line(source, offset, at, "info", LEFT_OUT, LEFT_OUT, origin)


def _shorten(text: str) -> str:
    """Cut a long line. An object of JSON stays one: its event is cut, and what else it says is kept."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("event"), str):
        return text[:LONGEST_LINE] + CUT.format(len(text) - LONGEST_LINE)
    room = LONGEST_LINE - (len(text) - len(body["event"]))
    if room < 0:
        kept = {name: body[name] for name in ("timestamp", "level", "logger") if isinstance(body.get(name), str)}
        body, room = {**kept, "event": body["event"]}, LONGEST_LINE
    body["event"] = body["event"][:room] + CUT.format(len(text) - LONGEST_LINE)
    return json.dumps(body, ensure_ascii=False)
