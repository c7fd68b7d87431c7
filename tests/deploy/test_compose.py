"""Offpath, Prometheus and Grafana on one machine: for this machine alone, and all parts there."""

from __future__ import annotations

import copy
import ipaddress
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import server
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
SERVICES = ("offpath", "prometheus", "grafana")


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    assert tuple(found) == SERVICES
    return found


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "prometheus" / name).read_text())


def test_docker_compose_takes_the_file() -> None:
    compose = ["docker", "compose"]
    if (
        shutil.which("docker") is None
        or subprocess.run([*compose, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("Docker's own check of the file needs docker with its plugin compose.")
    done = subprocess.run(
        [*compose, "--file", str(FILE), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_outside_this_machine_reaches_a_port(
    name: str, services: dict[str, dict[str, Any]]
) -> None:
    assert services[name]["ports"]
    for port in services[name]["ports"]:
        host, _, _ = port.split(":")
        assert ipaddress.ip_address(host).is_loopback


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_locked_down(name: str, services: dict[str, dict[str, Any]]) -> None:
    service = services[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_image_has_a_version(name: str, services: dict[str, dict[str, Any]]) -> None:
    tag = services[name]["image"].partition(":")[2]
    assert any(sign.isdigit() for sign in tag)


def test_the_image_is_of_this_version(services: dict[str, dict[str, Any]]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    variant = services["offpath"]["build"]["args"]["VARIANT"]
    assert services["offpath"]["image"] == f"offpath:{version}-{variant}"


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there_and_only_read(
    name: str, services: dict[str, dict[str, Any]]
) -> None:
    kept = set(yaml.safe_load(FILE.read_text())["volumes"])
    for volume in services[name].get("volumes", []):
        source = volume.partition(":")[0]
        if source not in kept:
            assert volume.endswith(":ro")
            assert (DEPLOY / source).is_dir(), f"{source} would be mounted as an empty folder"


def test_the_server_is_built_from_the_recipe(services: dict[str, dict[str, Any]]) -> None:
    build = services["offpath"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_the_server_computes_on_as_many_threads_as_it_has_cores(
    services: dict[str, dict[str, Any]],
) -> None:
    offpath = services["offpath"]
    assert offpath["environment"] == {"OFFPATH_TORCH_THREADS": str(offpath["cpus"])}
    assert "torch_threads" in Settings.model_fields


def test_the_server_is_killed_only_after_the_longest_drain(
    services: dict[str, dict[str, Any]],
) -> None:
    settings = Settings()
    longest_s = settings.drain_delay_s + settings.drain_timeout_s + 2 * server._LAST_REPLIES_S
    grace_s = float(services["offpath"]["stop_grace_period"].removesuffix("s"))
    assert longest_s + 5 <= grace_s <= longest_s + 15


def test_prometheus_scrapes_the_server_by_name_and_else_as_on_one_machine(
    services: dict[str, dict[str, Any]],
) -> None:
    alone, composed = read("prometheus.yml"), read("prometheus.compose.yml")
    port = Settings().metrics_port
    expected = copy.deepcopy(alone)
    (job,) = expected["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{port}"]}]
    job["static_configs"] = [{"targets": [f"offpath:{port}"]}]
    assert composed == expected
    file = services["prometheus"]["command"][0].partition("=")[2]
    assert Path(file).name == "prometheus.compose.yml"


def test_grafana_has_no_account_that_somebody_could_guess(
    services: dict[str, dict[str, Any]],
) -> None:
    environment = services["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
