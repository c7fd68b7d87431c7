"""The image, built once for all tests that look at it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import BUILD_S, buildah, checked

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
AUTHORITIES = Path("/etc/ssl/certs")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of the image for CPUs, built from the tree as it stands.

    PyTorch comes from the index of all other packages, as not every machine reaches its own: the
    build for CUDA, whose libraries of several gigabytes are no part of this image.
    """
    base = _base()
    # This machine's authorities, which sign what it fetches where there is a mirror.
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}/ca-certificates.crt\n")
    (secrets / "uv.toml").write_text("system-certs = true\n")
    name = f"localhost/offpath-test-{uuid.uuid4().hex[:12]}"
    built = buildah(
        *("build", "--isolation", "chroot", "--format", "docker", "--pull-never"),
        *("--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"),
        *("--secret", f"id=pip,src={secrets / 'pip.conf'}"),
        *("--secret", f"id=uv,src={secrets / 'uv.toml'}"),
        *("--build-arg", f"PYTHON_IMAGE={base}", "--build-arg", f"TORCH_INDEX={_index()}"),
        *("--file", str(DOCKERFILE), "--tag", name, str(ROOT)),
        timeout_s=BUILD_S,
    )
    checked(built)
    yield name
    checked(buildah("rmi", "--force", name))


def _base() -> str:
    """The base that the recipe names, here under that name or to be had."""
    if shutil.which("buildah") is None:
        pytest.skip("The image is built by buildah, which needs no daemon; it is not on the path.")
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    done = buildah("pull", "--policy", "missing", found[1])
    if done.returncode:
        pytest.skip(f"The base {found[1]} is neither here nor to be had: {done.stderr[-300:]}")
    return found[1]


def _index() -> str:
    """Where pip takes packages from unless it is told otherwise."""
    command = [sys.executable, "-m", "pip", "help", "download"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"--index-url.*?\(default\s+(\S+?)\)", shown, re.DOTALL)
    assert found is not None
    return found[1]
