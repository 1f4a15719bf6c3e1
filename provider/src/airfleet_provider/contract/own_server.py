"""What airfleet makes on a PostgreSQL that somebody else runs, as SQL: the logins of the result database (ADR 53).

Names are those of fleet.yaml, which allows no quotes in them, and passwords are verifiers of SCRAM.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def make_logins(role: str, logins: Mapping[str, str], there: Collection[str]) -> list[str]:
    """Return SQL that gives each of `logins` its password, and makes those that are not `there`.

    During a rotation the second password belongs to a member of the role, whose sessions act as the role.
    """
    lines = [f'CREATE ROLE "{role}"'] if role not in (*logins, *there) else []
    for login, password in logins.items():
        verb = "ALTER" if login in there else "CREATE"
        lines.append(f"{verb} ROLE \"{login}\" LOGIN PASSWORD '{password}'")
        if login != role:
            lines += [f'GRANT "{role}" TO "{login}"', f"ALTER ROLE \"{login}\" SET role = '{role}'"]
    return lines


def end_logins(role: str, logins: Collection[str], there: Collection[str]) -> list[str]:
    """Return SQL that ends the logins of a role that are no longer valid. `there` are the roles that may log in."""
    former = sorted(one for one in there if one.startswith(f"{role}.") and one not in logins)
    closed = [f'ALTER ROLE "{role}" NOLOGIN PASSWORD NULL'] if role in there and role not in logins else []
    return [*(f'DROP ROLE "{one}"' for one in former), *closed]


def protect_database(database: str, roles: Collection[str]) -> list[str]:
    """Return SQL that lets nobody but the roles connect to the result database."""
    named = ", ".join(f'"{role}"' for role in roles)
    return [f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC', f'GRANT CONNECT ON DATABASE "{database}" TO {named}']
