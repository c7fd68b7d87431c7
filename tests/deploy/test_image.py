"""The image's recipe: what goes in, who it runs as, and what the linter finds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from service.settings import Settings
from tests.missing import program_missing

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
RECIPES = (DOCKERFILE, ROOT / "deploy" / "ray" / "Dockerfile")
WITHOUT_TORCH = ROOT / "deploy" / "docker" / "without_torch.awk"
PINS = ROOT / "requirements" / "serve.txt"
PIN = re.compile(r"^([a-z0-9.-]+)==\S+", re.MULTILINE)
ATTACK_TOOLS = {"torchattacks", "scikit-learn", "accelerate", "tensorboard", "matplotlib"}


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined."""
    bare = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", bare).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage, by its name; those before the first under ''."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for instruction, arguments in instructions(DOCKERFILE.read_text()):
        if instruction == "FROM":
            name = arguments.split(" AS ")[1]
            found[name] = []
        found[name].append((instruction, arguments))
    return found


@pytest.fixture(scope="module")
def final(stages: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    assert list(stages)[-1] == "offpath"
    return stages["offpath"]


def of(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in stage if instruction == name]


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
        "hadolint"
    )
    if program is None:
        program_missing(
            "The recipe's linter, hadolint, is neither in this environment nor on the path."
        )
    return subprocess.run(
        [program, "--no-color", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
def test_the_linter_finds_nothing(recipe: Path) -> None:
    done = hadolint(recipe.read_text())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_linter_would_find_a_base_without_a_version() -> None:
    done = hadolint("FROM python:latest\n")
    assert (done.returncode, "DL3007" in done.stdout) == (1, True)


def test_the_base_has_a_version_and_every_stage_stands_on_it(
    stages: dict[str, list[tuple[str, str]]],
) -> None:
    defaults = dict(argument.split("=") for argument in of(stages[""], "ARG"))
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", defaults["PYTHON_IMAGE"])
    outside = {of(stage, "FROM")[0].split()[0] for stage in stages.values() if of(stage, "FROM")}
    assert outside - set(stages) == {"${PYTHON_IMAGE}", "scratch", "environment-${VARIANT:-cpu}"}
    assert {"environment-cpu", "environment-cuda"} <= set(stages)
    assert defaults["VARIANT"] == "cpu"


def test_it_runs_as_a_numbered_user_without_rights(final: list[tuple[str, str]]) -> None:
    (user,) = of(final, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    after = final[final.index(("USER", user)) :]
    assert {instruction for instruction, _ in after} == {
        "USER",
        "EXPOSE",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }


def test_it_holds_the_environment_and_no_tool_that_made_it(final: list[tuple[str, str]]) -> None:
    assert of(final, "COPY") == ["--from=environment /opt/offpath /opt/offpath"]
    assert not of(final, "ADD")


def test_its_packages_are_those_of_the_server_with_hashes(
    stages: dict[str, list[tuple[str, str]]],
) -> None:
    pinned = set(PIN.findall(PINS.read_text()))
    assert {"torch", "grpcio", "uvloop"} <= pinned
    assert not pinned & ATTACK_TOOLS
    (whole,) = of(stages["environment-cuda"], "RUN")
    assert "--require-hashes --requirement /requirements/serve.txt" in whole
    (parts,) = of(stages["environment-cpu"], "RUN")
    assert "--require-hashes --requirement others.txt" in parts


def test_the_cpu_variant_leaves_out_torch_and_what_belongs_to_cuda() -> None:
    done = subprocess.run(
        ["awk", "-f", str(WITHOUT_TORCH), str(PINS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    whole, kept = PINS.read_text(), done.stdout
    gone = set(PIN.findall(whole)) - set(PIN.findall(kept))
    assert {"torch", "torchvision", "triton"} <= gone
    assert all(
        name.startswith(("nvidia-", "cuda-")) for name in gone - {"torch", "torchvision", "triton"}
    )
    blocks = re.split(r"^(?=[a-z])", whole, flags=re.MULTILINE)
    assert kept == "".join(block for block in blocks if block.partition("==")[0] not in gone)


def test_the_versions_of_torch_are_taken_from_the_pins(
    stages: dict[str, list[tuple[str, str]]],
) -> None:
    (command,) = of(stages["environment-cpu"], "RUN")
    (expression,) = re.findall(r"sed --quiet '(.+?)'", command)
    done = subprocess.run(
        ["sed", "--quiet", expression, str(PINS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    expected = re.findall(r"^torch(?:vision)?==[0-9.]+", PINS.read_text(), re.MULTILINE)
    assert done.stdout.split() == expected
    assert len(expected) == 2


def test_it_asks_for_its_own_health_in_the_clear(final: list[tuple[str, str]]) -> None:
    environment = dict(re.findall(r"(OFFPATH_\w+)=(\S+)", " ".join(of(final, "ENV"))))
    (check,) = of(final, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command == [
        *("offpath", "health", "--server"),
        f"127.0.0.1:{environment['OFFPATH_HEALTH_PORT']}",
    ]
    assert {name.removeprefix("OFFPATH_").lower() for name in environment} <= set(
        Settings.model_fields
    )
    settings = Settings()
    ports = [settings.port, settings.metrics_port, int(environment["OFFPATH_HEALTH_PORT"])]
    assert of(final, "EXPOSE") == [" ".join(map(str, ports))]


def test_a_container_with_a_gpu_gets_the_driver_s_part_for_computing(
    final: list[tuple[str, str]],
) -> None:
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in " ".join(of(final, "ENV")).split()


def test_the_server_gets_the_signal_to_drain(final: list[tuple[str, str]]) -> None:
    # Lists, not lines: a shell between would keep SIGTERM to itself.
    assert json.loads(of(final, "ENTRYPOINT")[0]) == ["offpath"]
    assert json.loads(of(final, "CMD")[0]) == ["serve"]


def test_its_labels_are_those_of_the_package(final: list[tuple[str, str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (labels,) = of(final, "LABEL")
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', labels))
    assert (found["version"], found["licenses"]) == (project["version"], project["license"])
    assert {"title", "description", "revision"} <= set(found)


def test_the_builder_sees_what_is_copied_and_nothing_else(
    stages: dict[str, list[tuple[str, str]]],
) -> None:
    seen = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for stage in stages.values()
        for arguments in of(stage, "COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert copied == seen
    assert all((ROOT / path).exists() for path in seen)
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set(packed["targets"]["wheel"]["packages"]) <= seen
