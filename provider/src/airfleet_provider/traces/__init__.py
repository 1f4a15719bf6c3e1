"""Traces of ended Dag runs, built from the database and sent to a collector after the fact (ADR 70)."""
