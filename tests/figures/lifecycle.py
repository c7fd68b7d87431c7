"""Whether bundles change under load without a lost call, and how soon a killed server is back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from detector.bundle import DEFAULT_BUNDLE, BundleManifest
from service.admin_client import AdminClient
from service.admin_results import ShadowSummary
from service.local_server import LocalServer, local_server
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.serving import is_serving, png, serving

__all__ = ["lifecycle"]

_CALLERS = 32
_IMAGES = 64
_BETWEEN_S = 2.0
_CHANGES = 5
_COMPARED = 20
_TIMEOUT_S = 60.0
_BACK_TARGET_S = 10.0
_BACK_TIMES = 3
_POLL_S = 0.05


def lifecycle(bench: Bench) -> list[Figure]:
    """Every change of a bundle under 32 callers in closed loops, then SIGTERM; then SIGKILL.

    The second bundle is the bundled default with another note on its provenance: another digest,
    the same answers. Any call that ends other than OK is lost, but those that SIGTERM has refused.
    """
    images = bench.pixels(bench.splits.test, _IMAGES).permute(0, 2, 3, 1).numpy()
    requests = [pb.DetectRequest(images=[pb.Image(encoded=png(image))]) for image in images]
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as folder:
        other = Path(folder) / "other"
        digest = _copy_of_default(other)
        options = ("--admin-port", "0", "--drain-delay-s", "0.5")
        with local_server(*options) as server:
            changes = asyncio.run(_changes(server, other, digest, requests))
    return [*changes, _back_after_a_kill()]


def _copy_of_default(folder: Path) -> str:
    shutil.copytree(DEFAULT_BUNDLE, folder)
    manifest = BundleManifest.read(folder)
    names = {field.name for field in dataclasses.fields(manifest)} - {"schema_version", "digest"}
    fields = {name: getattr(manifest, name) for name in names}
    copy = BundleManifest.sealed(**{**fields, "provenance": {"note": "a copy to be promoted"}})
    copy.write(folder)
    return copy.digest


async def _changes(
    server: LocalServer, other: Path, digest: str, requests: list[pb.DetectRequest]
) -> list[Figure]:
    ends: Counter[str] = Counter()
    digests: Counter[str] = Counter()
    with AdminClient(server.admin_address) as admin:
        async with _calling(server, requests, ends, digests):
            await asyncio.sleep(_BETWEEN_S)
            started = time.monotonic()
            await asyncio.to_thread(admin.load, other)
            loaded_s = time.monotonic() - started
            await asyncio.to_thread(admin.shadow, 1.0)
            seen = await _compared(admin)
            for _ in range(_CHANGES):
                await asyncio.to_thread(admin.promote, digest)
                await asyncio.sleep(_BETWEEN_S / 2)
                await asyncio.to_thread(admin.roll_back)
                await asyncio.sleep(_BETWEEN_S / 2)
            await asyncio.to_thread(admin.promote, digest)
            await asyncio.sleep(_BETWEEN_S / 2)
            changed = Counter(ends)
            code = await asyncio.to_thread(server.stop)
    lost = ends.total() - ends["ok"] - ends["refused"] - ends["no server"]
    before = changed.total() - changed["ok"]
    disagreed = seen.class_disagreements + seen.verdict_disagreements
    return [
        Figure(
            name=f"calls lost: load, shadow, promote, roll back, {_CALLERS} callers",
            target="0, both bundles answer",
            measured=(
                f"{before} of {changed.total()}; {_CHANGES + 1} promotions, {_CHANGES} rollbacks, "
                f"loaded in {loaded_s:.1f} s, answered by each: "
                f"{', '.join(str(n) for n in digests.values())}"
            ),
            holds=before == 0 and len(digests) == 2,
        ),
        Figure(
            name="shadow of the same bundle: images judged otherwise",
            target=f"0 of at least {_COMPARED}",
            measured=f"{disagreed} of {seen.images} ({seen.dropped_calls} calls left out)",
            holds=disagreed == 0 and seen.images >= _COMPARED,
        ),
        Figure(
            name=f"accepted calls lost, SIGTERM with two bundles, {_CALLERS} callers",
            target="0, exit code 0",
            measured=f"{lost}, exit code {code}; {ends['ok']} answered, {ends['refused']} refused",
            holds=lost == 0 and code == 0,
        ),
    ]


async def _compared(admin: AdminClient) -> ShadowSummary:
    """What the shadow has seen, once that is enough."""
    give_up = time.monotonic() + _TIMEOUT_S
    while True:
        await asyncio.sleep(_BETWEEN_S)
        seen = (await asyncio.to_thread(admin.bundles)).shadow
        if seen.images >= _COMPARED or time.monotonic() > give_up:
            return seen


@contextlib.asynccontextmanager
async def _calling(
    server: LocalServer,
    requests: list[pb.DetectRequest],
    ends: Counter[str],
    digests: Counter[str],
) -> AsyncIterator[None]:
    """Callers in closed loops; each looks away at its first call that is not answered."""

    async def caller(detect: grpc.aio.UnaryUnaryMultiCallable, number: int) -> None:
        while True:
            try:
                reply = await detect(requests[number % len(requests)], timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                ends[_end(error)] += 1
                return
            ends["ok"] += 1
            digests[reply.bundle_digest] += 1

    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        callers = [asyncio.create_task(caller(stub.Detect, i)) for i in range(_CALLERS)]
        yield
        await asyncio.gather(*callers)


def _end(error: grpc.aio.AioRpcError) -> str:
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return f"failed with {error.code().name}"
    met = any(key == "x-request-id" for key, _ in error.trailing_metadata() or ())
    return "refused" if met else "no server"


def _back_after_a_kill() -> Figure:
    """From the start of the process that replaces a killed one to SERVING on the same port."""
    times = [_back_s() for _ in range(_BACK_TIMES)]
    return Figure(
        name="SIGKILL and restart: from start to SERVING",
        target=f"< {_BACK_TARGET_S:g} s",
        measured=f"{max(times):.1f} s (of {_BACK_TIMES}: {', '.join(f'{t:.1f}' for t in times)})",
        holds=max(times) < _BACK_TARGET_S,
    )


def _back_s() -> float:
    with serving() as server:
        server.process.kill()
        server.process.wait()
        address = server.address
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "service.cli", "serve", "--port", port, "--metrics-port", "0"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _serves(address):
                if process.poll() is not None:
                    raise RuntimeError(f"A server should start. Found it gone: {command}.")
                time.sleep(_POLL_S)
            return time.monotonic() - started
        finally:
            process.kill()


def _serves(address: str) -> bool:
    try:
        return is_serving(address)
    except grpc.RpcError:
        return False
