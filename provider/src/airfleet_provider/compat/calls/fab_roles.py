"""FAB's own roles, made in one transaction in a database that has none (ADR 110)."""

from __future__ import annotations

from pathlib import Path

# Airflow is imported inside the function: a process that needs no roles should not pay for it.
# ruff: noqa: PLC0415


def make_roles() -> None:
    """Make the roles and permissions that FAB makes at its start, if there is no role, action or resource yet.

    FAB makes the same ones one by one: 430 transactions, which take seconds. It still compares them afterwards, so what
    is missing here costs time and changes nothing. A `webserver_config.py` may name a security manager with other
    roles, from which FAB takes no permission away later: where there is one, FAB makes the roles alone.
    """
    from airflow.configuration import conf
    from airflow.providers.fab.auth_manager.models import Action, Permission, Resource, Role
    from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
    from airflow.utils.session import create_session
    from sqlalchemy import select

    if Path(conf.get_mandatory_value("fab", "config_file")).exists():
        return
    with create_session() as session:
        if any(session.scalar(select(kind.id).limit(1)) is not None for kind in (Role, Action, Resource)):
            return
        actions: dict[str, Action] = {}
        resources: dict[str, Resource] = {}
        permissions: dict[tuple[str, str], Permission] = {}
        for role in FabAirflowSecurityManagerOverride.ROLE_CONFIGS:
            made = Role(name=role["role"])
            for action, resource in dict.fromkeys(role["perms"]):
                if (action, resource) not in permissions:
                    permissions[action, resource] = Permission(
                        action=actions.setdefault(action, Action(name=action)),
                        resource=resources.setdefault(resource, Resource(name=resource)),
                    )
                made.permissions.append(permissions[action, resource])
            session.add(made)
