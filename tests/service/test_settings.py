"""Settings come from the environment, are checked, and say why they are what they are."""

from __future__ import annotations

import pytest

from service.settings import Settings, SettingsError, load_settings


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_the_environment_is_read_and_what_is_given_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OFFPATH_PORT", "1234")
    monkeypatch.setenv("OFFPATH_METRICS_PORT", "1235")
    settings = load_settings(port=4321, metrics_port=None)
    assert (settings.port, settings.metrics_port) == (4321, 1235)


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 65536},
        {"port": "many"},
        {"batch_sizes": ()},
        {"batch_sizes": (4, 2)},
        {"max_batch_passes": 0},
        {"max_queue_images": 10, "max_images_per_request": 11},
        {"max_queue_bytes": 10},
        {"drain_timeout_s": float("nan")},
        {"max_queue_delay_s": -1},
        {"admin_port": 1, "admin_host": "0.0.0.0"},
        {"admin_port": 1, "admin_host": "0.0.0.0", "insecure": True},
        {"watch_bundle_s": 1},
    ],
)
def test_a_setting_that_cannot_be_is_one_clear_error(changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="Found"):
        load_settings(**changes)


@pytest.mark.parametrize(
    ("passes", "sizes"), [(1, (1, 4, 8)), (2, (1, 4, 8)), (3, (1, 4)), (5, (1,)), (99, (1,))]
)
def test_the_dearer_an_image_the_fewer_share_a_batch(passes: int, sizes: tuple[int, ...]) -> None:
    settings = Settings(batch_sizes=(1, 4, 8), max_batch_passes=16)
    assert settings.batch_sizes_of(passes) == sizes


def test_a_list_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPATH_BATCH_SIZES", "[1, 2, 4]")
    assert load_settings().batch_sizes == (1, 2, 4)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("OFFPATH_BATCH_SIZES", "1,2,4", "batch_sizes"),
        ("OFFPATH_BATCH_SIZES", "[1, 2", "batch_sizes"),
        ("OFFPATH_BATCH_SIZES", "[4, 2]", "batch_sizes"),
        ("OFFPATH_BATCH_SIZES", "[0]", "batch_sizes"),
        ("OFFPATH_BATCH_SIZES", "", "batch_sizes"),
        ("OFFPATH_PORT", "many", "port"),
    ],
)
def test_a_variable_that_cannot_be_is_one_clear_error(
    variable: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{named}.*Found|Found.*{named}"):
        load_settings()
