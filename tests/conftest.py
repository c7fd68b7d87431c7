"""What all tests share: every run draws the same examples, and where Prometheus lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from deploy.watch.debian import MissingProgramError, debian_programs
from tests.missing import program_missing

settings.register_profile("offpath", derandomize=True)
settings.load_profile("offpath")


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    """Where `prometheus` and `promtool` lie, as Debian packs them."""
    try:
        return debian_programs("prometheus", ("prometheus", "promtool"))
    except MissingProgramError as error:
        program_missing(str(error))
