"""Which queue and which slot pool a task goes to, and how much later than its cron a run begins."""
