"""The SLA engine: evaluates the rules of fleet.yaml on what runs, and predicts what will be late (ADR 46)."""
