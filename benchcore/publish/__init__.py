"""Where results are sent: Prometheus, OpenTelemetry."""
