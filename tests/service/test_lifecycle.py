"""Bundles change under a real server, with real bundles of untrained networks."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from offpath.inference.v2 import open_inference_pb2 as oip
from offpath.inference.v2 import open_inference_pb2_grpc as oip_grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from detector.bundle import Bundle, BundleManifest, load_bundle, save_bundle
from detector.weights import NetworkInfo
from service.admin_client import AdminClient
from service.admin_results import BundlePlace, LoadedBundles
from service.results import RefusedChangeError
from service.server import DetectionServer

pytestmark = pytest.mark.slow
ALWAYS = 7
CALLERS = 8


@pytest.fixture(scope="module")
def first(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture(scope="module")
def second_folder(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network sees class 7 in every image."""
    folder = tmp_path_factory.mktemp("bundles") / "second"
    bundle = load_bundle(bundle_folder)
    head = [m for m in bundle.pipeline.network.backbone.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        head[-1].bias[ALWAYS] += 1000
    info = NetworkInfo(
        backbone=bundle.manifest.backbone,
        class_names=bundle.manifest.class_names,
        preprocessing=bundle.manifest.preprocessing,
    )
    save_bundle(folder, bundle.pipeline, info, provenance={"created": "2021-01-01T00:00:00+00:00"})
    return folder


@pytest.fixture
async def running(
    first: Bundle, make_settings: Callable[..., Any]
) -> AsyncIterator[Callable[..., Any]]:
    """Starts servers of the first bundle; all are stopped at the end."""
    servers: list[DetectionServer] = []

    async def start(**changes: Any) -> DetectionServer:
        settings = make_settings(batch_sizes=(1, 4), **{"admin_port": 0, **changes})
        servers.append(await DetectionServer.start(first, settings))
        return servers[-1]

    yield start
    for server in servers:
        await server.drain()


@pytest.fixture
def requests() -> list[pb.DetectRequest]:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    return [
        pb.DetectRequest(
            images=[
                pb.Image(raw=pb.RawTensor(data=each.tobytes(), height=32, width=32, channels=3))
            ],
            level=pb.LEVEL_FAST,
        )
        for each in pixels
    ]


async def told(server: DetectionServer, action: str, *arguments: Any) -> LoadedBundles:
    """What the admin client is told, on a thread as it blocks."""

    def call() -> LoadedBundles:
        assert server.admin_address is not None
        with AdminClient(server.admin_address, timeout_s=200) as client:
            found: LoadedBundles = getattr(client, action)(*arguments)
            return found

    return await asyncio.to_thread(call)


async def metrics_of(server: DetectionServer) -> str:
    def read() -> str:
        with urllib.request.urlopen(server.metrics_url) as reply:
            return str(reply.read().decode())

    return await asyncio.to_thread(read)


async def test_bundles_change_under_load_and_each_reply_comes_from_the_bundle_it_names(
    running: Any, first: Bundle, second_folder: Path, requests: Any
) -> None:
    server = await running()
    stop = asyncio.Event()
    seen: list[tuple[int, str, int]] = []

    async def caller(number: int) -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = pb_grpc.DetectionServiceStub(channel)
            while not stop.is_set():
                reply = await stub.Detect(requests[number % len(requests)], timeout=200)
                (found,) = reply.detections
                seen.append((number % len(requests), reply.bundle_digest, found.predicted_class))

    async def answered_by(digest: str) -> None:
        start = len(seen)
        async with asyncio.timeout(200):
            while not any(each[1] == digest for each in seen[start:]):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.01)

    callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
    ours = first.manifest.digest
    await answered_by(ours)
    theirs = BundleManifest.read(second_folder).digest
    loaded = await told(server, "load", second_folder)
    assert [each.digest for each in loaded.bundles] == [ours, theirs]
    await told(server, "shadow", 0.5)
    await answered_by(ours)
    for _ in range(3):
        loaded = await told(server, "promote", theirs)
        assert loaded.at(BundlePlace.ACTIVE).digest == theirs  # type: ignore[union-attr]
        assert loaded.at(BundlePlace.PREVIOUS).digest == ours  # type: ignore[union-attr]
        await answered_by(theirs)
        loaded = await told(server, "roll_back")
        assert loaded.at(BundlePlace.ACTIVE).digest == ours  # type: ignore[union-attr]
        await answered_by(ours)
    stop.set()
    await asyncio.gather(*callers)  # raises what any call ended with
    own = {number: klass for number, digest, klass in seen if digest == ours}
    for number, digest, klass in seen:
        assert klass == (own[number] if digest == ours else ALWAYS)
    assert any(klass != ALWAYS for klass in own.values())


async def test_all_that_describes_the_bundle_follows_a_promotion(
    running: Any, second_folder: Path
) -> None:
    server = await running()
    await told(server, "load", second_folder)
    theirs = BundleManifest.read(second_folder).digest
    await told(server, "promote", theirs)
    async with grpc.aio.insecure_channel(server.address) as channel:
        bundle = await pb_grpc.DetectionServiceStub(channel).GetBundle(pb.GetBundleRequest())
        model = await oip_grpc.GRPCInferenceServiceStub(channel).ModelMetadata(
            oip.ModelMetadataRequest(name="offpath")
        )
    assert (bundle.digest, bundle.created) == (theirs, "2021-01-01T00:00:00+00:00")
    assert all(level.milliseconds_per_image > 0 for level in bundle.levels)
    assert list(model.versions) == [theirs[:12]]
    (info,) = [
        line
        for line in (await metrics_of(server)).splitlines()
        if line.startswith("offpath_bundle_info")
    ]
    assert f'digest="{theirs}"' in info


@pytest.mark.parametrize("damage", ["byte", "file", "classes", "empty"])
async def test_a_bad_bundle_is_refused_and_the_old_one_answers(
    running: Any, first: Bundle, bundle_folder: Path, tmp_path: Path, requests: Any, damage: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(bundle_folder, bad)
    match damage:
        case "byte":
            file = bad / "detector.safetensors"
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
            resealed(bad, created="2022")
        case "file":
            (bad / "golden.safetensors").unlink()
            resealed(bad, created="2022")
        case "classes":
            names = first.manifest.class_names
            resealed(bad, class_names=(names[1], names[0], *names[2:]))
        case _:
            shutil.rmtree(bad)
            bad.mkdir()
    server = await running()
    with pytest.raises(RefusedChangeError, match="Found"):
        await told(server, "load", bad)
    loaded = await told(server, "bundles")
    assert [each.digest for each in loaded.bundles] == [first.manifest.digest]
    async with grpc.aio.insecure_channel(server.address) as channel:
        reply = await pb_grpc.DetectionServiceStub(channel).Detect(requests[0], timeout=200)
    assert reply.bundle_digest == first.manifest.digest
    assert 'offpath_bundle_loads_total{outcome="failed"} 1.0' in await metrics_of(server)


def resealed(folder: Path, **changes: Any) -> str:
    """Another manifest over the same files, and its digest."""
    manifest = BundleManifest.read(folder)
    names = [field.name for field in dataclasses.fields(manifest)]
    fields = {name: getattr(manifest, name) for name in names}
    del fields["schema_version"], fields["digest"]
    other = BundleManifest.sealed(**{**fields, **changes})
    other.write(folder)
    return other.digest


@pytest.mark.parametrize("promote", [False, True])
async def test_the_watch_picks_up_what_is_put_into_the_folder(
    running: Any, bundle_folder: Path, second_folder: Path, tmp_path: Path, promote: bool
) -> None:
    watched = tmp_path / "watched"
    shutil.copytree(bundle_folder, watched)
    server = await running(bundle=watched, watch_bundle_s=0.05, promote_watched=promote)
    await asyncio.sleep(0.5)  # what is served already is nothing new
    assert server.engines.standby is None
    shutil.rmtree(watched)
    shutil.copytree(second_folder, watched)
    theirs = BundleManifest.read(second_folder).digest
    async with asyncio.timeout(200):
        while not server.engines.holds(theirs) or (  # noqa: ASYNC110  # no event
            promote and server.engines.active.digest != theirs
        ):
            await asyncio.sleep(0.05)
    assert (server.engines.active.digest == theirs) is promote
    assert 'offpath_bundle_loads_total{outcome="done"} 1.0' in await metrics_of(server)


async def test_a_server_drains_with_a_bundle_that_stands_by_and_a_shadow(
    running: Any, second_folder: Path, requests: Any
) -> None:
    others = set(threading.enumerate())
    server = await running()
    await told(server, "load", second_folder)
    await told(server, "shadow", 1.0)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        calls = [asyncio.ensure_future(stub.Detect(each, timeout=200)) for each in requests * 4]
        await asyncio.gather(*calls[:4])
        assert await server.drain()
        ends = await asyncio.gather(*calls, return_exceptions=True)
    failed = [end for end in ends if isinstance(end, BaseException)]
    assert all(
        isinstance(end, grpc.aio.AioRpcError) and end.code() is grpc.StatusCode.UNAVAILABLE
        for end in failed
    )
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if thread.name.startswith("offpath-inference")]
