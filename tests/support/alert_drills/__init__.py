"""Drills of alerts: break a real thing, see the alert at real receivers, heal the thing, see the end of the alert."""
