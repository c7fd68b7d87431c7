"""The Node example runs as it stands, against a real server."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.missing import program_missing

ROOT = Path(__file__).parents[2]
EXAMPLE = Path("deploy/examples/node")
SAMPLES = ROOT / "service" / "samples"
NO_SERVER = "127.0.0.1:1"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example's folder in a copy of the repository, with its packages."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        program_missing(f"The Node example needs node and npm; missing here: {', '.join(missing)}.")
    copy = tmp_path_factory.mktemp("repository")
    for part in (Path("proto"), EXAMPLE):
        leave = shutil.ignore_patterns("node_modules", "gen")
        shutil.copytree(ROOT / part, copy / part, ignore=leave)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        install, cwd=copy / EXAMPLE, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return copy / EXAMPLE


@pytest.fixture
def check(example):
    def check(*arguments):
        return subprocess.run(
            ["node", "check.js", *map(str, arguments)],
            cwd=example,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return check


def test_it_prints_a_verdict_for_each_image(check, default_server):
    images = [SAMPLES / "cat_0000.png", SAMPLES / "airplane_0003.png"]
    done = check("--server", default_server, *images)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert re.match(r".*cat_0000\.png: cat (ON_PATH|OFF_PATH|ABSTAIN) p=0\.\d+ It is ", first)
    assert "airplane_0003.png: " in second


def test_it_shows_the_details_of_an_error(check, default_server, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"what is this")
    done = check("--server", default_server, SAMPLES / "cat_0000.png", broken)
    assert (done.returncode, done.stdout) == (1, "")
    status, reason, violation = done.stderr.splitlines()
    assert status.startswith("INVALID_ARGUMENT: ")
    assert re.fullmatch(r"  reason INVALID_INPUT, request id [0-9a-f-]{36}", reason)
    assert re.match(r"  images\[1\]\.encoded: .*unknown format", violation)


def test_an_error_without_details_is_its_status(check):
    done = check("--server", NO_SERVER, "--deadline-ms", 2000, SAMPLES / "cat_0000.png")
    assert done.returncode == 1
    assert re.match("UNAVAILABLE|DEADLINE_EXCEEDED", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "Usage: "), (("--deadline-ms", "soon", "x.png"), "Usage: "), (("no.png",), "no.png")],
)
def test_a_call_that_cannot_be_made_is_one_line(check, arguments, words):
    done = check(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line


def test_versions_are_pinned_and_no_registry_is_named():
    manifest = json.loads((ROOT / EXAMPLE / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", each) for each in manifest["dependencies"].values())
    packages = json.loads((ROOT / EXAMPLE / "package-lock.json").read_text())["packages"]
    del packages[""]
    assert packages
    for package in packages.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package
