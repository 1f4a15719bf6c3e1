"""Alerts that reach a person: who is notified, the outbox, and the messages to each kind of receiver."""
