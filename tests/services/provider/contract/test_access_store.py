"""Users and roles as they are read from the tables of Airflow's FAB provider, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet_provider.contract import access_store
from airfleet_provider.contract.access_rules import AccessRules, RoleRules
from airfleet_provider.contract.task_lists import TaskLists
from servers import serve_own

# The columns that the statements read.
TABLES = """
CREATE TABLE ab_user (id int PRIMARY KEY, username text, email text, active boolean);
CREATE TABLE ab_role (id int PRIMARY KEY, name text);
CREATE TABLE ab_user_role (user_id int, role_id int);
CREATE TABLE ab_user_group (user_id int, group_id int);
CREATE TABLE ab_group_role (group_id int, role_id int);
CREATE TABLE ab_permission (id int, name text);
CREATE TABLE ab_view_menu (id int, name text);
CREATE TABLE ab_permission_view (id int, permission_id int, view_menu_id int);
CREATE TABLE ab_permission_view_role (permission_view_id int, role_id int);
CREATE TABLE dag (dag_id text);
CREATE TABLE dag_tag (dag_id text, name text);
INSERT INTO ab_user VALUES (1, 'Ann', 'ann@x', true), (2, 'bob', 'bob@x', NULL);
INSERT INTO ab_role VALUES (1, 'Admin'), (2, 'team-a'), (3, 'team-b');
INSERT INTO ab_user_role VALUES (1, 2);
INSERT INTO ab_user_group VALUES (1, 7);
INSERT INTO ab_group_role VALUES (7, 1), (7, 2)
"""


def test_the_roles_of_a_users_groups_in_airflow_are_those_of_the_user() -> None:
    """Airflow counts them. Unseen, somebody who was made an Admin in the UI by a group would stay one."""
    with serve_own() as server, psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement.encode())

        def query(sql: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
            return connection.execute(sql, values).fetchall()

        access_store.write(connection.execute, AccessRules({"team-a": RoleRules(("*",))}), TaskLists(), {})
        found = access_store.read_present(query).users
        assert {name: (sorted(one.roles), one.is_active) for name, one in found.items()} == {
            "ann": (["Admin", "team-a"], True),
            "bob": ([], False),
        }
        assert access_store.read_dag_rights(query).roles == {1: {"Admin", "team-a"}}
