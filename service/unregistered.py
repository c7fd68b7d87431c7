"""Methods that gRPC looks up when they are called, instead of waiting for each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Unregistered"]


class Unregistered:
    """A server as servicers see it, which registers no method.

    Generated code hands a servicer's methods over twice: to be looked up by name, and to be
    *registered*. gRPC's asyncio server then waits for the next call of each registered method in a
    task of its own, and sets up and takes down the wait for all of them at every call: with the
    dozen methods of a server that costs more than to read the request. Looked up, a method is one
    entry of a dictionary.

    Args:
        server: What answers the calls.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Look these methods up by their names."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Leave the same methods unregistered."""
