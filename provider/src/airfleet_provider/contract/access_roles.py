"""The permissions of roles of fleet.yaml, in the words of Airflow's FAB auth manager (ADR 71).

They say what a role may do at all. On which Dags it may do so is decided by its rules. So they hold no permission on
all Dags, and none on what Airflow does not tell apart by Dags: connections, variables, assets, import errors of files
without a Dag, jobs, and the activity of the whole cluster.
"""

from __future__ import annotations

# The roles that Airflow makes. Their names mean what they mean in Airflow, so fleet.yaml cannot define them.
AIRFLOW_ROLES = ("Admin", "Op", "User", "Viewer", "Public")
ADMIN_ROLE = "Admin"
# The administrator that airfleet makes itself. No rule of fleet.yaml changes this user.
PLATFORM_ADMIN = "admin"

# An action and a resource.
Permission = tuple[str, str]

_READABLE = (
    *("DAG Code", "DAG Dependencies", "DAG Runs", "DAG Versions", "DAG Warnings", "HITL Detail", "Pools"),
    *("Task Instances", "Task Logs", "XComs", "Website", "My Password", "My Profile"),
)
_MENUS = ("Browse", "DAGs", "DAG Runs", "Task Instances", "Documentation", "Docs")
READING: frozenset[Permission] = frozenset(
    {
        *(("can_read", one) for one in _READABLE),
        *(("menu_access", one) for one in _MENUS),
        *(("can_edit", one) for one in ("My Password", "My Profile")),
    }
)
EDITING: frozenset[Permission] = frozenset(
    {
        *((action, "DAG Runs") for action in ("can_create", "can_edit", "can_delete")),
        *((action, "Task Instances") for action in ("can_create", "can_edit", "can_delete")),
        ("can_edit", "HITL Detail"),
    }
)
# Airflow writes these by itself, for `access_control` in a Dag file; fleet.yaml does not know them.
OF_ONE_DAG = ("DAG:", "DAG Run:")


def find_permissions(*, edits: bool) -> frozenset[Permission]:
    """Return the permissions of a role that reads Dags, and edits some if `edits`."""
    return READING | EDITING if edits else READING
