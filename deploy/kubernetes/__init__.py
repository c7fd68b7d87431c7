"""Manifests for Kubernetes; `python -m deploy.kubernetes` makes the one that follows others."""
