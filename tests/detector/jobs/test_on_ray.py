"""Two workers of a real Ray cluster on this machine; one of them is killed half-way."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.torch import load_file

from detector.decoupling import Backbone
from detector.weights import NetworkInfo, build_network, save_weights
from tests.object_store import CREDENTIALS, Bucket

pytest.importorskip("ray", reason="the ray extra is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLASSES = ("a", "b", "c", "d")
TEST_IMAGES = 25  # of each class
SHARDS = 2 * len(CLASSES) * TEST_IMAGES // 10
WAIT_S = 120.0

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, psutil.Process]]:
    """Address and first process of a cluster of two workers.

    Its folder has a short name: those of its sockets may have 107 letters.
    """
    with socket.create_server(("127.0.0.1", 0)) as free, tempfile.TemporaryDirectory() as folder:
        port = free.getsockname()[1]
        free.close()
        options = {
            "port": port,
            "num-cpus": 2,
            "object-store-memory": 100 * 2**20,
            "include-dashboard": "false",
            "temp-dir": folder,
        }
        started = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
            + [f"--{name}={value}" for name, value in options.items()]
            + ["--disable-usage-stats"],
            env={**environment(), **CREDENTIALS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        first = psutil.Process(started.pid)
        try:
            until(lambda: answers(port))
            yield f"127.0.0.1:{port}", first
        finally:
            family = [*first.children(recursive=True), first]
            started.terminate()
            started.wait(WAIT_S)
            _, alive = psutil.wait_procs(family, timeout=10)
            for process in alive:
                process.kill()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders of random images of four classes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", TEST_IMAGES)):
        for name in CLASSES:
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "data"


@pytest.fixture
def network(tmp_path: Path, network_info: NetworkInfo) -> Path:
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=CLASSES,
        preprocessing=network_info.preprocessing,
    )
    save_weights(tmp_path / "network.safetensors", build_network(info), info)
    return tmp_path / "network.safetensors"


@pytest.fixture
def extract(data: Path, network: Path) -> Command:
    """`offpath extract` in a process of its own, on a cluster where an address is given."""

    def run(
        output: Path | str, address: str | None = None, steps: int = 40
    ) -> subprocess.Popen[str]:
        arguments = ["--data", data, "--network", network, "--output", output, "--split", "test"]
        sizes = ["--batch-size", "5", "--shard-size", "10", "--device", "cpu"]
        attack = ["--attack", f"pgd:8/255,steps={steps}"]
        return offpath("extract", *arguments, *attack, *sizes, address=address)

    return run


def environment(address: str | None = None) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAY_AUTH_MODE": "disabled",  # of this machine alone, for a minute
        "RAY_ADDRESS": address or "",
    }


def offpath(*arguments: object, address: str | None = None) -> subprocess.Popen[str]:
    engine = ["--engine", "ray"] if address else []
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *map(str, arguments), *engine],
        env=environment(address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and everything written."""
    written, _ = process.communicate(timeout=300)
    return process.returncode, written


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def kill_one_at_work(first: psutil.Process) -> bool:
    """End a process of a cluster that does a piece of work just now; False where none does."""
    for process in first.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith("ray::_do"):
                process.suspend()  # or it might finish in between
                if process.name().startswith("ray::_do"):
                    process.kill()
                    return True
                process.resume()
    return False


def test_a_worker_that_is_killed_half_way_changes_nothing(
    cluster: tuple[str, psutil.Process], extract: Command, tmp_path: Path
) -> None:
    address, first = cluster
    here, there = tmp_path / "here", tmp_path / "there"
    assert finished(extract(here))[0] == 0
    running = extract(there, address)
    # One worker may still be starting on a busy machine when the other has made many shards.
    until(lambda: len(shards(there)) >= SHARDS // 4 and kill_one_at_work(first))
    assert len(shards(there)) < SHARDS
    code, written = finished(running)
    assert code == 0, written
    assert "worker died or was killed" in written
    assert len(shards(there)) == SHARDS
    assert shards(there) == shards(here)
    assert (there / "table.json").read_bytes() == (here / "table.json").read_bytes()
    assert {path.name for path in there.iterdir()} == {*shards(there), "table.json"}


def test_what_goes_wrong_on_a_worker_is_one_sentence_and_costs_no_finished_shard(
    cluster: tuple[str, psutil.Process], extract: Command, data: Path, tmp_path: Path
) -> None:
    address, _ = cluster
    output, image = tmp_path / "table", data / "test" / CLASSES[-1] / "3.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:40])
    code, written = finished(extract(output, address, steps=2))
    assert code == 2, written
    said = [line for line in written.splitlines() if not line.startswith("extract: ")]  # progress
    assert len(said) == 1, written
    assert said[0].startswith(f"Error: {image} should be a readable image")
    kept = shards(output)
    assert 0 < len(kept) < SHARDS
    image.write_bytes(whole)
    assert finished(extract(output, address, steps=2))[0] == 0
    assert finished(extract(tmp_path / "here", steps=2))[0] == 0
    assert shards(output) == shards(tmp_path / "here")
    assert kept.items() <= shards(output).items()


def test_a_table_in_a_bucket_is_the_same(
    cluster: tuple[str, psutil.Process], extract: Command, bucket: Bucket, tmp_path: Path
) -> None:
    code, written = finished(extract(bucket.address(), cluster[0], steps=2))
    assert code == 0, written
    assert finished(extract(tmp_path / "here", steps=2))[0] == 0
    assert shards(tmp_path / "here").items() <= bucket.files().items()
    assert len(bucket.files()) == SHARDS + 1


def test_a_table_gives_the_same_bundle(
    cluster: tuple[str, psutil.Process], make_table, resnet20, network_info, tmp_path: Path
) -> None:
    table = make_table(tmp_path / "table", copies=("flip",), shard_size=50)
    save_weights(tmp_path / "network.safetensors", resnet20, network_info)
    found = []
    for address in (None, cluster[0]):
        bundle = tmp_path / f"bundle-{len(found)}"
        arguments = ["--table", table, "--network", tmp_path / "network.safetensors"]
        code, written = finished(
            offpath("calibrate", *arguments, "--output", bundle, "--folds", "0", address=address)
        )
        assert code == 0, written
        found.append((bundle / "detector.safetensors").read_bytes())
        assert load_file(bundle / "detector.safetensors")
    assert found[0] == found[1]
