"""What is made of files follows them, and never falls back behind what worked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from detector.errors import OffpathError
from service.security.reloading import Reloading


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def read(file: Path) -> str:
    try:
        text = file.read_text()
    except OSError as error:
        raise OffpathError("It should be readable.") from error
    if text.startswith("bad"):
        raise OffpathError("It should be good.")
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "value"
    path.write_text("first")
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def value(file: Path, clock: Clock, observed: Any) -> Reloading[str]:
    return Reloading(
        [file], lambda: read(file), what="value", observer=observed, every_s=1.0, now=clock
    )


def test_what_changes_is_seen_at_the_next_look_and_not_before(
    value: Reloading[str], file: Path, clock: Clock, observed: Any
) -> None:
    file.write_text("second!")
    clock.now_s = 0.9
    assert value.current() == "first"
    clock.now_s = 1.0
    assert value.current() == "second!"
    assert observed.seen == [("value", True)]


def test_a_file_that_did_not_change_is_not_made_again(
    value: Reloading[str], clock: Clock, observed: Any
) -> None:
    first = value.current()
    clock.now_s = 100.0
    assert value.current() is first
    assert observed.seen == []


@pytest.mark.parametrize("spoil", ["written badly", "removed"])
def test_a_bad_change_keeps_the_old_value_and_is_told_once(
    spoil: str,
    value: Reloading[str],
    file: Path,
    clock: Clock,
    observed: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if spoil == "removed":
        file.unlink()
    else:
        file.write_text("bad one")
    for seconds in (1.0, 2.0, 3.0):
        clock.now_s = seconds
        assert value.current() == "first"
    assert observed.seen == [("value", False)]
    assert caplog.text.count("Keeps the value") == 1
    file.write_text("a good one again")
    clock.now_s = 4.0
    assert value.current() == "a good one again"
    assert observed.seen == [("value", False), ("value", True)]


def test_a_link_that_leads_elsewhere_is_a_change(
    tmp_path: Path, clock: Clock, observed: Any
) -> None:
    link = tmp_path / "link"
    for name in ("first", "other"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(0, 0))
    link.symlink_to(tmp_path / "first")
    value = Reloading(
        [link], lambda: read(link), what="value", observer=observed, every_s=0.0, now=clock
    )
    link.unlink()
    link.symlink_to(tmp_path / "other")
    assert value.current() == "other"


def test_a_first_attempt_that_fails_is_an_error(file: Path, observed: Any) -> None:
    file.write_text("bad from the start")
    with pytest.raises(OffpathError, match="good"):
        Reloading([file], lambda: read(file), what="value", observer=observed)
