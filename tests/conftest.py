"""What all tests share: the same examples in every run, Prometheus, and an S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from deploy.watch.debian import MissingProgramError, debian_programs
from tests.missing import program_missing
from tests.object_store import Bucket, ObjectStore, running_store

settings.register_profile("offpath", derandomize=True)
settings.load_profile("offpath")


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    """Where `prometheus` and `promtool` lie, as Debian packs them."""
    try:
        return debian_programs("prometheus", ("prometheus", "promtool"))
    except MissingProgramError as error:
        program_missing(str(error))


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A real S3 server."""
    with running_store() as store:
        yield store


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket there, which this process finds by the environment."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return object_store.bucket()
