"""A rehearsal of the upgrade: which part of the old database may reach the copy, and which pickles are loaded."""

from __future__ import annotations

import datetime
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration import airflow_without_pickle, metadata_copy, run_conf
from airfleet.operations.migration.metadata import find_postgresql
from airfleet.operations.migration.run_conf import LARGEST_PICKLE, is_plain
from airfleet.operations.migration.text import make_printable


class Hostile:
    """A value whose pickle calls `os.mkdir` when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def fill_with_one_list(times: int) -> bytes:
    """Return a pickle of lists that hold each other: short, and 2 ** `times` elements long as JSON."""
    value: object = "x"
    for _ in range(times):
        value = [value, value]
    return pickle.dumps(value)


@pytest.mark.parametrize(
    "url", ["old-db", "mysql://airflow:hunter22@old-db/airflow", "sqlite:////airflow.db", "://x", ""]
)
def test_a_url_of_another_database_is_not_taken_for_one_of_postgresql(url: str) -> None:
    with pytest.raises(UsageError, match="no URL of PostgreSQL") as caught:
        find_postgresql(url)
    assert "hunter22" not in str(caught.value)


def test_a_url_as_airflow_has_it_is_one_of_postgresql() -> None:
    assert find_postgresql("postgresql+psycopg2://a:b@db/airflow") == "postgresql://a:b@db/airflow"
    assert find_postgresql("postgres://db/airflow") == "postgresql://db/airflow"


def test_a_program_that_failed_is_quoted_with_what_is_wrong_and_not_with_its_advice(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(
        "#!/bin/sh\nprintf 'pg_dump: error: it refused\\n\\tIs the server running there?\\n' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(AirfleetError, match=r"pg_dump failed: it refused$"):
        metadata_copy._run([program])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_conf_of_a_run_is_kept_if_json_can_hold_it(protocol: int) -> None:
    conf = {"day": "2026-11-01", "n": [1, -2, 3.5, 2**40, None, True], "deep": {"t": (1, "ü")}, "long": "x" * 300}
    assert is_plain(pickle.dumps(conf, protocol=protocol))
    same = ["again"] * 3
    assert is_plain(pickle.dumps({"one": same, "other": same}, protocol=protocol))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"at": datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)}),
        pickle.dumps({"class": Path}),
        pickle.dumps({"bytes": b"x"}),
        # GLOBAL and REDUCE, as protocol 0 writes them.
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02\x8c\x02os\x8c\x06system\x93.",
        # An extension code, a persistent id, and a place of the memo that asks for gigabytes.
        b"\x80\x02\x82\x01.",
        b"P1\n.",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x00.",
        b"",
        b"no pickle",
        pickle.dumps({})[:-1],
        pickle.dumps("x" * LARGEST_PICKLE),
        fill_with_one_list(40),
    ],
)
def test_the_conf_of_a_run_is_left_out_if_it_is_more_than_plain_data(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To write down four megabytes of one list takes seconds.
    monkeypatch.setattr(run_conf, "LARGEST_JSON", 1 << 16)
    assert not is_plain(data)


def test_a_pickle_that_calls_something_is_not_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    data = pickle.dumps({"conf": Hostile(marker)})
    assert not is_plain(data)
    assert not marker.exists()
    pickle.loads(data)  # noqa: S301 - the pickle is a real one
    assert marker.exists()


def test_nothing_that_airflow_unpickles_can_call_something(tmp_path: Path) -> None:
    """In place of Airflow, a program of its name loads the pickle as Airflow's migration does."""
    marker = tmp_path / "ran"
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "__init__.py").touch()
    (tmp_path / "airflow" / "__main__.py").write_text(
        "import pickle, sys\n"
        "for load in (pickle.loads, pickle._loads):\n"
        "    try:\n"
        f"        load({pickle.dumps(Hostile(marker))!r})\n"
        "    except pickle.UnpicklingError as error:\n"
        "        print(error)\n"
        f"print(pickle.loads({pickle.dumps({'plain': [1]})!r}), sys.argv[1:])\n"
    )
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['x', 'db', 'migrate'];"
        f" runpy.run_path({airflow_without_pickle.__file__!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        *["airfleet lets no pickle look up a class or a function here"] * 2,
        "{'plain': [1]} ['db', 'migrate']",
    ]
    assert not marker.exists()


CONTENTS = """\
;
; Archive created at 2026-11-29 14:00:00 UTC
;     dbname: airflow
;
5; 2615 2200 SCHEMA - public pg_database_owner
215; 1259 16386 TABLE public dag_run airflow
216; 1259 16390 SEQUENCE public dag_run_id_seq airflow
3390; 0 0 SEQUENCE OWNED BY public dag_run_id_seq airflow
217; 1259 16391 VIEW public hidden airflow
218; 1255 16400 FUNCTION public planted() airflow
219; 1259 16401 TABLE other secret airflow
220; 1259 16402 FOREIGN TABLE public far airflow
221; 1259 16403 TABLE ATTACH public log_2026 airflow
222; 0 0 INDEX ATTACH public log_2026_pkey airflow
3200; 2604 16386 DEFAULT public dag_run id airflow
3201; 826 16500 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES airflow
3384; 0 16386 TABLE DATA public dag_run airflow
3391; 0 0 SEQUENCE SET public dag_run_id_seq airflow
3229; 2606 16391 CONSTRAINT public dag_run dag_run_pkey airflow
3230; 1259 16392 INDEX public idx airflow
3231; 2606 16393 FK CONSTRAINT public task_instance fk airflow
3232; 2620 16394 TRIGGER public dag_run planted airflow
3233; 3466 16395 EVENT TRIGGER - \x1b[2Jplanted postgres
3234; 2618 16396 RULE public dag_run planted airflow
3235; 3256 16397 POLICY public dag_run planted airflow
3236; 0 16386 ROW SECURITY public dag_run airflow
3237; 0 0 COMMENT public TABLE dag_run airflow
""".splitlines()


def test_only_tables_with_their_rows_are_restored() -> None:
    chosen = list(metadata_copy.choose_entries(CONTENTS))
    assert chosen == ["215", "216", "3390", "3200", "3384", "3391", "3229", "3230", "3231"]


def test_the_operator_learns_what_the_copy_has_not() -> None:
    assert list(metadata_copy.list_left_out(CONTENTS)) == [
        "VIEW public hidden airflow",
        "FUNCTION public planted() airflow",
        "TABLE other secret airflow",
        "FOREIGN TABLE public far airflow",
        "TABLE ATTACH public log_2026 airflow",
        "INDEX ATTACH public log_2026_pkey airflow",
        "TRIGGER public dag_run planted airflow",
        "EVENT TRIGGER - ?[2Jplanted postgres",
        "RULE public dag_run planted airflow",
        "POLICY public dag_run planted airflow",
        "ROW SECURITY public dag_run airflow",
    ]


def test_a_terminal_obeys_no_text_of_the_old_platform() -> None:
    assert make_printable("dag\x1b]0;x\x07\nü") == "dag?]0;x??ü"
