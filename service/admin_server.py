"""The admin service on an address of its own."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from service.admin import ADMIN_NAME, AdminServicer
from service.engines import Engines
from service.interceptors import CallInterceptor

__all__ = ["AdminServer"]

_LARGEST_MESSAGE_BYTES = 64 * 1024
"""A path of a folder and some air."""


class AdminServer:
    """Answers those who change bundles, apart from those who ask about images.

    Args:
        engines: What is changed.
        interceptor: Guards and counts the calls.
    """

    def __init__(self, engines: Engines, *, interceptor: CallInterceptor) -> None:
        self._server = grpc.aio.server(
            interceptors=[interceptor],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
            ],
        )
        AdminServicer(engines).register(self._server)
        reflection.enable_server_reflection((ADMIN_NAME, reflection.SERVICE_NAME), self._server)
        self._host = ""
        self._port = 0

    @property
    def address(self) -> str:
        """Where it listens, ``host:port``."""
        return _address(self._host, self._port)

    def listen(self, host: str, port: int, credentials: Any) -> None:
        """Take an address.

        Args:
            host: Address of this machine.
            port: 0 takes any free one.
            credentials: gRPC's, for TLS; None for none.

        Raises:
            RuntimeError: If it cannot be had.
        """
        address = _address(host, port)
        if credentials is None:
            found = self._server.add_insecure_port(address)
        else:
            found = self._server.add_secure_port(address, credentials)
        self._host, self._port = host, int(found)

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, and give up those that run."""
        await self._server.stop(None)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
