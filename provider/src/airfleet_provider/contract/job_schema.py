"""What `airfleet.job` holds: the jobs that ended well, which run again only when their input has changed."""

from __future__ import annotations

# The job that gives airfleet's administrator the password of a file.
ADMIN_PASSWORD = "admin-password"  # noqa: S105 - the name of a job
