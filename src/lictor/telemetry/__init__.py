"""What others may look at while the gateway runs: figures for Prometheus, traces for OpenTelemetry. Decides and keeps nothing."""
