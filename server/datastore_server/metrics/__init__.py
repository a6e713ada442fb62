"""Metrics for Prometheus: their `definitions`, their current values (`samples`), and the port that serves them."""
