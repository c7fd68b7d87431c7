"""Two workers of a real Ray cluster on this machine; one of them is killed half-way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from detector.decoupling import Backbone
from detector.weights import NetworkInfo, build_network, save_weights
from tests.object_store import CREDENTIALS, Bucket
from tests.ray_cluster import RayCluster, environment, running_cluster, until

pytest.importorskip("ray", reason="the ray extra is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLASSES = ("a", "b", "c", "d")
TEST_IMAGES = 25  # of each class
SHARDS = 2 * len(CLASSES) * TEST_IMAGES // 10

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with running_cluster(CREDENTIALS) as cluster:
        yield cluster


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


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_a_worker_that_is_killed_half_way_changes_nothing(
    cluster: RayCluster, extract: Command, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert finished(extract(here))[0] == 0
    running = extract(there, cluster.address)
    # One worker may still be starting on a busy machine when the other has made many shards.
    until(lambda: len(shards(there)) >= SHARDS // 4 and cluster.kill_one_at_work())
    assert len(shards(there)) < SHARDS
    code, written = finished(running)
    assert code == 0, written
    assert "worker died or was killed" in written
    assert len(shards(there)) == SHARDS
    assert shards(there) == shards(here)
    assert (there / "table.json").read_bytes() == (here / "table.json").read_bytes()
    assert {path.name for path in there.iterdir()} == {*shards(there), "table.json"}


def test_what_goes_wrong_on_a_worker_is_one_sentence_and_costs_no_finished_shard(
    cluster: RayCluster, extract: Command, data: Path, tmp_path: Path
) -> None:
    output, image = tmp_path / "table", data / "test" / CLASSES[-1] / "3.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:40])
    code, written = finished(extract(output, cluster.address, steps=2))
    assert code == 2, written
    said = [line for line in written.splitlines() if not line.startswith("extract: ")]  # progress
    assert len(said) == 1, written
    assert said[0].startswith(f"Error: {image} should be a readable image")
    kept = shards(output)
    assert 0 < len(kept) < SHARDS
    image.write_bytes(whole)
    assert finished(extract(output, cluster.address, steps=2))[0] == 0
    assert finished(extract(tmp_path / "here", steps=2))[0] == 0
    assert shards(output) == shards(tmp_path / "here")
    assert kept.items() <= shards(output).items()


def test_a_table_in_a_bucket_is_the_same(
    cluster: RayCluster, extract: Command, bucket: Bucket, tmp_path: Path
) -> None:
    code, written = finished(extract(bucket.address(), cluster.address, steps=2))
    assert code == 0, written
    assert finished(extract(tmp_path / "here", steps=2))[0] == 0
    assert shards(tmp_path / "here").items() <= bucket.files().items()
    assert len(bucket.files()) == SHARDS + 1


def test_a_table_gives_the_same_bundle(
    cluster: RayCluster, make_table, resnet20, network_info, tmp_path: Path
) -> None:
    table = make_table(tmp_path / "table", copies=("flip",), shard_size=50)
    save_weights(tmp_path / "network.safetensors", resnet20, network_info)
    found = []
    for address in (None, cluster.address):
        bundle = tmp_path / f"bundle-{len(found)}"
        arguments = ["--table", table, "--network", tmp_path / "network.safetensors"]
        code, written = finished(
            offpath("calibrate", *arguments, "--output", bundle, "--folds", "0", address=address)
        )
        assert code == 0, written
        found.append((bundle / "detector.safetensors").read_bytes())
        assert load_file(bundle / "detector.safetensors")
    assert found[0] == found[1]
