"""What holds for the repository as a whole."""

import importlib
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import detector
import service

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    found.name
    for package in (detector, service)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)
GENERATED = ROOT / "proto" / "gen"
MEBIBYTE = 2**20


def _tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_exists_and_is_listed_once(name):  # their order is the linter's
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None)
    if public is None:
        assert not [n for n in vars(module) if not n.startswith("_")] or name.endswith("__main__")
    else:
        assert all(hasattr(module, each) for each in public)
        assert len(set(public)) == len(public)


def test_the_clone_stays_small():
    sizes = {path: path.stat().st_size for path in _tracked()}
    assert sum(sizes.values()) < 40 * MEBIBYTE
    bundle = [size for path, size in sizes.items() if "default_bundle" in path.parts]
    assert sum(bundle) <= 15 * MEBIBYTE


def test_pins_name_packages_versions_and_hashes_and_no_address():
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            assert re.fullmatch(
                r"[a-z0-9._-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
            ), line


def test_nothing_is_left_unfinished():
    words = re.compile(
        "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"])
    )
    for path in _tracked():
        written = GENERATED not in path.parents
        if written and path.suffix in {".py", ".proto", ".md", ".toml"}:
            assert not words.search(path.read_text()), path
