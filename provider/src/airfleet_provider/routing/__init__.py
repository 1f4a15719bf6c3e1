"""Which queue and which slot pool a task goes to."""
