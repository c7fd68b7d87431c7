"""Builds images and runs containers without a daemon: buildah, and podman where one is started."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BUILD_S", "RUN_S", "Container", "buildah", "checked", "podman"]

BUILD_S = 1500.0
RUN_S = 120.0


def buildah(*arguments: str, timeout_s: float = RUN_S) -> subprocess.CompletedProcess[str]:
    """What a command of buildah ended with."""
    return _run("buildah", *arguments, timeout_s=timeout_s)


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command of podman ended with, on a machine with or without systemd and crun."""
    options = []
    if shutil.which("crun") is None:
        options += ["--runtime", "runc"]
    if not Path("/run/systemd/system").exists():
        options += ["--cgroup-manager", "cgroupfs"]
    return _run("podman", *options, *arguments, timeout_s=RUN_S)


def checked(done: subprocess.CompletedProcess[str]) -> str:
    """What a command wrote; it has to have ended well."""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One that runs.

    Args:
        name: What podman knows it by.
    """

    name: str

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What a command within it ended with."""
        return podman("exec", self.name, *command)

    def healthy(self) -> bool:
        """What its own health check says now."""
        return podman("healthcheck", "run", self.name).returncode == 0

    def stop(self, *, patience_s: int) -> int:
        """Ask it to stop and kill it after a time; its exit code."""
        checked(podman("stop", "--time", str(patience_s), self.name))
        return int(checked(podman("inspect", "--format", "{{.State.ExitCode}}", self.name)))

    def log(self) -> str:
        """What it wrote."""
        done = podman("logs", self.name)
        return done.stdout + done.stderr


def _run(*command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
