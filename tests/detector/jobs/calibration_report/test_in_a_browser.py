"""The page is looked at in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detector.jobs.calibration_report import CalibrationReport, write_report
from detector.jobs.calibration_report.page import page
from tests.browser import Browser
from tests.looks import VIEWS, WIDTHS, check_looks, check_picture

pytestmark = pytest.mark.slow


@WIDTHS
@VIEWS
def test_the_page_fits_the_window_and_can_be_read(
    browser: Browser, sample_report: CalibrationReport, width: int, dark: bool
) -> None:
    seen = browser.measure(page(sample_report), width=width, dark=dark)
    check_looks(seen, width=width, dark=dark)


def test_the_browser_would_see_a_request_and_a_page_that_is_too_wide(
    browser: Browser, sample_report: CalibrationReport
) -> None:
    text = page(sample_report).replace(
        "</header>",
        '<div style="width: 700px">wide</div><img src="http://outside.invalid/a.png"/></header>',
    )
    seen = browser.measure(text, width=390, dark=False)
    assert seen["scroll"] >= 700
    assert "DIV" in seen["wide"]
    assert seen["refused"] == ["http://outside.invalid/a.png"]


@WIDTHS
@VIEWS
def test_a_picture_of_the_page_is_as_wide_as_the_window_and_not_empty(
    browser: Browser, sample_report: CalibrationReport, tmp_path: Path, width: int, dark: bool
) -> None:
    file = write_report(replace(sample_report, few_shot=()), tmp_path)
    picture = browser.picture(file, width=width, dark=dark)
    check_picture(picture, width=width, dark=dark)
