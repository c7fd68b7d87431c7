"""The image started as it is meant to be: without rights, and with nothing to write to."""

from __future__ import annotations

import importlib.util
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import BUILD_S, Container, checked, podman

PACKAGES = Path("/opt/offpath/lib/python3.11/site-packages")
START_S = 180.0
"""The health check's own start period."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_S + START_S)]


@pytest.fixture(scope="module")
def start(image: str) -> Iterator[Callable[[], Container]]:
    """Starts servers, each in a container of its own."""
    if shutil.which("podman") is None:
        pytest.skip("Containers are run by podman, which needs no daemon; it is not on the path.")
    options = [
        *("--network", "none", "--memory", "2g"),
        *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"),
        *("--security-opt", "no-new-privileges"),
        # Not more than a machine without rights of its own may give.
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"),
        *("--env", "OFFPATH_TORCH_THREADS=1"),
        *("--volume", f"{_cuda_libraries()}:{PACKAGES / 'nvidia'}:ro"),
    ]
    started: list[str] = []

    def start() -> Container:
        name = f"offpath-test-{uuid.uuid4().hex[:12]}"
        started.append(name)
        checked(podman("run", "--detach", "--name", name, *options, image))
        container, end = Container(name=name), time.monotonic() + START_S
        while not container.healthy():
            assert time.monotonic() < end, container.log()
            time.sleep(0.5)
        return container

    yield start
    for name in started:
        podman("rm", "--force", name)


@pytest.fixture(scope="module")
def server(start: Callable[[], Container]) -> Container:
    return start()


def _cuda_libraries() -> Path:
    """Those that PyTorch's build for CUDA needs, as they lie in the tests' own environment."""
    found = importlib.util.find_spec("nvidia")
    if found is None or not found.submodule_search_locations:
        pytest.skip("PyTorch's build for CUDA needs libraries that are not in this environment.")
    return Path(next(iter(found.submodule_search_locations)))


def test_it_answers_calls(server: Container) -> None:
    images = [
        str(PACKAGES / "service/samples" / f"{name}.png") for name in ("cat_0000", "dog_0012")
    ]
    done = server.execute("offpath", "check", *images, "--server", "127.0.0.1:50051")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("on path") == 2


def test_it_runs_without_any_right_and_writes_nowhere_but_to_tmp(server: Container) -> None:
    status = dict(
        line.split(":", 1)
        for line in checked(server.execute("cat", "/proc/1/status")).splitlines()
        if ":" in line
    )
    assert set(status["Uid"].split()) == {"10001"}
    rights = [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    assert {int(each, 16) for each in rights} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    refused = server.execute("touch", "/opt/offpath/new")
    assert "Read-only file system" in refused.stderr
    assert server.execute("touch", "/tmp/new").returncode == 0


def test_its_health_check_sees_a_server_that_does_not_answer(server: Container) -> None:
    assert server.healthy()
    checked(podman("kill", "--signal", "STOP", server.name))
    try:
        assert not server.healthy()
    finally:
        checked(podman("kill", "--signal", "CONT", server.name))


def test_told_to_stop_it_drains_and_ends_well(start: Callable[[], Container]) -> None:
    container = start()
    assert container.stop(patience_s=40) == 0
    assert "every accepted call answered: True" in container.log()
