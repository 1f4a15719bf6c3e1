"""The dashboards that airfleet ships. They read metrics of `metrics`, of recording rules, and of known exporters."""
