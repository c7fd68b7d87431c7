"""The calls of the AdminService."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from offpath.admin.v1 import admin_pb2 as pb
from offpath.admin.v1 import admin_pb2_grpc as pb_grpc

from detector.errors import InvalidInputError
from service.admin_codec import encode_loaded
from service.engines import Engines
from service.security.disclosure import check_right
from service.security.principal import Right, current_principal

__all__ = ["ADMIN_NAME", "AdminServicer"]

ADMIN_NAME: str = pb.DESCRIPTOR.services_by_name["AdminService"].full_name
"""The service's full name on the wire."""


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Changes which bundle answers, for those who may.

    Args:
        engines: What is changed.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def register(self, server: Any) -> None:
        """Answer calls on a server."""
        add = pb_grpc.add_AdminServiceServicer_to_server
        add(self, server)  # type: ignore[no-untyped-call]  # generated code

    async def ListBundles(  # noqa: N802  # the contract's name
        self,
        request: pb.ListBundlesRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ListBundlesResponse:
        """Tell which bundles are loaded."""
        _check_admin()
        return pb.ListBundlesResponse(loaded=encode_loaded(self._engines))

    async def LoadBundle(  # noqa: N802  # the contract's name
        self,
        request: pb.LoadBundleRequest,
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.LoadBundleResponse:
        """Load a bundle beside the active one."""
        _check_admin()
        digest = await self._engines.load(_folder(request.folder))
        return pb.LoadBundleResponse(loaded=encode_loaded(self._engines), digest=digest)

    async def Shadow(  # noqa: N802  # the contract's name
        self,
        request: pb.ShadowRequest,
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ShadowResponse:
        """Let the bundle that stands by judge a share of the calls."""
        _check_admin()
        self._engines.start_shadow(request.share)
        return pb.ShadowResponse(loaded=encode_loaded(self._engines))

    async def Promote(  # noqa: N802  # the contract's name
        self,
        request: pb.PromoteRequest,
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.PromoteResponse:
        """Let the bundle that stands by answer."""
        _check_admin()
        self._engines.promote(request.digest)
        return pb.PromoteResponse(loaded=encode_loaded(self._engines))

    async def RollBack(  # noqa: N802  # the contract's name
        self,
        request: pb.RollBackRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.RollBackResponse:
        """Let the bundle before answer again."""
        _check_admin()
        self._engines.roll_back()
        return pb.RollBackResponse(loaded=encode_loaded(self._engines))

    async def Unload(  # noqa: N802  # the contract's name
        self,
        request: pb.UnloadRequest,
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.UnloadResponse:
        """Drop a bundle that is not active."""
        _check_admin()
        self._engines.unload(request.digest)
        return pb.UnloadResponse(loaded=encode_loaded(self._engines))

    async def ResetDrift(  # noqa: N802  # the contract's name
        self,
        request: pb.ResetDriftRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ResetDriftResponse:
        """Let the active bundle look for drift anew."""
        _check_admin()
        if self._engines.active.drift is not None:
            self._engines.active.drift.reset()
        return pb.ResetDriftResponse(loaded=encode_loaded(self._engines))


def _check_admin() -> None:
    check_right(current_principal(), Right.ADMIN, "The admin service", asked=True)


def _folder(text: str) -> Path:
    folder = Path(text)
    # A relative one would be looked for where the server happened to be started.
    if not folder.is_absolute() or "\0" in text:
        raise InvalidInputError(
            "folder should be an absolute path on the server's machine. Found another. "
            "Write it out from the root.",
            field="folder",
        )
    return folder
