"""The image built by a builder without a daemon, and its command started in it.

PyTorch, whose packages take gigabytes, is left out of the pins for this: everything else is built
as it stands, and what needs no PyTorch runs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path("deploy/docker/Dockerfile")
PINS = Path("requirements/serve.txt")
AUTHORITIES = Path("/etc/ssl/certs")
BUILD_S = 1500.0
RUN_S = 120.0
Run = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_S + RUN_S)]


def buildah(*arguments: str, timeout_s: float = RUN_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["buildah", *arguments], capture_output=True, text=True, check=False, timeout=timeout_s
    )


def checked(*arguments: str, timeout_s: float = RUN_S) -> str:
    done = buildah(*arguments, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


def names(pins: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+)==", pins, re.MULTILINE))


@pytest.fixture(scope="module")
def base() -> str:
    """The base that the recipe names, here or to be had."""
    if shutil.which("buildah") is None:
        pytest.skip("The image is built by buildah, which needs no daemon; it is not on the path.")
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / DOCKERFILE).read_text(), re.MULTILINE)
    assert found is not None
    done = buildah("pull", "--policy", "missing", found[1])
    if done.returncode:
        pytest.skip(f"The base {found[1]} is neither here nor to be had: {done.stderr[-300:]}")
    return found[1]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the builder sees, with the pins of all but PyTorch."""
    folder = tmp_path_factory.mktemp("context")
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    for path in (Path(line[1:]) for line in lines if line.startswith("!")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, folder / path)
        else:
            shutil.copy(ROOT / path, folder / path)
    awk = ["awk", "-f", "deploy/docker/without_torch.awk", str(PINS)]
    kept = subprocess.run(awk, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    (folder / PINS).write_text(kept.stdout)
    return folder


@pytest.fixture(scope="module")
def image(base: str, context: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of the built image."""
    # This machine's authorities, which sign what it fetches where there is a mirror.
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}/ca-certificates.crt\n")
    (secrets / "uv.toml").write_text("system-certs = true\n")
    name = f"localhost/offpath-test-{uuid.uuid4().hex[:12]}"
    checked(
        *("build", "--isolation", "chroot", "--format", "docker", "--pull-never"),
        *("--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"),
        *("--secret", f"id=pip,src={secrets / 'pip.conf'}"),
        *("--secret", f"id=uv,src={secrets / 'uv.toml'}"),
        *("--build-arg", f"PYTHON_IMAGE={base}", "--build-arg", "VARIANT=cuda"),
        *("--file", str(ROOT / DOCKERFILE), "--tag", name, str(context)),
        timeout_s=BUILD_S,
    )
    yield name
    checked("rmi", "--force", name)


@pytest.fixture(scope="module")
def run(image: str) -> Iterator[Run]:
    """Runs a command in a container of the image."""
    container = checked("from", "--pull-never", image)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return buildah("run", "--isolation", "chroot", container, "--", *command)

    yield run
    checked("rm", container)


def test_what_is_built_says_who_it_is_and_asks_for_its_health(image: str) -> None:
    config: dict[str, Any] = json.loads(checked("inspect", "--type", "image", image))["Docker"][
        "config"
    ]
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["offpath"], ["serve"])
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "offpath", "health"]
    assert config["Labels"]["org.opencontainers.image.title"] == "Offpath"


def test_its_command_runs_as_a_user_without_rights(run: Run) -> None:
    assert run("id", "-u").stdout.strip() == "10001"
    done = run("offpath", "health", "--server", "127.0.0.1:1", "--timeout-s", "0.5")
    assert done.returncode != 0
    assert "127.0.0.1:1: " in done.stderr


def test_its_bill_of_materials_lists_all_its_packages(run: Run, context: Path) -> None:
    bill = json.loads(run("cat", "/opt/offpath/sbom.cdx.json").stdout)
    listed = {re.sub(r"[-_.]+", "-", found["name"]).lower() for found in bill["components"]}
    assert listed == names((context / PINS).read_text())
    assert bill["metadata"]["component"]["name"] == "offpath"


def test_neither_attack_tools_nor_what_built_it_are_in_it(run: Run) -> None:
    done = run("sh", "-c", "ls /opt /opt/offpath/lib/python3*/site-packages")
    assert done.returncode == 0
    assert "grpc" in done.stdout.split()
    assert not {"torchattacks", "sklearn", "pip", "uv", "cyclonedx_py", "tools"} & set(
        done.stdout.split()
    )
