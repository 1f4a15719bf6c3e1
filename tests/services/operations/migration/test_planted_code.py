"""A rehearsal with a database in which somebody has planted code: Airflow's migration runs, and none of the code."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airfleet.operations.migration import metadata, metadata_copy, rehearsal
from airfleet.runners.local.launch import find_postgres
from shops import start_postgres

# The last of Airflow 2. The migrations of Airflow 3 make its tables.
OLD_VERSION = "2.10.3"
RUN = (
    "INSERT INTO dag_run (dag_id, run_id, run_type, execution_date, state, conf, log_template_id, clear_number)"
    " VALUES ('sales', %s, 'manual', %s, 'success', %s, NULL, 0)"
)
# What the owner of the database may plant, and here a superuser. It leaves a mark on any server but the old one.
PLANTED = """
CREATE FUNCTION plant() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('port') <> '{port}' THEN COPY (SELECT 1) TO PROGRAM 'cat > {marks}/sql'; END IF;
END $$;
CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.plant(); NEW.conf := '{pickle}'; RETURN NEW; END $$;
CREATE FUNCTION on_command() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.plant(); END $$;
CREATE VIEW spying AS SELECT plant()::text;
CREATE TRIGGER on_change BEFORE INSERT OR UPDATE ON dag_run FOR EACH ROW EXECUTE FUNCTION on_change();
CREATE RULE on_delete AS ON DELETE TO variable DO ALSO SELECT plant()::text;
CREATE POLICY hidden ON slot_pool USING (plant()::text = '');
CREATE EVENT TRIGGER on_command ON ddl_command_end EXECUTE FUNCTION on_command();
ALTER ROLE postgres SET search_path = public, pg_catalog;
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that the user of PostgreSQL can enter. Other tests close those of pytest again."""
    with tempfile.TemporaryDirectory(prefix="airfleet-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


class Hostile:
    """A value whose pickle runs a program when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


def make_old(dsn: str, home: Path, marks: Path, port: int) -> bytes:
    """Make a database as Airflow 2 has it, with two runs and what was planted. Return the hostile pickle."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": dsn.replace("postgresql://", "postgresql+psycopg2://"),
    }
    words = ["-m", "airflow", "db", "migrate", "--to-version", OLD_VERSION]
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    hostile = pickle.dumps({"conf": Hostile(marks / "pickle")})
    with psycopg.connect(dsn, autocommit=True) as old:
        old.execute(RUN, ("plain", "2026-11-01", pickle.dumps({"day": 1})))
        old.execute(RUN, ("empty", "2026-11-02", pickle.dumps({})))
        old.execute(RUN, ("hostile\x1b[2J", "2026-11-03", hostile))
        old.execute(PLANTED.format(port=port, marks=marks, pickle="\\x" + hostile.hex()).encode())
    return hostile


def test_nothing_that_was_planted_in_the_old_database_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks, state = place / "marks", place / "state"
    marks.mkdir()
    marks.chmod(0o777)
    state.mkdir(mode=0o711)
    monkeypatch.setenv("AIRFLOW_CONN_BANK", "postgres://login:secret@bank")
    confs: dict[str, object] = {}
    count = rehearsal._count

    def look(dsn: str) -> tuple[dict[str, int], str]:
        """Look into the copy each time when the rehearsal does."""
        with metadata_copy.connect(dsn) as copy:
            [role] = copy.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchall()
            code = copy.execute(
                "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS"
                " (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
            ).fetchall()
            runs = copy.execute("SELECT run_id, conf FROM public.dag_run").fetchall()
        assert (role, code) == ((False,), [(0,)])
        confs.update(runs)
        return count(dsn)

    monkeypatch.setattr(rehearsal, "_count", look)
    with start_postgres(place) as port:
        dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        hostile = make_old(dsn, place / "old", marks, port)
        found = rehearsal.rehearse(dsn, state, find_postgres(), Path(sys.executable), os.environ, print)
    assert (found.rows["dag_run"], found.lost) == ((3, 3), ())
    assert found.new_revision != found.old_revision
    assert (found.dropped_conf.count, found.dropped_conf.runs) == (1, ("sales hostile?[2J",))
    assert confs == {"plain": {"day": 1}, "empty": {}, "hostile\x1b[2J": None}
    assert {one.split()[0] for one in found.left_out} >= {"FUNCTION", "TRIGGER", "VIEW", "RULE", "POLICY"}
    assert list(marks.iterdir()) == []
    assert not (state / rehearsal.FOLDER).exists()
    # What was planted leaves a mark where somebody loads it.
    pickle.loads(hostile)  # noqa: S301
    assert [one.name for one in marks.iterdir()] == ["pickle"]


# An assessment reads these: a view in place of a table, and an operator that fits better than PostgreSQL's own one.
READ = """
CREATE FUNCTION plant() RETURNS text LANGUAGE plpgsql AS $$
BEGIN COPY (SELECT 1) TO PROGRAM 'cat > {marks}/read'; RETURN 'planted'; END $$;
CREATE FUNCTION differs(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM public.plant(); RETURN true; END $$;
CREATE OPERATOR <> (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = differs);
CREATE TABLE alembic_version (version_num varchar);
INSERT INTO alembic_version VALUES ('5f2621c13b39');
CREATE TABLE connection (conn_id varchar, conn_type varchar, password varchar, extra varchar);
INSERT INTO connection VALUES ('bank', 'http', 'secret', NULL);
CREATE VIEW variable AS SELECT plant() AS key;
"""


def test_an_assessment_reads_tables_and_runs_nothing_that_was_planted(place: Path) -> None:
    marks = place / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    with start_postgres(place) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        with psycopg.connect(url, autocommit=True) as old:
            old.execute(READ.format(marks=marks).encode())
        found = metadata.read_url(url)
        assert found.revision == "5f2621c13b39"
        assert [(one.name, one.has_password) for one in found.connections] == [("bank", True)]
        assert "variable" in found.missing
        assert list(marks.iterdir()) == []
        # Read as any other program reads it, each of both leaves a mark.
        with psycopg.connect(url, autocommit=True) as old:
            for query in ("SELECT password <> '' FROM connection", "SELECT key FROM variable"):
                old.execute(query.encode())
                (marks / "read").unlink()
