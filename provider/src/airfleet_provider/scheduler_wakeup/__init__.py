"""Wakes the scheduler as soon as there is work, and tells it which Dag runs changed."""
