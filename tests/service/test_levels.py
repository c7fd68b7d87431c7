"""Levels from end to end: a bundle of three on disk, a real pipeline, real calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.bundle import Bundle, load_bundle
from service.client import AsyncClient
from service.local import LocalDetector
from service.results import Level
from service.server import DetectionServer
from service.settings import Settings

PASSES = {Level.FAST: 1, Level.STANDARD: 2, Level.THOROUGH: 4}


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture
async def server(
    bundle: Bundle, make_settings: Callable[..., Settings]
) -> AsyncIterator[DetectionServer]:
    server = await DetectionServer.start(bundle, make_settings(batch_sizes=(1, 4)))
    yield server
    await server.drain()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, each in zip(paths, pixels, strict=True):
        Image.fromarray(each).save(path)
    return paths


async def test_each_level_answers_over_the_wire_as_it_does_in_process(
    server: DetectionServer, bundle: Bundle, files: list[Path]
) -> None:
    async with AsyncClient(server.address) as client:
        replies = await asyncio.gather(*(client.detect(files, level=level) for level in Level))
    for level, reply in zip(Level, replies, strict=True):
        expected = LocalDetector(bundle).detect(files, level=level)
        for found, known in zip(reply.detections, expected, strict=True):
            assert (found.level, found.passes) == (level, PASSES[level])
            assert found.predicted_class == known.predicted_class
            # Batches of other sizes round differently.
            assert found.score == pytest.approx(known.score, rel=1e-3, abs=1e-3)


async def test_the_default_level_answers_a_call_that_names_none(
    server: DetectionServer, files: list[Path]
) -> None:
    async with AsyncClient(server.address) as client:
        bundle, reply = await client.bundle(), await client.detect(files)
    assert {found.level for found in reply.detections} == {bundle.default_level}


async def test_a_server_tells_its_levels_cheapest_first_with_copies_and_price(
    server: DetectionServer,
) -> None:
    async with AsyncClient(server.address) as client:
        levels: Any = (await client.bundle()).levels
    assert {each.level: each.passes for each in levels} == PASSES
    assert [each.passes for each in levels] == [1, 2, 4]
    assert [len(each.copies) for each in levels] == [0, 1, 3]
    assert [each.fusion for each in levels] == ["learnt", "one-class", "one-class"]
    assert all(each.milliseconds_per_image > 0 for each in levels)
