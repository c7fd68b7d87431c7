"""A real S3 server on this machine, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

__all__ = ["CREDENTIALS", "Bucket", "ObjectStore", "running_store"]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_REGION = "eu-central-1"


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket, seen with other eyes than Offpath's."""

    name: str
    endpoint: str
    client: Any = field(repr=False)

    def address(self, folder: str = "paths") -> str:
        """Address of a folder in it that says by itself where the server is."""
        where = f"endpoint_override={self.endpoint}&scheme=http&region={_REGION}"
        return f"s3://{self.name}/{folder}?{where}"

    def names(self, folder: str = "paths") -> set[str]:
        """Names of the files in a folder; Arrow's empty object for that is none."""
        listed = self.client.list_objects_v2(Bucket=self.name, Prefix=f"{folder}/")
        keys = [found["Key"] for found in listed.get("Contents", ())]
        return {key.removeprefix(f"{folder}/") for key in keys if not key.endswith("/")}

    def files(self, folder: str = "paths") -> dict[str, bytes]:
        """Name and bytes of each file in a folder that nobody writes to meanwhile."""
        return {
            name: self.client.get_object(Bucket=self.name, Key=f"{folder}/{name}")["Body"].read()
            for name in self.names(folder)
        }

    def put(self, name: str, content: bytes, folder: str = "paths") -> None:
        """Write a file, whatever may be done with it."""
        self.client.put_object(Bucket=self.name, Key=f"{folder}/{name}", Body=content)

    def delete(self, name: str, folder: str = "paths") -> None:
        """Remove a file."""
        self.client.delete_object(Bucket=self.name, Key=f"{folder}/{name}")

    def forbid(self, *actions: str) -> None:
        """Take rights away from everybody, such as ``s3:PutObject``."""
        places = [f"arn:aws:s3:::{self.name}", f"arn:aws:s3:::{self.name}/*"]
        rule = {"Effect": "Deny", "Principal": "*", "Action": actions, "Resource": places}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        self.client.put_bucket_policy(Bucket=self.name, Policy=policy)

    def allow(self) -> None:
        """Give all rights back."""
        self.client.delete_bucket_policy(Bucket=self.name)


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """The server."""

    endpoint: str
    names: Iterator[int]

    @property
    def environment(self) -> dict[str, str]:
        """What leads its callers to it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{self.endpoint}"}

    def bucket(self) -> Bucket:
        """A new bucket, whose name none had before."""
        import boto3  # slow, and few tests need it

        client = boto3.client(
            "s3",
            endpoint_url=f"http://{self.endpoint}",
            region_name=_REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        name = f"bucket-{next(self.names)}"
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": _REGION})
        return Bucket(name=name, endpoint=self.endpoint, client=client)


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """The server on a free port, until the end of the block."""
    with tempfile.TemporaryFile("w+") as log:  # a pipe would be full at some time
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            yield ObjectStore(endpoint=_endpoint(process, log), names=iter(range(10**6)))
        finally:
            process.kill()
            process.wait()


def _endpoint(process: subprocess.Popen[bytes], log: TextIO) -> str:
    """Host and port, once the server listens there."""
    while True:
        log.seek(0)
        told = log.read()
        if found := re.search(r"http://(127\.0\.0\.1:\d+)", told):
            return found[1]
        assert process.poll() is None, told
        time.sleep(0.05)
