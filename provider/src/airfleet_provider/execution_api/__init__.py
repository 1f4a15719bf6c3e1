"""The API that tasks report to: a fast path for the calls that every task makes."""
