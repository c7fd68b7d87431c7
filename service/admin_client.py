"""A typed client of the admin service; blocks, and speaks in plain data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import grpc
from offpath.admin.v1 import admin_pb2 as pb
from offpath.admin.v1 import admin_pb2_grpc as pb_grpc

from service.admin_results import BundlePlace, LoadedBundle, LoadedBundles, ShadowSummary
from service.call_errors import call_error
from service.security.credentials import Credentials

__all__ = ["AdminClient"]

_NO_CREDENTIALS = Credentials()
_PLACES = {
    pb.PLACE_ACTIVE: BundlePlace.ACTIVE,
    pb.PLACE_STANDBY: BundlePlace.STANDBY,
    pb.PLACE_PREVIOUS: BundlePlace.PREVIOUS,
}


class AdminClient:
    """Changes the bundle of a server; each call tells what is loaded after it.

    Args:
        address: Where the admin service is, ``host:port``.
        credentials: What the client shows and whom it trusts; nothing and anybody by default.
        timeout_s: Longest wait for an answer, seconds; loading takes as long as a start.

    Raises:
        CredentialsError: If the token would travel in the clear, or a file cannot be read.
    """

    def __init__(
        self, address: str, *, credentials: Credentials = _NO_CREDENTIALS, timeout_s: float = 300.0
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._metadata = credentials.metadata
        self._tls = credentials.tls is not None
        self._channel = credentials.channel(address, [])
        self._stub: Any = pb_grpc.AdminServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated code

    def bundles(self) -> LoadedBundles:
        """What is loaded.

        Raises:
            CallError: If the call failed, here as in all other methods.
        """
        return self._call(self._stub.ListBundles, pb.ListBundlesRequest())

    def load(self, folder: Path) -> LoadedBundles:
        """Load a bundle beside the active one.

        Args:
            folder: Its folder, an absolute path on the server's machine.
        """
        reply = self._reply(self._stub.LoadBundle, pb.LoadBundleRequest(folder=str(folder)))
        return replace(_parse(reply.loaded), asked=reply.digest)

    def shadow(self, share: float) -> LoadedBundles:
        """Let the bundle that stands by judge a share of the calls, in [0, 1]."""
        return self._call(self._stub.Shadow, pb.ShadowRequest(share=share))

    def promote(self, digest: str) -> LoadedBundles:
        """Let the bundle that stands by answer; its digest says that it is the one meant."""
        return self._call(self._stub.Promote, pb.PromoteRequest(digest=digest))

    def roll_back(self) -> LoadedBundles:
        """Let the previous bundle answer again."""
        return self._call(self._stub.RollBack, pb.RollBackRequest())

    def unload(self, digest: str) -> LoadedBundles:
        """Drop a bundle that is not active."""
        return self._call(self._stub.Unload, pb.UnloadRequest(digest=digest))

    def reset_drift(self) -> LoadedBundles:
        """Let the active bundle look for drift as if it had seen no image yet."""
        return self._call(self._stub.ResetDrift, pb.ResetDriftRequest())

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: Any, request: Any) -> LoadedBundles:
        return _parse(self._reply(method, request).loaded)

    def _reply(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise call_error(error, self._address, tls=self._tls) from error


def _parse(loaded: pb.Loaded) -> LoadedBundles:
    shadow = loaded.shadow
    compared = shadow.HasField("mean_p_value_difference")
    return LoadedBundles(
        bundles=tuple(
            LoadedBundle(
                digest=each.digest,
                place=_PLACES[each.place],
                created=each.created,
                backbone=each.backbone,
                alpha=each.alpha,
                pending_images=each.pending_images,
                drift_found=each.drift_found,
            )
            for each in loaded.bundles
        ),
        shadow=ShadowSummary(
            share=shadow.share,
            calls=shadow.calls,
            dropped_calls=shadow.dropped_calls,
            failed_calls=shadow.failed_calls,
            images=shadow.images,
            class_disagreements=shadow.class_disagreements,
            verdict_disagreements=shadow.verdict_disagreements,
            mean_p_value_difference=shadow.mean_p_value_difference if compared else None,
        ),
    )
