"""The page is looked at in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.watch.debian import MissingProgramError
from detector.jobs.calibration_report import CalibrationReport, write_report
from detector.jobs.calibration_report.page import page
from tests.detector.jobs.calibration_report.browser import Browser

pytestmark = pytest.mark.slow
WIDTHS = (1280, 390)
VIEWS = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    try:
        return Browser.fetched(tmp_path_factory.mktemp("browser"))
    except MissingProgramError as error:
        pytest.skip(str(error))


def luminance(colour: str) -> float:
    """Relative luminance of a colour as CSS computes it, in [0, 1] (WCAG 2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, from 1 to 21 (WCAG 2)."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("width", WIDTHS)
@VIEWS
def test_the_page_fits_the_window_and_can_be_read(
    browser: Browser, sample_report: CalibrationReport, width: int, dark: bool
) -> None:
    seen = browser.measure(page(sample_report), width=width, dark=dark)
    assert (seen["inner"], seen["dark"]) == (width, dark)
    assert seen["scroll"] <= width
    assert seen["wide"] == []  # tables scroll within themselves
    assert seen["outside"] == []
    assert seen["overlapping"] == []
    assert seen["smallest"] >= 9.5  # pixels
    assert seen["text"] >= 15
    assert (luminance(seen["paper"]) < 0.05) == dark
    assert contrast(seen["ink"], seen["paper"]) >= 7
    assert contrast(seen["soft"], seen["paper"]) >= 4.5
    assert min(contrast(line, seen["paper"]) for line in seen["lines"]) >= 2.5
    assert (seen["requests"], seen["refused"]) == ([], [])


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


@pytest.mark.parametrize("width", WIDTHS)
@VIEWS
def test_a_picture_of_the_page_is_as_wide_as_the_window_and_not_empty(
    browser: Browser, sample_report: CalibrationReport, tmp_path: Path, width: int, dark: bool
) -> None:
    file = write_report(replace(sample_report, few_shot=()), tmp_path)
    with Image.open(browser.picture(file, width=width, dark=dark)) as image:
        pixels = np.asarray(image.convert("L"), dtype=np.float64) / 255
    assert pixels.shape[1] == width
    assert (pixels.mean() < 0.5) == dark
    assert len(np.unique(pixels)) > 20
