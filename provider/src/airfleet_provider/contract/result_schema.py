"""The statuses of a task's message in the table `airfleet.task_result`."""

from __future__ import annotations

# A worker did not run the message, because the scheduler had not signed it.
REFUSED = "REFUSED"
# Celery's statuses, and airfleet's.
STATUSES = ("SUCCESS", "FAILURE", "REVOKED", REFUSED)
