"""Where a program is missing, a test is skipped with the reason, and fails in CI."""

import re
from pathlib import Path

import pytest

from tests.missing import ALL_PROGRAMS, program_missing

ROOT = Path(__file__).parents[2]
REASON = "The test needs a program. Found none."


def test_a_test_whose_program_is_missing_is_skipped_with_the_reason(monkeypatch):
    monkeypatch.delenv(ALL_PROGRAMS, raising=False)
    with pytest.raises(pytest.skip.Exception, match=REASON):
        program_missing(REASON)


def test_it_fails_with_the_reason_where_ci_runs_it(monkeypatch):
    (exported,) = re.findall(r"^export (\w+=\w+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    name, _, value = exported.partition("=")
    monkeypatch.setenv(name, value)
    with pytest.raises(pytest.fail.Exception, match=f"{REASON} With {ALL_PROGRAMS} set"):
        program_missing(REASON)
