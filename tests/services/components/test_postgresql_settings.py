"""The settings of a database host compared with PostgreSQL's own description of them."""

from __future__ import annotations

from airfleet.components.postgresql import server
from places import NINE, parse, place, with_setting
from servers import serve

PAIR = with_setting(NINE, "[web, monitor]", "[web, monitor, database]")


def test_the_server_restarts_for_the_settings_that_it_reads_at_its_start_and_for_no_other() -> None:
    settings = {
        name
        for host in ("data1", "web3")
        for name in server.read_settings(server.render_config(place(parse(PAIR), host)))
    }
    query = "SELECT lower(name), context = 'postmaster' FROM pg_settings WHERE lower(name) = ANY(%s)"
    with serve() as running:
        rows = running.query(query, list(settings))
    assert {name for name, _ in rows} == settings
    assert {name for name, at_start in rows if at_start} == set(server.READ_AT_START)
