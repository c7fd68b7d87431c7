"""The Ray job's pods follow Kubernetes' schemas, and its command is one that Offpath takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from detector.jobs.extract import ExtractOptions
from service import cli

FOLDER = Path(__file__).parents[2] / "deploy" / "ray"
VERSIONS = ("1.27", "1.37")


@pytest.fixture
def job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    return found


@pytest.fixture
def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """What its head and its workers are."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("version", VERSIONS)
def test_its_pods_follow_the_schema(pods: list[dict[str, Any]], version: str) -> None:
    for index, spec in enumerate(pods):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{index}"}, "spec": spec}
        assert kubernetes_validate.validate(pod, version, strict=True) == version


def test_its_command_is_taken_as_it_stands(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program == "offpath"
    given: list[ExtractOptions] = []
    engines: list[str] = []
    info = SimpleNamespace(preprocessing=None)
    monkeypatch.setattr("detector.jobs.held_out.check_held_out", lambda *_: None)

    def engine(*, device: str) -> str:
        engines.append(device)
        return "ray"

    monkeypatch.setattr("detector.jobs.engines.RayEngine", engine)
    monkeypatch.setattr("detector.weights.load_gated", lambda _: (None, info))
    monkeypatch.setattr("detector.data.load_splits", lambda *_, **__: None)
    monkeypatch.setattr(
        "detector.jobs.extract.extract", lambda _, __, options, **___: given.append(options)
    )
    assert cli.run(arguments) == 0
    assert engines == ["cuda"]
    assert given[0].device == "cpu"  # of the head, which has no GPU


def test_all_machines_share_the_folders_that_the_command_names(
    job: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    named = [Path(word) for word in shlex.split(job["spec"]["entrypoint"]) if word.startswith("/")]
    for pod in pods:
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
        }
        (container,) = pod["containers"]
        mounts = {
            Path(mount["mountPath"]): claims[mount["name"]] for mount in container["volumeMounts"]
        }
        assert set(mounts.values()) == {"offpath-shared"}
        assert all(any(path.is_relative_to(place) for place in mounts) for path in named)


def test_head_and_workers_are_the_same_program_with_the_same_threads(
    job: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    containers = [pod["containers"][0] for pod in pods]
    assert len({container["image"] for container in containers}) == 1
    assert all(
        {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"] for container in containers
    )
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    recipe = (FOLDER / "Dockerfile").read_text()
    assert f"RAY_IMAGE=rayproject/ray:{version}-py311-" in recipe


def test_its_image_copies_what_the_builder_sees() -> None:
    recipe = (FOLDER / "Dockerfile").read_text()
    copied = {
        source
        for line in re.findall(r"^COPY --chown=\S+ (.+)$", recipe, re.MULTILINE)
        for source in line.split()[:-1]
    }
    seen = (FOLDER.parents[1] / ".dockerignore").read_text().splitlines()
    assert {"detector", "service"} <= copied <= {line.removeprefix("!") for line in seen}
