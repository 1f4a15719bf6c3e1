"""The metadata database on a server that somebody else runs: airfleet's own tables are made there, and no more."""

from __future__ import annotations

from airfleet.components.model import Component, OwnDatabase, Process, Site

NAME = "databases"


def describe(site: Site, database: OwnDatabase) -> Component:
    """Describe the job that makes the tables. No process of the server is run."""
    job = Process(
        name=NAME,
        commands=((str(site.python), "-m", "airfleet.runners.local.own_tables"),),
        once=True,
        env={"AIRFLEET_OWN_DATABASE": database.dsn(), "AIRFLEET_OWN_INSTANCE": site.instance},
    )
    return Component(name="postgres", processes=(job,))
