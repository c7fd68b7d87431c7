"""What a server does about closed filters: a setting, and a line of log."""

from __future__ import annotations

import logging

import pytest

from detector.decoupling.skipping import Comparison, SkippingChoice, SkippingPlan, Way
from service.settings import Settings, SettingsError, load_settings
from service.skipping import Skipping, tell_choice


def choice(*, alone: float) -> SkippingChoice:
    return SkippingChoice(
        plan=SkippingPlan(names=("conv1", "conv2"), ways=(Way.MASKED, Way.CHANNELS_MULTIPLIED)),
        alone=Comparison(images=1, masked_s=1.0, skipped_s=alone),
        together=Comparison(images=32, masked_s=1.0, skipped_s=alone),
    )


def test_a_server_measures_unless_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().skipping is Skipping.AUTO
    monkeypatch.setenv("OFFPATH_SKIPPING", "off")
    assert load_settings().skipping is Skipping.OFF
    monkeypatch.setenv("OFFPATH_SKIPPING", "always")
    with pytest.raises(SettingsError, match="auto"):
        load_settings()


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (0.5, "Bundle abc skips closed filters: 0.50 of the time for one image, 0.50 for 32"),
        (1.5, "Bundle abc computes closed filters: to skip them takes 1.50 of the time"),
    ],
)
def test_the_log_says_what_was_measured_and_what_follows(
    alone: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        tell_choice("abc", choice(alone=alone))
    assert said in caplog.text


def test_the_log_says_nothing_of_what_was_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tell_choice("abc", None)
    assert not caplog.text
