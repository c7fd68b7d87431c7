"""Grafana dashboards, written as code: ``python -m deploy.grafana`` makes their JSON."""
