"""`make watch`, as users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.watch.figures import questions

ROOT = Path(__file__).parents[2]


def watch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.watch", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_it_prints_the_main_figures_of_the_dashboards_and_leaves_nothing_running() -> None:
    before = {process.pid for process in psutil.process_iter()}
    done = watch("--seconds", "5", "--callers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    for question in questions():
        if question.kind == "stat":
            (line,) = (
                line
                for line in done.stdout.splitlines()
                if line.startswith(question.dashboard) and f" {question.panel} " in line
            )
            assert line.split()[-1]
    assert "Both have stopped." in done.stdout
    left = [process for process in psutil.process_iter() if process.pid not in before]
    assert not [each for each in left if each.name() == "prometheus"]


def test_a_load_that_cannot_be_is_one_line() -> None:
    done = watch("--callers", "0")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: callers should be at least 1. Found 0.")


def test_a_machine_without_prometheus_is_told_what_is_missing(tmp_path: Path) -> None:
    from deploy.watch import debian

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(debian, "_CACHE", tmp_path)
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(debian.MissingProgramError, match="prometheus should be on the path"):
            debian.debian_programs("prometheus", ("prometheus",))
        with pytest.raises(debian.MissingProgramError, match="chromium should be on the path"):
            debian.debian_tree("chromium")
