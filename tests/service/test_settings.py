"""Settings come from the environment, are checked, and say why they are what they are."""

from __future__ import annotations

import re

import pytest

from service.settings import Settings, SettingsError, load_settings
from service.settings_words import example, expectation, unknown_variable, variable


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
    ("variable", "value", "expected"),
    [
        ("OFFPATH_BATCH_SIZES", "3", r"a JSON list, each item a whole number, at least 1, such as"),
        ("OFFPATH_BATCH_SIZES", "1,2,4", r"a JSON list"),
        ("OFFPATH_BATCH_SIZES", "[1, 2", r"a JSON list"),
        ("OFFPATH_BATCH_SIZES", "[4, 2]", r"a JSON list that ascends, such as"),
        ("OFFPATH_BATCH_SIZES", "[0]", r"a JSON list"),
        ("OFFPATH_BATCH_SIZES", "", r"a JSON list"),
        ("OFFPATH_CAMPAIGN_EXEMPT_PRINCIPALS", "camera", r'a text, such as \["camera"\]'),
        ("OFFPATH_PORT", "many", r"a whole number, at least 0 and at most 65535, such as 50051"),
        ("OFFPATH_ADMIN_PORT", "70000", r"a whole number, .* such as 50052"),
        ("OFFPATH_DRIFT_DELTA", "1", r"a finite number, above 0 and below 1, such as 0\.001"),
        ("OFFPATH_WATCH_DRIFT", "perhaps", r"true or false"),
        ("OFFPATH_CAMPAIGN_POLICY", "shout", r"one of off, observe, flag, throttle, such as"),
        (
            "OFFPATH_TRACE_ENDPOINT",
            "localhost:4317",
            r"http:// .* such as http://127\.0\.0\.1:4317",
        ),
    ],
)
def test_a_variable_that_cannot_be_is_named_with_what_it_should_be_and_was(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    text = str(refused.value)
    assert re.match(f"{variable} should be .*{expected}.* Found ", text), text
    assert text.partition(" Found ")[2].strip("'.") == value
    assert "Value error" not in text


def test_an_option_that_cannot_be_is_named_as_it_was_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OFFPATH_METRICS_PORT", "1235")
    with pytest.raises(
        SettingsError, match=r"^--metrics-port \(OFFPATH_METRICS_PORT\) .* 70000\.$"
    ):
        load_settings(metrics_port=70000)


def test_every_example_is_a_value_that_its_setting_can_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in Settings.model_fields:
        value = example(Settings, name)
        monkeypatch.setenv(variable(name), value)
        assert expectation(Settings, name).endswith(f", such as {value}")
    assert load_settings().admin_port == 50052


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("OFFPATH_TORCH_THREAD", "OFFPATH_TORCH_THREADS"),
        ("OFFPATH_CAMPAING_POLICY", "OFFPATH_CAMPAIGN_POLICY"),
        ("OFFPATH_PRINCIPLES", "OFFPATH_PRINCIPALS"),
        ("offpath_principal", "OFFPATH_PRINCIPALS"),
    ],
)
def test_a_misspelt_setting_is_refused_and_the_nearest_is_named(
    written: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(written, "3")
    with pytest.raises(SettingsError, match=rf"Found {written}, which .* Write {meant} if"):
        load_settings()


def test_what_resembles_no_setting_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPATH_XYZ_XYZ_XYZ", "3")
    with pytest.raises(SettingsError, match=r"OFFPATH_XYZ_XYZ_XYZ, which is none\. Unset it\."):
        load_settings()


def test_what_kubernetes_says_about_services_of_that_name_is_left_alone() -> None:
    address = "tcp://10.0.0.1:50051"
    said = {
        "OFFPATH_SERVICE_HOST": "10.0.0.1",
        "OFFPATH_SERVICE_PORT": "50051",
        "OFFPATH_SERVICE_PORT_GRPC": "50051",
        "OFFPATH_PORT_50051_TCP": address,
        "OFFPATH_PORT_50051_TCP_ADDR": "10.0.0.1",
        "OFFPATH_CANARY_PORT": address,
        "OFFPATH_CANARY_SERVICE_HOST": "10.0.0.1",
    }
    assert unknown_variable(said, Settings.model_fields) is None
    assert unknown_variable({"OFFPATH_CANARY_PORT": "50051"}, Settings.model_fields) is not None


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPATHS", "3")
    monkeypatch.setenv("MY_OFFPATH_PORTS", "3")
    assert load_settings() == Settings()
