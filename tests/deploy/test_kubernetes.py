"""The manifests follow Kubernetes' schemas, and say what the server itself says."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from service import server
from service.metrics import Metrics
from service.servicer import SERVICE_NAME
from service.settings import Settings, load_settings
from tests.deploy.metric_names import RULES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu")
OBJECTS = sorted(set((FOLDER / "base").glob("*.yaml")) - {FOLDER / "base" / "kustomization.yaml"})
# From the first with gRPC probes and all other fields in use, to the newest whose schema there is.
VERSIONS = ("1.27", "1.37")
# Part of no cluster by themselves; their fields are compared with those of others below.
WITHOUT_SCHEMA = {"ServiceMonitor", "PrometheusRule"}
RENDER_S = 60.0


def documents(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(text) if each is not None]


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder."""
    commands = (["kustomize", "build", str(folder)], ["kubectl", "kustomize", str(folder)])
    command = next((each for each in commands if shutil.which(each[0])), None)
    if command is None:
        pytest.skip("Overlays are put together by kustomize or kubectl; neither is on the path.")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RENDER_S)
    assert (done.returncode, done.stderr) == (0, "")
    return documents(done.stdout)


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def objects(overlay: str) -> dict[str, dict[str, Any]]:
    """What an overlay makes, by kind; there is one of each."""
    found = rendered(FOLDER / "overlays" / overlay)
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.fixture(scope="module")
def pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


@pytest.fixture
def settings(
    objects: dict[str, Any], container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Those of the server in the pod, read as it reads them."""
    known = {f"OFFPATH_{name.upper()}" for name in Settings.model_fields}
    variables = dict(objects["ConfigMap"]["data"])
    for variable in container["env"]:
        assert variable["valueFrom"]["resourceFieldRef"]["resource"] == "limits.cpu"
        variables[variable["name"]] = container["resources"]["limits"]["cpu"]
    assert set(variables) <= known
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.stem)
def test_each_file_follows_the_schema(path: Path, version: str) -> None:
    (found,) = documents(path.read_text())
    if found["kind"] in WITHOUT_SCHEMA:
        with pytest.raises(kubernetes_validate.SchemaNotFoundError):
            kubernetes_validate.validate(found, version, strict=True)
    else:
        assert kubernetes_validate.validate(found, version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_overlays_make_follows_the_schemas(
    objects: dict[str, dict[str, Any]], version: str
) -> None:
    for kind, found in objects.items():
        if kind not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(found, version, strict=True)


def test_the_schemas_would_find_a_field_that_is_misspelt() -> None:
    (found,) = documents((FOLDER / "base" / "deployment.yaml").read_text())
    (container,) = found["spec"]["template"]["spec"]["containers"]
    container["livenessProbes"] = container.pop("livenessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProbes"):
        kubernetes_validate.validate(found, VERSIONS[-1], strict=True)


def test_the_base_leaves_out_no_file() -> None:
    listed = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in OBJECTS]


def test_the_server_takes_its_settings_and_asks_callers_who_they_are(settings: Settings) -> None:
    assert not settings.insecure
    assert settings.principals is not None


def test_ports_are_those_of_the_settings(settings: Settings, container: dict[str, Any]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "grpc": settings.port,
        "metrics": settings.metrics_port,
        "health": settings.health_port,
    }


def test_probes_ask_in_the_clear_for_life_and_for_readiness(
    settings: Settings, container: dict[str, Any]
) -> None:
    asked = {
        name: container[f"{name}Probe"]["grpc"] for name in ("startup", "readiness", "liveness")
    }
    ready = {"port": settings.health_port, "service": SERVICE_NAME}
    life = {"port": settings.health_port, "service": ""}
    assert asked == {"startup": ready, "readiness": ready, "liveness": life}


def test_the_pod_is_killed_only_after_the_longest_drain(
    settings: Settings, pod: dict[str, Any]
) -> None:
    fields = Settings.model_fields
    assert settings.drain_delay_s == fields["drain_delay_s"].default
    assert settings.drain_timeout_s == fields["drain_timeout_s"].default
    # Waiting for the last replies comes twice: until calls are quiet, and until the server stops.
    longest_s = (
        settings.drain_delay_s + settings.drain_timeout_s + server._QUIET_S
    ) + 2 * server._LAST_REPLIES_S
    assert longest_s + 5 <= pod["terminationGracePeriodSeconds"] <= longest_s + 15


def test_files_of_the_settings_lie_in_secrets_that_are_mounted_whole(
    settings: Settings, pod: dict[str, Any], container: dict[str, Any]
) -> None:
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    places = {
        Path(mount["mountPath"]): secrets[mount["name"]]["secretName"]
        for mount in container["volumeMounts"]
        if mount["name"] in secrets and "subPath" not in mount
    }
    assert settings.tls_certificate is not None
    assert settings.tls_key is not None
    assert settings.principals is not None
    assert places[settings.tls_certificate.parent] == places[settings.tls_key.parent]
    assert places[settings.tls_key.parent] == "offpath-tls"
    assert places[settings.principals.parent] == "offpath-principals"
    # Octal in the file: the group of the pod reads, nobody writes.
    assert {secret["defaultMode"] for secret in secrets.values()} == {0o440}
    # The names that Kubernetes gives to what a secret of TLS holds.
    assert (settings.tls_certificate.name, settings.tls_key.name) == ("tls.crt", "tls.key")


def test_the_pod_may_do_no_more_than_the_restricted_profile(
    objects: dict[str, Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    enforced = objects["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(volume) & {"secret", "emptyDir"} for volume in pod["volumes"])
    assert not pod["automountServiceAccountToken"]
    # A variable OFFPATH_PORT of a service would be taken for a setting.
    assert pod["enableServiceLinks"] is False


def test_the_user_is_that_of_the_image(pod: dict[str, Any]) -> None:
    user = pod["securityContext"]["runAsUser"]
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    assert re.search(rf"^USER {user}:{user}$", dockerfile, re.MULTILINE)
    assert pod["securityContext"]["runAsGroup"] == user


def test_the_headless_service_stands_for_the_ready_pods(
    objects: dict[str, Any], container: dict[str, Any]
) -> None:
    service = objects["Service"]["spec"]
    assert service["clusterIP"] == "None"
    assert not service.get("publishNotReadyAddresses")
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["name"]: ports[port["targetPort"]] for port in service["ports"]} == {
        port["name"]: port["port"] for port in service["ports"]
    }


def test_all_objects_mean_the_same_pods(objects: dict[str, Any]) -> None:
    deployment = objects["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        deployment["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"],
        objects["NetworkPolicy"]["spec"]["podSelector"],
        deployment["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"],
    ):
        assert selector == {"matchLabels": labels}
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == objects["Deployment"]["metadata"]["name"]
    assert "replicas" not in deployment


def test_prometheus_finds_the_metrics_under_the_name_that_alerts_know(
    objects: dict[str, Any],
) -> None:
    monitor, service = objects["ServiceMonitor"]["spec"], objects["Service"]
    assert set(monitor) == {"jobLabel", "selector", "endpoints"}
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert service["metadata"]["labels"][monitor["jobLabel"]] == job["job_name"]


def test_the_operator_gets_the_rules_that_prometheus_has(tmp_path: Path) -> None:
    committed = FOLDER / "base" / "prometheus-rule.yaml"
    fresh = tmp_path / committed.name
    command = [sys.executable, "-m", "deploy.kubernetes", str(fresh)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert committed.read_text() == fresh.read_text(), "run python -m deploy.kubernetes"
    (found,) = documents(fresh.read_text())
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    assert found["spec"] == {"groups": groups}


def test_grafana_s_sidecar_finds_the_dashboards() -> None:
    (found,) = rendered(ROOT / "deploy" / "grafana")
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    files = (ROOT / "deploy" / "grafana" / "dashboards").iterdir()
    assert found["data"] == {path.name: path.read_text() for path in files}
    # What `kubectl apply` remembers of an object has to fit into an annotation.
    assert len(json.dumps(found)) < 262_144


def test_the_network_lets_in_calls_and_scrapes_and_lets_nothing_out(
    objects: dict[str, Any],
) -> None:
    policy = objects["NetworkPolicy"]["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["egress"] == []
    opened = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert opened == ["grpc", "metrics"]
    assert all(rule["from"] for rule in policy["ingress"])


def test_pods_are_added_when_more_waits_than_two_full_batches(
    objects: dict[str, Any], settings: Settings
) -> None:
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    registry = CollectorRegistry()
    Metrics(registry)
    (family,) = (found for found in registry.collect() if found.name == name)
    assert family.type == "gauge"
    threshold = int(metric["pods"]["target"]["averageValue"])
    assert threshold == 2 * settings.batch_sizes[-1] < settings.max_queue_images


def test_a_node_that_is_drained_leaves_pods_that_answer(objects: dict[str, Any]) -> None:
    fewest = objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"]
    budget = objects["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    update = objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert budget < fewest
    assert update["maxUnavailable"] < fewest
    assert update["maxUnavailable"] + update["maxSurge"] > 0


def test_resources_are_whole_cores_and_never_overcommitted(container: dict[str, Any]) -> None:
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    assert float(resources["limits"]["cpu"]) == math.floor(float(resources["limits"]["cpu"]))


def test_the_gpu_overlay_alone_takes_a_gpu_and_never_computes_without(
    overlay: str, pod: dict[str, Any], container: dict[str, Any], settings: Settings
) -> None:
    gpus = container["resources"]["limits"].get("nvidia.com/gpu")
    tolerated = [each["key"] for each in pod.get("tolerations", [])]
    expected = {"cpu": (None, [], "cpu"), "gpu": ("1", ["nvidia.com/gpu"], "cuda")}
    assert (gpus, tolerated, settings.device) == expected[overlay]


def test_the_image_is_of_this_version_and_for_this_device(
    overlay: str, container: dict[str, Any]
) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    variant = {"cpu": "cpu", "gpu": "cuda"}[overlay]
    assert container["image"] == f"offpath:{version}-{variant}"
