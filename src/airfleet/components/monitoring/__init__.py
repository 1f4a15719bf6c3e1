"""Prometheus and Alertmanager: what they read, the rules that they evaluate, and where alerts go."""
