"""What becomes of a task that failed, by the rules of fleet.yaml."""
