"""What this process finds is what a server would have sent, without a server's libraries."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from detector.errors import BudgetError, ImageError, InvalidInputError
from service.client import Client
from service.local import LocalDetector
from service.remote import RemoteDetector
from service.results import Level
from service.server import DetectionServer


@pytest.fixture
def files(tmp_path: Path, images: Any) -> list[Path]:
    paths = [tmp_path / f"{number:02}.png" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(images.png(number % 3, 5 * number))
    return paths


async def test_local_and_remote_answers_are_the_same(
    bundle: Any, server: DetectionServer, files: list[Path]
) -> None:
    def remote(**wanted: Any) -> Any:
        with Client(server.address) as client:
            return RemoteDetector(client).detect(files, **wanted)

    for wanted in (
        {},
        {"alpha": 0.03, "include_path": True, "include_layers": True},
        {"include_explanation": True},
        {"level": Level.THOROUGH},
    ):
        local = LocalDetector(bundle).detect(files, **wanted)
        assert local == await asyncio.to_thread(remote, **wanted)
        assert len(local) == len(files)


@pytest.mark.parametrize("data", [b"no image", None], ids=["broken", "missing"])
async def test_a_bad_file_is_named_locally_and_remotely(
    bundle: Any, server: DetectionServer, files: list[Path], data: bytes | None
) -> None:
    def remote() -> Any:
        with Client(server.address) as client:
            return RemoteDetector(client).detect(files)

    files[35].unlink()
    if data is not None:
        files[35].write_bytes(data)
    with pytest.raises(ImageError, match=files[35].name):
        LocalDetector(bundle).detect(files)
    with pytest.raises(ImageError, match=files[35].name):
        await asyncio.to_thread(remote)


def test_a_budget_that_cannot_be_kept_is_refused(bundle: Any, files: list[Path]) -> None:
    with pytest.raises(BudgetError):
        LocalDetector(bundle).detect(files, alpha=0.5)


def test_a_level_without_calibration_is_refused(bundle: Any, files: list[Path]) -> None:
    with pytest.raises(InvalidInputError, match="fast"):
        LocalDetector(bundle).detect(files, level=Level.FAST)


@pytest.mark.parametrize(
    ("modules", "missing"),
    [
        ("service.local, service.tables, service.devices", ("grpc", "google.protobuf", "pydantic")),
        ("service.client, service.remote", ("torch",)),
    ],
)
def test_neither_way_loads_what_only_the_other_needs(modules: str, missing: tuple[str]) -> None:
    code = f"import sys, {modules}; assert not set({missing!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
