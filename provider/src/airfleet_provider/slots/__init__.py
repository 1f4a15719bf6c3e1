"""The slots of workers: what the tasks need, the loop that decides, and what a worker reports (ADR 51)."""
