"""The exporter: it reads facts about the platform at intervals, and serves the last ones as Prometheus metrics."""
