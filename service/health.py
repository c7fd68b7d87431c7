"""The standard health service: "" tells life, the names of our services tell readiness.

Draining and batches that fail turn the latter alone, so that load balancers look away and nobody
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
        service_names: Names under which readiness is asked for.
    """

    def __init__(self, *service_names: str) -> None:
        self._service_names = service_names
        self._is_ready = False
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in the stubs

    def register(self, server: Any) -> None:
        """Answer health checks on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def is_ready(self) -> bool:
        """Whether calls should be sent here."""
        return self._is_ready

    async def ready(self) -> None:
        """The bundle is loaded and warm."""
        await self._set(ready=True)

    async def draining(self) -> None:
        """Send nothing new here."""
        await self._set(ready=False)

    async def failing(self) -> None:
        """Send nothing here until it is ready again: its batches fail."""
        await self._set(ready=False)

    async def _set(self, *, ready: bool) -> None:
        self._is_ready = ready
        status = health_pb2.HealthCheckResponse
        for name in self._service_names:
            await self._servicer.set(name, status.SERVING if ready else status.NOT_SERVING)
