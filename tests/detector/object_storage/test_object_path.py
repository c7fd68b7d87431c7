"""Files of object storage are whole or not there, and what goes wrong is told soon."""

from __future__ import annotations

import hashlib
import io
import pickle
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import DataError, InvalidInputError, OffpathError, StorageError
from detector.object_storage import ObjectPath
from detector.path_table import read_shard, read_shard_info, shard_digest, write_shard

ROWS = pa.table({"row": list(range(1000))})


@pytest.fixture
def folder(bucket) -> ObjectPath:
    return ObjectPath(folder=f"s3://{bucket.name}/paths")


def test_what_is_written_is_read_and_listed(folder, bucket) -> None:
    path = folder / "a file"
    assert not path.is_file()
    assert folder.names() == frozenset()
    path.write_bytes(b"first")
    path.write_bytes("thé second".encode())
    assert path.read_text() == "thé second"
    assert path.is_file()
    assert folder.names() == {"a file"}
    assert bucket.files() == {"a file": "thé second".encode()}
    path.unlink()
    path.unlink()
    assert not path.is_file()


def test_a_path_is_named_by_its_address_less_what_leads_there(bucket) -> None:
    folder = ObjectPath(folder=bucket.address("some/paths/"))
    path = folder / "one" / "two"
    assert str(folder) == f"s3://{bucket.name}/some/paths"
    assert str(path) == f"s3://{bucket.name}/some/paths/one/two"
    assert (folder.name, path.name) == ("paths", "two")
    path.write_bytes(b"content")
    assert bucket.files("some/paths") == {"one/two": b"content"}


def test_a_whole_bucket_is_a_folder_too(bucket) -> None:
    folder = ObjectPath(folder=f"s3://{bucket.name}")
    (folder / "file").write_bytes(b"content")
    assert folder.names() == {"file"}


def test_a_path_goes_to_another_process_without_its_connection(folder) -> None:
    (folder / "file").write_bytes(b"content")
    assert pickle.loads(pickle.dumps(folder / "file")).read_text() == "content"


def test_a_file_that_is_longer_than_what_is_read_ahead_is_read_whole_and_from_any_place(
    folder,
) -> None:
    content = b"".join(number.to_bytes(4, "big") for number in range(5 * 2**20))  # 20 MiB
    path = folder / "long"
    path.write_bytes(content)
    assert shard_digest(path) == hashlib.sha256(content).hexdigest()
    with path.open() as file:
        for start, whence, place in (
            (7, io.SEEK_SET, 7),
            (2**23 + 4, io.SEEK_CUR, 2**23 + 15),
            (-9, io.SEEK_END, len(content) - 9),
        ):
            assert file.seek(start, whence) == place
            assert file.read(4) == content[place : place + 4]
        assert file.read() == content[-5:]


def test_a_shard_has_the_bytes_that_it_has_in_a_folder_here(folder, bucket, tmp_path) -> None:
    for place in (folder, tmp_path):
        write_shard(place / "shard", ROWS, {"seed": 3})
    assert bucket.files() == {"shard": (tmp_path / "shard").read_bytes()}
    assert read_shard_info(folder / "shard") == {"seed": 3}
    assert pa.Table.from_batches(read_shard(folder / "shard", 300)).equals(ROWS)


def test_a_shard_that_fails_half_way_leaves_what_was_there(folder, bucket, monkeypatch) -> None:
    write_shard(folder / "shard", ROWS, {"seed": 3})
    before = bucket.files()

    def half(_table, place, **_) -> None:
        place.write(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(KeyboardInterrupt):
        write_shard(folder / "shard", ROWS, {"seed": 4})
    assert bucket.files() == before


def test_a_damaged_shard_is_told_from_one_that_may_not_be_read(folder, bucket) -> None:
    write_shard(folder / "shard", ROWS, {})
    bucket.forbid("s3:GetObject")  # but what it is, as its size, may still be asked
    for read in (read_shard_info, shard_digest, lambda path: list(read_shard(path, 9))):
        with pytest.raises(DataError, match=r"should be readable\. Found: access denied"):
            read(folder / "shard")
    bucket.allow()
    bucket.put("shard", bucket.files()["shard"][:-20])
    for read in (read_shard_info, lambda path: list(read_shard(path, 9))):
        with pytest.raises(DataError, match="should be a whole shard"):
            read(folder / "shard")


def test_a_file_that_is_not_there_is_told_as_here(folder) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        (folder / "none").open()
    with pytest.raises(DataError, match=r"should be a whole shard .* Found: .*No such file"):
        read_shard_info(folder / "none")


def test_a_bucket_that_is_not_there_is_named(bucket) -> None:
    with pytest.raises(
        StorageError, match=r"^s3://none-such/paths/x should be writable\. Found: no such bucket"
    ):
        (ObjectPath(folder="s3://none-such/paths") / "x").write_bytes(b"")


@pytest.mark.parametrize(
    ("action", "kind", "use"),
    [
        ("s3:PutObject", StorageError, lambda path: path.write_bytes(b"new")),
        ("s3:DeleteObject", StorageError, lambda path: path.unlink()),
        ("s3:GetObject", DataError, lambda path: path.read_text()),
        ("s3:*", DataError, lambda path: path.is_file()),
    ],
)
def test_a_right_that_is_lacking_is_told(action, kind, use, folder, bucket) -> None:
    bucket.put("file", b"old")
    bucket.forbid(action)
    with pytest.raises(
        kind, match=r"Found: access denied .*the credentials.* was finished is kept"
    ):
        use(folder / "file")
    bucket.allow()
    assert bucket.files() == {"file": b"old"}


@pytest.mark.usefixtures("bucket")
def test_an_endpoint_that_is_away_is_told_soon(monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    path = ObjectPath(folder="s3://away/paths") / "x"
    for use in (path.is_file, path.open, lambda: path.write_bytes(b"")):
        started = time.monotonic()
        with pytest.raises(OffpathError, match=r"Found: network connection .*Could not connect"):
            use()
        assert time.monotonic() - started < 30  # pyarrow's other strategy tries for minutes


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("ftp://host/paths", "Found ftp://"),
        ("hdfs://host/paths", "Found hdfs://.* Mount it as a folder"),
        ("s3:///paths", "Found: no bucket"),
        ("s3://bucket/paths?size=3", "Found: an option size"),
        ("s3://name:secret@bucket/paths", "Found: credentials"),
        ("gs://bucket/paths?size=3", "Found: .*size"),
    ],
)
def test_an_address_that_nobody_understands_is_refused(address, found) -> None:
    with pytest.raises(InvalidInputError, match=found) as caught:
        ObjectPath(folder=address).is_file()
    assert "secret" not in str(caught.value)
