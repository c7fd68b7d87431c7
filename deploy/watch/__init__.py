"""Offpath watched by a real Prometheus on this machine: ``python -m deploy.watch``."""
