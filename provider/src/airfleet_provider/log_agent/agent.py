"""What the log agent does in a turn: find files, read what they have got, add it to the index, note how far it came.

Nothing is lost: a position is written after the index has kept the lines. Nothing is doubled: the index knows the end
of each file that it keeps, and leaves out lines before it. The log files themselves are the buffer while the index
cannot be written, so an outage costs no second copy.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from airfleet_provider.contract.redaction import Redaction
from airfleet_provider.log_agent import files
from airfleet_provider.log_agent.discovery import LogTree
from airfleet_provider.log_agent.files import LogFile
from airfleet_provider.log_agent.journal import Journal
from airfleet_provider.log_agent.line_maker import LineMaker
from airfleet_provider.log_agent.positions import FilePosition, Positions
from airfleet_provider.log_agent.rota import Rota
from airfleet_provider.log_index import indexed_files
from airfleet_provider.log_index.lines import Line, LineOrigin, is_copy, show_moment
from airfleet_provider.log_index.origins import find_component_origin, find_task_origin
from airfleet_provider.log_index.store import LEFT_OUT, LogWriter

log = logging.getLogger(__name__)

# Bytes that are read in a turn. The turn then takes about a second at most, and what it read is kept and found.
TURN_BYTES = 2 << 20
# Lines after which a turn reads no further file. A task may write a million lines of a letter each, which a log store
# does not take at once.
TURN_LINES = 50_000
# Seconds between two commits of lines of components only. A commit costs 20 ms of a core however few its lines are, and
# the components of an idle platform write a line every second.
COMPONENTS_EVERY_S = 5.0
# Seconds after which positions are written. After a crash, what was read since is read again; the index leaves it out.
SAVE_EVERY_S = 10.0
# Files that are looked at in a turn although they have not grown lately.
MOST_FILES = 1000
# Components that print the lines of their tasks too. On a host of a fleet, each pool has a worker, `worker-POOL`.
SUPERVISORS = re.compile(r"scheduler|triggerer|worker(?:-.+)?")
# The name under which a file goes on that a supervisor copied before it emptied it.
ROTATED = ".1"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the logs of a host are, and what it is called. `trees` has the folder of each further component.

    Such a folder may be below one of `tasks`. A host whose components write to its journal has no `components`.
    """

    host: str
    components: str
    tasks: tuple[str, ...]
    trees: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class AgentTotals:
    """What the agent has done since it began. `waiting_bytes` were there, but not read, at the end of the last turn."""

    lines: int = 0
    bytes: int = 0
    cut_bytes: int = 0
    cut_files: int = 0
    left_out: int = 0
    waiting_bytes: int = 0
    files: int = 0


@dataclass(slots=True)
class _Turn:
    """The lines of a turn, and what is noted once the index has kept them."""

    lines: list[Line] = field(default_factory=list)
    # For each file that was read, how it is then.
    moved: dict[str, LogFile] = field(default_factory=dict)
    read: int = 0
    cut_bytes: int = 0
    cut_files: int = 0
    left_out: int = 0
    waiting: int = 0
    # The cursor of the last entry of the journal that was read.
    cursor: str = ""

    def take(self, line: Line) -> None:
        """Add a line, which may say that it is in the place of another one."""
        self.lines.append(line)
        self.left_out += line.raw == LEFT_OUT


class LogAgent:
    """Reads the logs of one host. One thread uses it."""

    def __init__(
        self,
        places: Places,
        store: LogWriter,
        positions: Positions,
        redaction: Redaction,
        *,
        most_bytes: int,
        clock: Callable[[], float],
        wall: Callable[[], float],
        components_every_s: float = COMPONENTS_EVERY_S,
        journal: Journal | None = None,
    ) -> None:
        """Take `most_bytes` of each try at most. `clock` is monotonic; `wall` returns the seconds since 1970.

        Lines of components wait for those of a task, or for `components_every_s` seconds. Those of the `journal`, if
        there is one, are lines of components.
        """
        self._places = places
        self._store = store
        self._positions = positions
        self._maker = LineMaker(places.host, redaction, wall)
        self._most_bytes = most_bytes
        self._wall = wall
        self._clock = clock
        self._components_every_s = components_every_s
        self._committed = float("-inf")
        self._saved = float("-inf")
        self._unsaved: dict[tuple[int, int], FilePosition] = {}
        self._trees = [
            LogTree(folder, clock, wall) for folder in (*places.tasks, *(folder for _, folder in places.trees))
        ]
        self._rota: Rota[str] = Rota(clock, MOST_FILES)
        self._files: dict[str, LogFile] = {}
        # Paths that were found, and whose positions are not on the disk yet. A tree hands a path out only once.
        self._found: set[str] = set()
        self._journal = journal
        self._cursor = self._saved_cursor = positions.find_cursor() if journal else ""
        # Copies of emptied files that were not read to their end are only met at the start.
        self._suffixes: tuple[str, ...] = (".log", f".log{ROTATED}")
        self.totals = AgentTotals()

    def turn(self) -> bool:
        """Do one turn; return whether there is more to read now.

        Raises:
            StoreError: The index cannot be written. The lines are read again in a later turn.
            OSError: The journal cannot be read. The lines of files are kept all the same.
            sqlite3.Error: The positions cannot be written. The index leaves out what it has already.
        """
        self._meet_files()
        turn = _Turn()
        growing = deque(one for one in self._choose_files() if self._measure(one) > 0)
        if not self._is_due(growing):
            self.totals.waiting_bytes = sum(map(self._measure, growing))
            return False
        while growing and turn.read < TURN_BYTES and len(turn.lines) < TURN_LINES:
            log_file = growing.popleft()
            if self._read(log_file, turn):
                growing.append(log_file)
        turn.waiting = sum(self._measure(turn.moved.get(one.path, one)) for one in growing)
        broken: OSError | None = None
        try:
            has_more = self._read_journal(turn) or turn.waiting > 0
        except OSError as error:
            broken, has_more = error, False
        if turn.lines:
            turn.left_out += self._store.add(turn.lines)
            self._store.commit()
            self._committed = self._clock()
        for path, after in turn.moved.items():
            self._files[path] = after
            self._rota.note_change(path)
            self._unsaved[after.key] = after.position
        self._cursor = turn.cursor or self._cursor
        if turn.cut_files or self._clock() - self._saved >= SAVE_EVERY_S:
            self._save()
        self._count(turn)
        if broken:
            raise broken
        return has_more

    def give_up(self) -> None:
        """Forget what a turn that failed has read of the journal. It is read again."""
        if self._journal:
            self._journal.close()

    def _save(self) -> None:
        self._positions.write(self._unsaved.values())
        self._unsaved.clear()
        if self._cursor != self._saved_cursor:
            self._positions.write_cursor(self._cursor)
            self._saved_cursor = self._cursor
        self._saved = self._clock()

    def _is_due(self, growing: Iterable[LogFile]) -> bool:
        """Return whether lines are worth a commit now."""
        if self._clock() - self._committed >= self._components_every_s:
            return True
        return any(one.path.startswith(self._places.tasks) for one in growing)

    def hurry(self) -> None:
        """Let the next turn take lines of components too, and write all positions."""
        self._committed = self._saved = float("-inf")

    def _count(self, turn: _Turn) -> None:
        totals = self.totals
        totals.lines += len(turn.lines)
        totals.bytes += turn.read
        totals.cut_bytes += turn.cut_bytes
        totals.cut_files += turn.cut_files
        totals.left_out += turn.left_out
        totals.waiting_bytes = turn.waiting
        totals.files = len(self._files)

    def _meet_files(self) -> None:
        for tree in self._trees:
            self._found.update(tree.look())
        with suppress(OSError), os.scandir(self._places.components) as entries:
            self._found.update(entry.path for entry in entries if entry.name.endswith(self._suffixes))
        self._suffixes = (".log",)
        met = sorted(path for path in self._found if path not in self._files)
        new = [log_file for path in met for log_file in self._open(path)]
        # A file has its name on the disk before the index hears of it, or a crash would give it a second name.
        self._positions.write(log_file.position for log_file in new)
        self._found.clear()
        for log_file in new:
            self._files[log_file.path] = log_file
            self._rota.note_change(log_file.path)

    def _open(self, path: str) -> list[LogFile]:
        """Return a file with what is known of it, or nothing if it cannot be read or is read already."""
        try:
            with files.open_file(path) as descriptor:
                status = os.fstat(descriptor)
                position = self._adopt(self._positions.find(status.st_dev, status.st_ino))
                if position and status.st_size >= position.offset and files.has_head(descriptor, position):
                    is_done = status.st_size == position.offset
                    return [] if is_done and self._is_old(status) else [LogFile(path, position)]
                if path.endswith(ROTATED):
                    return []
                # A task may give its file any time.
                at = min(max(0, int(status.st_mtime * 1e6)), int(self._wall() * 1e6))
                known = min(indexed_files.read(descriptor), status.st_size)
                new = LogFile(path, files.make_position(descriptor, self._name_source(), known), at)
        except OSError:
            return []
        return [*(self._find_copy(LogFile(path, position)) if position else ()), new]

    def _adopt(self, position: FilePosition | None) -> FilePosition | None:
        """Return a position, with another name of the file if this host had another name when it was met.

        A log store takes only files that are named after the host which sends them.
        """
        if position is None or position.source.startswith(f"{self._places.host}:"):
            return position
        return replace(position, source=self._name_source())

    def _find_copy(self, log_file: LogFile) -> list[LogFile]:
        """Return the copy that was made of a file before it was emptied. It goes on under the name of the file."""
        copy, old = f"{log_file.path}{ROTATED}", log_file.position
        try:
            with files.open_file(copy) as descriptor:
                if not files.has_head(descriptor, old):
                    return []
                position = files.make_position(descriptor, old.source, old.offset)
        except OSError:
            return []
        return [LogFile(copy, position, log_file.at, log_file.level)]

    def _is_old(self, status: os.stat_result) -> bool:
        return self._wall() - status.st_mtime > 3600

    def _name_source(self) -> str:
        # A store with an index for each day takes the day from the name.
        day = datetime.fromtimestamp(self._wall(), UTC)
        source = f"{self._places.host}:{day:%Y%m%d}-{secrets.token_hex(8)}"
        self._store.know_new(source)
        return source

    def _choose_files(self) -> list[LogFile]:
        chosen = [self._files[path] for path in self._rota.choose()]
        for path in [path for path in self._files if path not in self._rota]:
            del self._files[path]
        return chosen

    def _measure(self, log_file: LogFile) -> int:
        """Return how many bytes of a file were not taken yet. A file that is gone, or was emptied, is dropped."""
        try:
            status = os.stat(log_file.path, follow_symlinks=False)  # noqa: PTH116 - many times a second
        except OSError:
            self._drop(log_file)
            self._positions.write([], [log_file.key])
            return 0
        if (status.st_dev, status.st_ino) != log_file.key:
            self._drop(log_file)
            return 0
        if status.st_size < log_file.position.offset:
            self._begin_again(log_file)
            return 0
        if left := status.st_size - log_file.position.offset:
            return left
        log_file.ended = int(self._wall() * 1e6)
        if log_file.path.endswith(ROTATED):
            # The next copy takes its place, and must not be taken for more of it.
            self._drop(log_file)
            self._positions.write([], [log_file.key])
        return 0

    def _drop(self, log_file: LogFile) -> None:
        self._files.pop(log_file.path, None)
        self._unsaved.pop(log_file.key, None)
        self._rota.drop(log_file.path)

    def _begin_again(self, log_file: LogFile) -> None:
        """Forget a file that was emptied, so that it is met as a new one, and go on with the copy of it."""
        self._drop(log_file)
        copies = self._find_copy(log_file)
        self._positions.write([one.position for one in copies], [log_file.key])
        for one in copies:
            self._files[one.path] = one
            self._rota.note_change(one.path)

    def _read(self, log_file: LogFile, turn: _Turn) -> bool:
        """Read the next lines of a file, and return whether it has more."""
        after = turn.moved.get(log_file.path) or replace(log_file)
        position = after.position
        origin = self._find_origin(log_file.path)
        if position.is_cut:
            size = self._measure(after)
            turn.cut_bytes += size
            turn.moved[log_file.path] = replace(after, position=replace(position, offset=position.offset + size))
            return False
        try:
            with files.open_file(log_file.path) as descriptor:
                if not files.has_head(descriptor, position):
                    self._begin_again(log_file)
                    turn.moved.pop(log_file.path, None)
                    return False
                chunk = files.read_chunk(descriptor, position.offset)
                head = files.extend_head(descriptor, position)
        except OSError:
            return False
        offset = position.offset
        for end, raw in chunk.lines:
            if origin.dag and end > self._most_bytes:
                self._cut(after, end, origin, turn)
                break
            if raw and not _is_copy(origin.component, raw):
                turn.take(self._maker.make_line(after, end, raw, origin))
            offset = end
        if not after.position.is_cut:
            after.position = replace(after.position, offset=offset)
        turn.read += after.position.offset - position.offset
        after.position = replace(after.position, head_length=head[0], head_digest=head[1])
        if after.position != position:
            turn.moved[log_file.path] = after
        return not chunk.is_last and not after.position.is_cut

    def _cut(self, log_file: LogFile, end: int, origin: LineOrigin, turn: _Turn) -> None:
        """Say in the place of a line that no further line of this try is taken."""
        said = (
            f"airfleet: this try has written more than {self._most_bytes / (1 << 20):g} MiB. What follows is not in "
            f"the index, only in {log_file.path} on {origin.host}"
        )
        marker = {"timestamp": show_moment(log_file.at), "level": "warning", "event": said, "logger": "airfleet.logs"}
        raw = json.dumps(marker, ensure_ascii=False)
        turn.lines.append(Line(log_file.position.source, end, log_file.at, "warning", said, raw, origin))
        turn.cut_files += 1
        log_file.position = replace(log_file.position, offset=end, is_cut=True)

    def _read_journal(self, turn: _Turn) -> bool:
        """Read the next entries of the journal, and return whether it has more."""
        if not self._journal or turn.read >= TURN_BYTES:
            return False
        block = self._journal.read(self._cursor, TURN_BYTES - turn.read)
        for entry in block.entries:
            if entry.text and not _is_copy(entry.component, entry.text):
                turn.take(self._maker.make_entry(entry))
            turn.read += len(entry.text)
        turn.cursor = block.cursor
        return block.has_more

    def _find_origin(self, path: str) -> LineOrigin:
        own = self._places
        for component, folder in own.trees:
            if path.startswith(f"{folder}{os.sep}"):
                return LineOrigin(own.host, component)
        for folder in own.tasks:
            if path.startswith(f"{folder}{os.sep}"):
                return find_task_origin(own.host, os.path.relpath(path, folder))
        return find_component_origin(own.host, path.rsplit(os.sep, 1)[-1])


def _is_copy(component: str, raw: bytes) -> bool:
    """Return whether a line of a component is one that it prints of a task."""
    return SUPERVISORS.fullmatch(component) is not None and is_copy(raw.decode("utf-8", "replace"))
