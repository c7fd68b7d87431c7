"""Drift withdraws the promise where everybody can see it, and attacks do not."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service.admin_client import AdminClient
from service.client import AsyncClient
from service.codec import encode_drift
from service.drift import DriftWatch
from service.results import DriftDescription, DriftState, LayerShift
from service.security.principal import Right
from service.tables import drift_line

HIGHEST = 200
"""Calibration scores of the fake pipeline are even below this."""


@pytest.fixture
async def serve(start: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Starts a server, and gives it with a call that sends images of some scores."""
    channels = []

    async def serve(**changes: Any) -> tuple[Any, Callable[..., Any]]:
        # The images of the fake pipeline differ in a pixel only, as those of campaigns do.
        server = await start(**{"campaign_policy": "off", **changes})
        channels.append(grpc.aio.insecure_channel(server.address))
        stub = pb_grpc.DetectionServiceStub(channels[-1])

        async def send(scores: Any) -> None:
            for part in np.array_split(np.asarray(scores), -(-len(scores) // 64)):
                await stub.Detect(pb.DetectRequest(images=[image(int(s)) for s in part]))

        return server, send

    yield serve
    for channel in channels:
        await channel.close()


NUMBERS = itertools.count()


def image(score: int) -> pb.Image:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0, 1, 0], pixels[0, 2, 0] = score, 3
    pixels[7, :2, 0] = divmod(next(NUMBERS), 256)  # no two images are the same
    return pb.Image(raw=pb.RawTensor(data=pixels.tobytes(), height=8, width=8, channels=3))


def clean(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(HIGHEST, size=count)


def drifted(count: int, seed: int = 0) -> Any:
    return clean(count, seed) // 2 + HIGHEST // 3


def value(server: Any, name: str, **labels: str) -> float:
    return float(server._metrics.registry.get_sample_value(f"offpath_{name}", labels))


async def described(server: Any) -> DriftDescription:
    async with AsyncClient(server.address) as client:
        return (await client.bundle()).drift


async def test_before_the_first_image_nothing_is_known(serve: Callable[..., Any]) -> None:
    server, _ = await serve()
    assert await described(server) == DriftDescription(state=DriftState.NONE)
    assert value(server, "drift_alarm") == value(server, "drift_images_total") == 0
    assert value(server, "drift_log_martingale") < 0


async def test_clean_traffic_leaves_the_promise_where_it_is(serve: Callable[..., Any]) -> None:
    server, send = await serve()
    await send(clean(600))
    told = await described(server)
    assert told.state is DriftState.NONE
    assert datetime.fromisoformat(told.since).tzinfo is not None
    assert (told.found, told.advice, told.layers) == ("", "", ())
    assert value(server, "drift_alarm") == 0
    # A fifth is left out as suspicious: binomial, within four standard errors.
    assert abs(value(server, "drift_images_total") - 480) < 4 * np.sqrt(600 * 0.2 * 0.8)


async def test_drift_withdraws_the_promise_and_says_what_to_do(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server, send = await serve()
    with caplog.at_level(logging.WARNING, logger="service.drift"):
        await send(drifted(600))
    told = await described(server)
    assert told.state is DriftState.FOUND
    assert told.since <= told.found
    assert "calibrate a bundle on recent clean images" in told.advice
    assert {layer.name for layer in told.layers} == {"first", "second"}
    assert value(server, "drift_alarm") == 1
    assert value(server, "drift_log_martingale") >= np.log(1000)
    (record,) = [each for each in caplog.records if each.name == "service.drift"]
    assert told.advice in record.getMessage()
    assert re.search(r"furthest: (first|second) 0\.\d+", record.getMessage())
    line = drift_line(told)
    assert line is not None
    assert told.advice in line.plain


async def test_drift_stays_found_when_clean_traffic_comes_back(serve: Callable[..., Any]) -> None:
    server, send = await serve()
    await send(drifted(600))
    await send(clean(600))
    assert value(server, "drift_alarm") == 1


async def test_layers_tell_where_the_path_moved(serve: Callable[..., Any]) -> None:
    server, send = await serve()
    await send(clean(200))
    # The first layer's gates are closed throughout, at a rate of one half; all move alike.
    assert value(server, "layer_drift_ratio", layer="first") == pytest.approx(0.5)
    assert value(server, "drift_alarm") == 0


async def test_flagged_images_alone_are_no_drift(serve: Callable[..., Any]) -> None:
    server, send = await serve()
    await send([HIGHEST + 20] * 600)
    assert value(server, "drift_images_total") == 0
    assert value(server, "drift_alarm") == 0


async def test_images_of_a_campaign_are_no_drift(serve: Callable[..., Any]) -> None:
    server, send = await serve(campaign_policy="observe", campaign_related=5)
    await send(drifted(600))
    assert value(server, "drift_images_total") < 60
    assert value(server, "drift_alarm") == 0


@pytest.mark.parametrize("policy", ["off", "observe"])
async def test_an_image_that_is_sent_again_counts_once_whatever_its_level(
    start: Callable[..., Any], policy: str
) -> None:
    server = await start(campaign_policy=policy)
    one, other = (image(HIGHEST // 2) for _ in range(2))
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        for level in (pb.LEVEL_STANDARD, pb.LEVEL_THOROUGH, pb.LEVEL_STANDARD):
            await stub.Detect(pb.DetectRequest(images=[one, one], level=level))
        assert value(server, "drift_images_total") == 1
        await stub.Detect(pb.DetectRequest(images=[other]))
    assert value(server, "drift_images_total") == 2


async def test_nobody_looks_where_it_is_turned_off(serve: Callable[..., Any]) -> None:
    server, send = await serve(watch_drift=False)
    await send(drifted(600))
    assert await described(server) == DriftDescription(state=DriftState.UNWATCHED)
    assert value(server, "drift_alarm") == value(server, "drift_images_total") == 0


async def test_after_a_reset_it_looks_anew(serve: Callable[..., Any]) -> None:
    server, send = await serve()
    await send(drifted(600))
    server.engines.active.drift.reset()
    assert await described(server) == DriftDescription(state=DriftState.NONE)
    assert value(server, "drift_alarm") == 0
    await send(drifted(600))
    assert value(server, "drift_alarm") == 1


async def test_an_administrator_sees_drift_and_resets_it(serve: Callable[..., Any]) -> None:
    server, send = await serve(admin_port=0)
    await send(drifted(600))

    def administer() -> list[str]:
        with AdminClient(server.admin_address) as client:
            return [
                client.bundles().bundles[0].drift_found,
                client.reset_drift().bundles[0].drift_found,
            ]

    told = await described(server)
    assert await asyncio.to_thread(administer) == [told.found, ""]
    assert told.found
    assert value(server, "drift_alarm") == 0


def watch(pipeline: Any, share: float = 0.1) -> DriftWatch:
    return DriftWatch(pipeline, delta=1e-3, share=share, counted=lambda: None)


def look(watch: DriftWatch, pipeline: Any, principal: str, scores: Any) -> None:
    pixels = torch.zeros(len(scores), 3, 8, 8, dtype=torch.uint8)
    pixels[:, 0, 0, 1] = torch.as_tensor(np.asarray(scores))
    findings = pipeline.analyse(pixels)
    for row in range(len(scores)):
        watch.see(principal, findings, row, digest=next(NUMBERS), in_campaign=False)


def test_a_burst_of_one_principal_among_many_is_no_drift(pipeline: Any) -> None:
    def traffic(share: float, seed: int) -> DriftWatch:
        found = watch(pipeline, share)
        rng = np.random.default_rng(seed)
        for number in range(800):
            look(found, pipeline, str(number % 40), [rng.integers(HIGHEST)])
        # Shifted, and yet below what is left out: the worst that an attack can look like.
        look(found, pipeline, "attacker", drifted(600, seed))
        return found

    assert not traffic(0.02, 0).alarm
    assert traffic(1.0, 0).alarm  # as it would be if it counted in full


def test_layers_are_told_to_who_has_the_right_to_explanations(pipeline: Any) -> None:
    found = watch(pipeline)
    look(found, pipeline, "anybody", drifted(600))
    told = encode_drift(found.report(), rights=frozenset({Right.EXPLANATION}))
    kept = encode_drift(found.report(), rights=frozenset({Right.SCORE}))
    assert len(told.layers) == 2
    assert not kept.layers
    assert kept.advice == told.advice != ""


def test_without_drift_there_is_nothing_to_print() -> None:
    assert drift_line(DriftDescription(state=DriftState.NONE, since="2020")) is None
    found = DriftDescription(
        state=DriftState.FOUND,
        found="2021",
        advice="Do.",
        layers=(LayerShift(name="a", ratio=0.25),),
    )
    line = drift_line(found)
    assert line is not None
    assert line.plain == "Drift found at 2021. Do. Layers that moved furthest: a 0.250."
