"""Programs that a test runs and that are no Python packages: where one is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["ALL_PROGRAMS", "program_missing"]

# Not with the prefix of settings: servers that tests start would refuse it.
ALL_PROGRAMS = "TESTS_NEED_ALL_PROGRAMS"
"""Set where every test has to run, as in CI: a skipped test is one that nobody misses."""


def program_missing(reason: str) -> NoReturn:
    """Skip a test whose program is missing, or fail it where every test has to run.

    Args:
        reason: What is missing, and what needs it.
    """
    if os.environ.get(ALL_PROGRAMS):
        pytest.fail(
            f"{reason} With {ALL_PROGRAMS} set, no test is skipped for that.", pytrace=False
        )
    pytest.skip(reason)
