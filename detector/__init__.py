"""Offpath's core: decoupled networks, their paths, and what paths say about an image."""
