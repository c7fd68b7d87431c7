"""Health checks on an address of their own, for those who ask without TLS."""

from __future__ import annotations

from typing import Any

import grpc

from service.health import Health

__all__ = ["HealthServer"]

_LARGEST_MESSAGE_BYTES = 1024
"""The name of a service and some air."""


class HealthServer:
    """Answers health checks and nothing else, in the clear.

    Args:
        health: What it tells.
    """

    def __init__(self, health: Health) -> None:
        self._server: Any = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
            ]
        )
        health.register(self._server)

    def listen(self, address: str) -> int:
        """Take an address.

        Args:
            address: Address of this machine, ``host:port``; port 0 takes any free one.

        Returns:
            The port.

        Raises:
            RuntimeError: If it cannot be had.
        """
        return int(self._server.add_insecure_port(address))

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, and give up those that run."""
        await self._server.stop(None)
