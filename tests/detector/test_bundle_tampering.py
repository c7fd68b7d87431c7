"""Whatever is changed in a bundle, wherever it stands, the bundle is refused by the file's name."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from detector.bundle import DEFAULT_BUNDLE, MODEL_CARD, load_bundle
from detector.errors import BundleError, BundleMissingError, BundleTamperedError

MANIFEST = "manifest.json"
WEIGHTS = ("network.safetensors", "detector.safetensors", "golden.safetensors")
FILES = (MANIFEST, *WEIGHTS)


class Region(NamedTuple):
    """Bytes of a file that belong together."""

    name: str
    start: int
    end: int


def regions(data: bytes) -> list[Region]:
    """The length, the header and each tensor of a safetensors file."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = [
        Region(name, *(8 + length + offset for offset in fields["data_offsets"]))
        for name, fields in header.items()
    ]
    return [Region("length", 0, 8), Region("header", 8, 8 + length), *tensors]


def flip(data: bytes, region: Region) -> Iterator[bytes]:
    """The lowest bit of the first byte, the highest of the last, one of the middle."""
    middle = (region.start + region.end) // 2
    for at, bit in ((region.start, 1), (middle, 16), (region.end - 1, 128)):
        yield data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def overwrite(data: bytes, region: Region) -> Iterator[bytes]:
    yield data[: region.start] + b"\xff" * (region.end - region.start) + data[region.end :]


def delete(data: bytes, region: Region) -> Iterator[bytes]:
    yield data[: region.start] + data[region.end :]
    yield data[: region.start] + data[region.start + 1 :]


def extend(data: bytes, region: Region) -> Iterator[bytes]:
    yield data[: region.end] + b"\0" + data[region.end :]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled default, of the files that are read."""
    for name in FILES:
        shutil.copyfile(DEFAULT_BUNDLE / name, tmp_path / name)
    return tmp_path


def refusal(folder: Path, name: str, tampered: bytes) -> str:
    """What is said about a bundle with such a file; empty where it is taken."""
    (folder / name).write_bytes(tampered)
    try:
        load_bundle(folder)
    except BundleError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("change", [flip, overwrite, delete, extend])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_change_in_any_region_of_the_weights_is_refused(
    folder: Path, name: str, change: Callable[[bytes, Region], Iterator[bytes]]
) -> None:
    data = (folder / name).read_bytes()
    found = regions(data)
    assert max(region.end for region in found) == len(data)
    assert sum(region.end - region.start for region in found) == len(data)
    for region in found:
        for tampered in change(data, region):
            assert name in refusal(folder, name, tampered), f"{change.__name__} {region.name}"


def paths_of(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Where each field and each value of it stands."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths_of(value[key], *path, key)


def changed(fields: Any, path: tuple[Any, ...], *, drop: bool) -> Any:
    """The fields without one value, or with another one in its place."""
    fields = json.loads(json.dumps(fields))
    place = fields
    for key in path[:-1]:
        place = place[key]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = other(place[path[-1]])
    return fields


def other(value: Any) -> Any:
    """Something of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value[1:] + "x" if value else "x"
        case list():
            return [*value, None]
        case dict():
            return {**value, "extra": None}
        case _:
            return "something"


@pytest.mark.parametrize("drop", [False, True])
def test_a_change_of_any_value_of_the_manifest_is_refused(folder: Path, drop: bool) -> None:
    fields = json.loads((folder / MANIFEST).read_text())
    paths = list(paths_of(fields))
    assert {path[0] for path in paths} == set(fields)
    for path in paths:
        tampered = json.dumps(changed(fields, path, drop=drop), indent=2) + "\n"
        assert MANIFEST in refusal(folder, MANIFEST, tampered.encode()), f"drop={drop} {path}"


def test_a_flip_anywhere_in_the_manifest_is_refused(folder: Path) -> None:
    data = (folder / MANIFEST).read_bytes()
    for at in range(0, len(data), 13):
        for tampered in flip(data, Region("manifest", at, min(at + 13, len(data)))):
            assert MANIFEST in refusal(folder, MANIFEST, tampered), f"byte {at}"


def test_the_same_manifest_written_otherwise_is_refused(folder: Path) -> None:
    fields = json.loads((folder / MANIFEST).read_text())
    backwards = dict(reversed(fields.items()))
    for text in (json.dumps(fields), json.dumps(backwards, indent=2) + "\n"):
        assert MANIFEST in refusal(folder, MANIFEST, text.encode()), text[:40]


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_file_in_the_place_of_another_is_refused(folder: Path, name: str) -> None:
    for source in set(WEIGHTS) - {name}:
        assert name in refusal(folder, name, (DEFAULT_BUNDLE / source).read_bytes()), (
            f"holds {source}"
        )


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(BundleMissingError, match=name):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["extra.safetensors", "__init__.py", "network.pt", "manifest.json.bak", ".hidden"]
)
def test_a_file_that_the_manifest_does_not_cover_is_refused_unread(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"raise SystemExit('read')")
    (folder / name).chmod(0)
    with pytest.raises(BundleTamperedError, match=re.escape(f"Found {name} in it")):
        load_bundle(folder)


def test_a_folder_or_a_dangling_link_inside_a_bundle_is_refused(folder: Path) -> None:
    (folder / "assets").mkdir()
    (folder / "link").symlink_to("nowhere")
    with pytest.raises(BundleTamperedError, match="Found assets, link in it"):
        load_bundle(folder)


def test_the_model_card_is_for_people_and_never_read(folder: Path) -> None:
    (folder / MODEL_CARD).write_bytes(b"raise SystemExit('read')")
    (folder / MODEL_CARD).chmod(0)
    assert load_bundle(folder).manifest == load_bundle().manifest


def test_a_folder_that_cannot_be_listed_is_no_bundle(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(BundleMissingError, match=r"can be listed. Found: Permission denied"):
        load_bundle(folder)
