"""Servicers hand their methods over to be looked up by name, and to nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.unregistered import Unregistered


class Server:
    """Notes what it gets; a registered method would be an error, as it has no such function."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.handlers += handlers


def test_methods_are_looked_up_and_not_registered() -> None:
    server = Server()
    methods = Unregistered(server)
    methods.add_generic_rpc_handlers(("by name",))
    methods.add_registered_method_handlers("offpath.v1.DetectionService", {"Detect": "registered"})
    assert server.handlers == ["by name"]
