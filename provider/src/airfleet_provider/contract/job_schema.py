"""The table `airfleet.job`: the jobs that succeeded. A job runs again only if its input has changed."""

from __future__ import annotations

# The job that sets the password of airfleet's administrator to that of a file.
ADMIN_PASSWORD = "admin-password"  # noqa: S105 - the name of a job
# The last backup of the databases of a fleet; its host writes the row.
BACKUP = "backup"
# The last archive of finished runs that ended with success.
RUN_ARCHIVE = "run-archive"
# The last archive by the timetable that left no run for the next one; while there was none, the first one that left
# some. `fingerprint` is how many runs the latest one left.
RUN_ARCHIVE_COMPLETE = "run-archive-complete"
