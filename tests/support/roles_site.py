"""A program: the roles that airfleet makes at once in an empty database, and those that FAB makes alone; as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Airflow is imported after its settings are made.
# ruff: noqa: PLC0415

GRANTS = """
SELECT role.name, action.name, resource.name
FROM ab_permission_view_role AS granted
JOIN ab_role AS role ON role.id = granted.role_id
JOIN ab_permission_view AS permission ON permission.id = granted.permission_view_id
JOIN ab_permission AS action ON action.id = permission.permission_id
JOIN ab_view_menu AS resource ON resource.id = permission.view_menu_id
ORDER BY role.name, action.name, resource.name
"""
OTHERS = (
    "SELECT name FROM ab_role ORDER BY name",
    "SELECT name FROM ab_permission ORDER BY name",
    "SELECT name FROM ab_view_menu ORDER BY name",
    "SELECT permission_id IS NULL, view_menu_id IS NULL, count(*) FROM ab_permission_view GROUP BY 1, 2",
)
TABLES = "ab_role, ab_permission, ab_view_menu, ab_permission_view, ab_permission_view_role"
# A security manager whose viewers see nothing but the home page.
STRICT = """
from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride

class SECURITY_MANAGER_CLASS(FabAirflowSecurityManagerOverride):
    ROLE_CONFIGS = [{"role": "Viewer", "perms": [("can_read", "Website")]}]
"""


def main() -> None:
    """Print what FAB makes alone, what is made at once, and what it is after FAB has compared it."""
    os.environ["AIRFLOW__CORE__AUTH_MANAGER"] = "airfleet_provider.access.manager.FabAuthManager"
    os.environ["AIRFLOW__FAB__UPDATE_FAB_PERMS"] = "True"
    from airflow.configuration import conf
    from airflow.providers.fab.auth_manager.cli_commands import utils
    from airflow.utils import db

    from airfleet_provider.compat.calls import fab_roles, metadata_db

    db.initdb()
    connection = metadata_db.connect()

    def read() -> list[object]:
        with connection.cursor() as cursor:
            found: list[object] = []
            for query in (GRANTS, *OTHERS):
                cursor.execute(query)
                found.append(cursor.fetchall())
            return found

    def let_fab_make() -> list[object]:
        utils._return_appbuilder.cache_clear()
        with utils.get_application_builder() as builder:
            builder.sm.session.rollback()  # an open transaction holds locks on the tables
        return read()

    def empty() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TABLES} CASCADE")

    empty()
    alone = let_fab_make()
    empty()
    fab_roles.make_roles()
    at_once = read()
    compared = let_fab_make()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM ab_permission_view_role")
        cursor.execute("DELETE FROM ab_role WHERE name <> 'Viewer'")
    fab_roles.make_roles()
    with_role = read()[:2]
    empty()
    Path(conf.get_mandatory_value("fab", "config_file")).write_text(STRICT)
    fab_roles.make_roles()
    let_fab_make()
    found = {"alone": alone, "at once": at_once, "compared": compared, "with a role": with_role, "strict": read()[0]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
