"""Where a table lies is read from a path or an address, and asked for as rarely as it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.object_storage import ObjectPath
from detector.object_storage.file_systems import opened
from detector.path_table import files_there, place_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("runs/paths", Path("runs/paths")),
        ("/shared/a:b", Path("/shared/a:b")),
        ("file:///shared/some%20paths", Path("/shared/some paths")),
        ("s3://bucket/paths", ObjectPath(folder="s3://bucket/paths")),
        ("gs://bucket/paths?x=1", ObjectPath(folder="gs://bucket/paths?x=1")),
        ("ftp://host/paths", ObjectPath(folder="ftp://host/paths")),
    ],
)
def test_an_address_is_no_path_and_a_path_no_address(text, place) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize("count", [3, 40])
def test_files_are_found_in_either_place_be_they_few_or_many(count, bucket, tmp_path) -> None:
    names = [f"file {number}" for number in range(count)]
    for name in names[::2]:
        bucket.put(name, b"")
        (tmp_path / name).write_bytes(b"")
    for folder in (tmp_path, place_of(bucket.address())):
        assert files_there(folder, names) == set(names[::2])
    for folder in (tmp_path / "none", place_of(bucket.address("none"))):
        assert files_there(folder, names) == frozenset()


def test_a_region_is_asked_for_only_where_none_is_named(monkeypatch) -> None:
    asked = []

    def region(bucket: str) -> str:
        asked.append(bucket)
        return "eu-north-1"

    monkeypatch.setattr("detector.object_storage.file_systems.pafs.resolve_s3_region", region)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert opened("s3://unnamed/paths")[0].region == "eu-north-1"
    assert opened("s3://in-address/paths?region=eu-west-1")[0].region == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert opened("s3://in-environment/paths")[0].region == "eu-west-3"
    assert asked == ["unnamed"]
