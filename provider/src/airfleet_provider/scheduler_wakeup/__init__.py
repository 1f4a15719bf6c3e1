"""Wakes the scheduler as soon as there is work, and reports to it which Dag runs changed."""
