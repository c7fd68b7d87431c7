"""The standard health service: "" says the process is alive, our service's name that it is ready.

Draining and batches that fail turn the second alone, so that load balancers look away and nobody
restarts the process.
"""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

__all__ = ["HEALTH_SERVICE_NAME", "Health"]

HEALTH_SERVICE_NAME: str = health.SERVICE_NAME
"""Name of the health service itself."""


class Health:
    """What the server tells about itself.

    Args:
        service_name: Name under which readiness is asked for.
    """

    def __init__(self, service_name: str) -> None:
        self._service_name = service_name
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in the stubs

    def register(self, server: Any) -> None:
        """Answer health checks on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def ready(self) -> None:
        """The bundle is loaded and warm."""
        await self._servicer.set(self._service_name, health_pb2.HealthCheckResponse.SERVING)

    async def draining(self) -> None:
        """Send nothing new here."""
        await self._turn_away()

    async def failing(self) -> None:
        """Send nothing here until it is ready again: its batches fail."""
        await self._turn_away()

    async def _turn_away(self) -> None:
        await self._servicer.set(self._service_name, health_pb2.HealthCheckResponse.NOT_SERVING)
