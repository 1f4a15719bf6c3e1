"""The table `airfleet.job`: the jobs that succeeded. A job runs again only if its input has changed."""

from __future__ import annotations

# The job that sets the password of airfleet's administrator to that of a file.
ADMIN_PASSWORD = "admin-password"  # noqa: S105 - the name of a job
