"""The page is looked at in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.jobs.sparsity_sweep.page import page
from tests.browser import Browser
from tests.detector.jobs.sparsity_sweep.sample_sweep import sample_sweep
from tests.looks import VIEWS, WIDTHS, check_looks, check_picture

pytestmark = pytest.mark.slow


@WIDTHS
@VIEWS
def test_the_page_fits_the_window_and_can_be_read(browser: Browser, width: int, dark: bool) -> None:
    check_looks(
        browser.measure(page(sample_sweep()), width=width, dark=dark), width=width, dark=dark
    )


@WIDTHS
@VIEWS
def test_a_picture_of_the_page_is_as_wide_as_the_window_and_not_empty(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(sample_sweep()), encoding="utf-8")
    check_picture(browser.picture(file, width=width, dark=dark), width=width, dark=dark)
