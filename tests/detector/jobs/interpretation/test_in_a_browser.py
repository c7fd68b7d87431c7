"""Both pages are looked at in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.jobs.interpretation.page import page, story_page
from tests.browser import Browser
from tests.detector.jobs.interpretation.sample_pages import sample_interpretation, sample_stories
from tests.looks import VIEWS, WIDTHS, check_looks, check_picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["network", "images"])
def text(request: pytest.FixtureRequest) -> str:
    if request.param == "network":
        return page(sample_interpretation())
    return story_page(*sample_stories())


@WIDTHS
@VIEWS
def test_a_page_fits_the_window_and_can_be_read(
    browser: Browser, text: str, width: int, dark: bool
) -> None:
    check_looks(browser.measure(text, width=width, dark=dark), width=width, dark=dark)


@WIDTHS
@VIEWS
def test_a_picture_of_a_page_is_as_wide_as_the_window_and_not_empty(
    browser: Browser, text: str, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    check_picture(browser.picture(file, width=width, dark=dark), width=width, dark=dark)
