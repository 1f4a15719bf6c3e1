"""Who changed what: the requests and commands that are recorded in the audit log (ADR 57)."""
