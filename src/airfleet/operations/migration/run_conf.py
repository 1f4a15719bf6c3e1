"""The pickled `conf` of runs in a copy of Airflow 2's metadata database: what is no plain data is taken out.

Whoever may write the old database has written these bytes. No code in them runs: a pickle with anything but containers,
text and numbers is not loaded.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
from dataclasses import dataclass

import psycopg

from airfleet.operations.migration.text import make_printable

# Of an empty `conf`, as SQLAlchemy pickled it with the protocols 4 and 5. Nearly all runs have one of these.
EMPTY = (b"\x80\x04}\x94.", b"\x80\x05}\x94.")
LARGEST_PICKLE = 1 << 20
LARGEST_JSON = 1 << 22
SHOWN = 20
_BATCH = 200

# What the pickler writes for values that JSON has.
_PLAIN = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "MEMOIZE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    }
)


@dataclass(frozen=True, slots=True)
class DroppedConf:
    """The runs whose `conf` was taken out. `runs` names the first of them: the Dag and the id of the run."""

    count: int = 0
    runs: tuple[str, ...] = ()


class PlainUnpickler(pickle.Unpickler):
    """An unpickler that looks up no name, so that no pickle can call anything."""

    def find_class(self, module: str, name: str) -> object:
        """Raise UnpicklingError."""
        raise pickle.UnpicklingError(f"a pickle may not name {module}.{name}")


def is_plain(data: bytes) -> bool:
    """Return whether a pickle holds only what JSON has too, and is of a reasonable size as JSON.

    The instructions are read before the pickle is loaded. So one that asks for much memory is not loaded either.
    """
    if len(data) > LARGEST_PICKLE:
        return False
    try:
        for instruction, argument, _ in pickletools.genops(data):
            if instruction.name not in _PLAIN:
                return False
            # The place in the memo. The unpickler makes room for all places before it.
            if instruction.name == "LONG_BINPUT" and int(argument or 0) > len(data):
                return False
        return _fits(PlainUnpickler(io.BytesIO(data)).load())
    # Bytes that were made by hand raise anything.
    except Exception:
        return False


def _fits(value: object) -> bool:
    """Return whether a value is small as JSON. A few bytes of a pickle can hold one list many times over."""
    length = 0
    for part in json.JSONEncoder(skipkeys=False).iterencode(value):
        length += len(part)
        if length > LARGEST_JSON:
            return False
    return True


def drop_unplain(connection: psycopg.Connection) -> DroppedConf:
    """Set the `conf` of each run that is no plain pickle to NULL, and return these runs.

    A database whose `conf` is no pickle any more stays as it is. Raises psycopg.Error.
    """
    kind = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass('public.dag_run')"
        " AND attname = 'conf' AND atttypid = 'pg_catalog.bytea'::pg_catalog.regtype"
    ).fetchone()
    if kind is None:
        return DroppedConf()
    dropped: list[int] = []
    runs: list[str] = []
    with connection.cursor(name="pickled_conf") as cursor:
        cursor.itersize = _BATCH
        cursor.execute(
            "SELECT id, dag_id, run_id, CASE WHEN octet_length(conf) <= %s THEN conf END FROM public.dag_run"
            " WHERE conf IS NOT NULL AND conf <> ALL(%s) ORDER BY id",
            (LARGEST_PICKLE, list(EMPTY)),
        )
        for number, dag, run, conf in cursor:
            if conf is None or not is_plain(bytes(conf)):
                dropped.append(number)
                if len(runs) < SHOWN:
                    runs.append(make_printable(f"{dag} {run}"))
    if dropped:
        connection.execute("UPDATE public.dag_run SET conf = NULL WHERE id = ANY(%s)", (dropped,))
    connection.commit()
    return DroppedConf(len(dropped), tuple(runs))
