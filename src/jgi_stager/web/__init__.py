"""The daemon's health over HTTP: ``/healthz`` for whoever restarts it, ``/metrics`` for Prometheus."""
