"""The statuses of a task's message in the table of results, airfleet.task_result."""

from __future__ import annotations

# A worker did not run the message, because the scheduler had not signed it.
REFUSED = "REFUSED"
# Celery's own words, and ours.
STATUSES = ("SUCCESS", "FAILURE", "REVOKED", REFUSED)
