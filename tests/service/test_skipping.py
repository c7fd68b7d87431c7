"""What a server does about closed filters: a setting, a line of log, and metrics."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry

from detector.decoupling.skipping import Comparison, SkippingChoice, SkippingPlan, Way
from service.metrics import Metrics
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


def test_the_plan_of_the_network_that_is_served_takes_the_place_of_the_one_before() -> None:
    metrics = Metrics(CollectorRegistry())

    def ways() -> list[dict[str, str]]:
        return [
            sample.labels
            for family in metrics.registry.collect()
            if family.name == "offpath_skipping"
            for sample in family.samples
        ]

    metrics.skipping.served(choice(alone=0.5).plan)
    assert ways() == [
        {"layer": "conv1", "way": "masked"},
        {"layer": "conv2", "way": "open-channels-multiplied"},
    ]
    metrics.skipping.served(SkippingPlan.uniform(("conv2",), Way.MASKED))
    assert ways() == [{"layer": "conv2", "way": "masked"}]


def test_gates_of_callers_images_are_counted_and_those_of_padding_are_not() -> None:
    metrics = Metrics(CollectorRegistry())
    bits = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    result: Any = SimpleNamespace(path=SimpleNamespace(bits=bits))
    metrics.skipping.batch(2, result)
    value = metrics.registry.get_sample_value
    assert value("offpath_gates_total") == 8
    assert value("offpath_open_gates_total") == 3


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
