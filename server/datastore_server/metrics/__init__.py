"""What a server measures, for Prometheus: `definitions`, what each is at a moment (`samples`), and the HTTP port."""
