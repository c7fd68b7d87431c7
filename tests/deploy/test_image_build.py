"""The image built by a builder without a daemon, and its command started in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.containers import BUILD_S, RUN_S, buildah, checked

ROOT = Path(__file__).parents[2]
PINS = ROOT / "requirements" / "serve.txt"
FOR_CUDA = re.compile(r"triton|nvidia-[a-z0-9-]+|cuda-[a-z]+")
Run = Callable[..., Any]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_S + RUN_S)]


@pytest.fixture(scope="module")
def run(image: str) -> Iterator[Run]:
    """Runs a command in a container of the image."""
    container = checked(buildah("from", "--pull-never", image))

    def run(*command: str) -> Any:
        return buildah("run", "--isolation", "chroot", container, "--", *command)

    yield run
    checked(buildah("rm", container))


def test_what_is_built_says_who_it_is_and_asks_for_its_health(image: str) -> None:
    shown = json.loads(checked(buildah("inspect", "--type", "image", image)))
    config: dict[str, Any] = shown["Docker"]["config"]
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["offpath"], ["serve"])
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "offpath", "health"]
    assert config["Labels"]["org.opencontainers.image.title"] == "Offpath"


def test_its_command_runs_as_a_user_without_rights(run: Run) -> None:
    assert run("id", "-u").stdout.strip() == "10001"
    done = run("offpath", "health", "--server", "127.0.0.1:1", "--timeout-s", "0.5")
    assert done.returncode != 0
    assert "127.0.0.1:1: " in done.stderr


def test_its_bill_of_materials_lists_all_its_packages(run: Run) -> None:
    bill = json.loads(run("cat", "/opt/offpath/sbom.cdx.json").stdout)
    listed = {re.sub(r"[-_.]+", "-", found["name"]).lower() for found in bill["components"]}
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", PINS.read_text(), re.MULTILINE))
    assert {"torch", "torchvision"} <= listed
    assert listed == {name for name in pinned if not FOR_CUDA.fullmatch(name)}
    assert bill["metadata"]["component"]["name"] == "offpath"


def test_neither_attack_tools_nor_what_built_it_are_in_it(run: Run) -> None:
    done = run("sh", "-c", "ls /opt /opt/offpath/lib/python3*/site-packages")
    assert done.returncode == 0
    assert {"grpc", "torch"} <= set(done.stdout.split())
    assert not {"torchattacks", "sklearn", "pip", "uv", "cyclonedx_py", "tools"} & set(
        done.stdout.split()
    )
