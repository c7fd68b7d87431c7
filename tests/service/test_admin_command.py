"""`offpath admin` says what is loaded, to people and to programs, and what went wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.jobs.evaluation import RELEASED_REPORT, EvaluationReport
from detector.jobs.evaluation.estimates import Share
from service import cli
from service.admin_results import BundlePlace, LoadedBundle, LoadedBundles, ShadowSummary

DIGESTS = {BundlePlace.ACTIVE: "a1" * 32, BundlePlace.STANDBY: "b2" * 32}
SHADOW = ShadowSummary(
    share=0.25,
    calls=8,
    dropped_calls=3,
    failed_calls=1,
    images=16,
    class_disagreements=2,
    verdict_disagreements=5,
    mean_p_value_difference=0.125,
)
LOADED = LoadedBundles(
    bundles=tuple(
        LoadedBundle(
            digest=digest,
            place=place,
            created="2020-08-23T00:00:00+00:00",
            backbone="cifar-resnet20",
            alpha=0.05,
            pending_images=4,
            drift_found="2020-08-24T00:00:00+00:00" if place is BundlePlace.ACTIVE else "",
        )
        for place, digest in DIGESTS.items()
    ),
    shadow=SHADOW,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a client that only remembers is asked for."""
    calls: list[tuple[Any, ...]] = []

    class Client:
        def __init__(self, address: str, **_: Any) -> None:
            calls.append(("connect", address))

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            calls.append(("close",))

        def bundles(self) -> LoadedBundles:
            return LOADED

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> LoadedBundles:
                calls.append((name, *arguments))
                return LOADED

            return call

    monkeypatch.setattr("service.admin_client.AdminClient", Client)
    return calls


def run(*arguments: str) -> int:
    return cli.run(["admin", *arguments, "--server", "127.0.0.1:1"])


def test_what_is_loaded_is_a_table_and_a_line_about_the_shadow(
    asked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for place, digest in DIGESTS.items():
        assert f"{place} {digest[:12]}" in shown
    assert shown.count("Drift found") == 1
    assert f"Drift found for {DIGESTS[BundlePlace.ACTIVE][:12]} at 2020-08-24T00:00" in shown
    assert "Shadow of 25%: 16 images in 8 calls, 2 with another class, 5 with another" in shown
    assert "apart by 0.125 on average; 3 calls left out as it yields under load, 1 failed" in shown


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (BundlePlace.ACTIVE, "already answers: nothing was loaded"),
        (BundlePlace.PREVIOUS, "is the previous one: nothing was loaded; roll-back lets it"),
        (BundlePlace.STANDBY, "stands by: shadow lets it judge as well, promote lets it answer"),
        (None, "was loaded, and another has taken its place since"),
    ],
)
def test_a_load_says_what_became_of_the_bundle(
    place: BundlePlace | None,
    words: str,
    asked: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    digest = "c3" * 32
    bundles = LOADED.bundles[:1]
    if place is not None:
        bundles = (dataclasses.replace(bundles[0], digest=digest, place=place),)
    reply = dataclasses.replace(LOADED, bundles=bundles, asked=digest)
    monkeypatch.setattr("service.admin_client.AdminClient.load", lambda *_: reply, raising=False)
    assert run("load", "new") == 0
    assert f"{digest[:12]} {words}" in " ".join(capsys.readouterr().out.split())


def test_the_help_says_that_the_shadow_yields(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["admin", "--help"]) == 0
    assert "yields under load" in " ".join(capsys.readouterr().out.split())


def test_programs_get_json(asked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["digest"] for each in found["bundles"]] == list(DIGESTS.values())
    assert found["shadow"]["mean_p_value_difference"] == 0.125


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["load", "/bundles/new"], ("load", Path("/bundles/new"))),
        (["load", "new"], ("load", Path("new").absolute())),
        (["shadow", "0.5"], ("shadow", 0.5)),
        (["promote", "b2"], ("promote", DIGESTS[BundlePlace.STANDBY])),
        (["promote", "c3"], ("promote", "c3")),
        (["promote", ""], ("promote", "")),  # both begin so: for the server to refuse
        (["roll-back"], ("roll_back",)),
        (["reset-drift"], ("reset_drift",)),
        (["unload", "a1"], ("unload", DIGESTS[BundlePlace.ACTIVE])),
    ],
)
def test_each_action_is_one_call(asked: Any, arguments: list[str], call: tuple[Any, ...]) -> None:
    assert run(*arguments) == 0
    assert asked == [("connect", "127.0.0.1:1"), call, ("close",)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["load"], "folder"),
        (["promote"], "digest"),
        (["shadow"], "share"),
        (["shadow", "half"], "share"),
        (["list", "a1"], "nothing"),
        (["forget"], "roll-back"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    asked: Any, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
    assert changes_of(asked) == []


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes the released report with other values, and gives its path."""
    released = EvaluationReport.read(RELEASED_REPORT)

    def write(name: str, **changes: Any) -> str:
        path = tmp_path / f"{name}.json"
        dataclasses.replace(released, **changes).write(path)
        return str(path)

    return write


@pytest.fixture
def old(write: Callable[..., str]) -> str:
    return write("old", bundle_digest=DIGESTS[BundlePlace.ACTIVE])


def promotion(new: str, old: str) -> list[str]:
    return ["promote", "b2", "--report", new, "--against", old]


def changes_of(asked: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [call for call in asked if call[0] not in {"connect", "close"}]


def test_a_bundle_whose_figures_hold_is_promoted(asked: Any, write: Any, old: str) -> None:
    standby = DIGESTS[BundlePlace.STANDBY]
    assert run(*promotion(write("new", bundle_digest=standby), old)) == 0
    assert changes_of(asked) == [("promote", standby)]


def test_a_bundle_whose_figures_fell_is_not_promoted_and_each_of_them_is_named(
    asked: Any, write: Any, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = write("new", bundle_digest=DIGESTS[BundlePlace.STANDBY], accuracy=Share.of(1, 1000))
    assert run(*promotion(worse, old)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "Found 1 that stand against it: - accuracy:" in line
    assert changes_of(asked) == []


@pytest.mark.parametrize(("swapped", "named"), [("new", "to be promoted"), ("old", "that answers")])
def test_a_report_of_another_bundle_promotes_nothing(
    asked: Any, write: Any, old: str, capsys: pytest.CaptureFixture[str], swapped: str, named: str
) -> None:
    new = write("new", bundle_digest=DIGESTS[BundlePlace.STANDBY])
    other = write("other", bundle_digest="c3" * 32)
    reports = (other, old) if swapped == "new" else (new, other)
    assert run(*promotion(*reports)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"the report of the bundle {named}" in line
    assert "c3" * 32 in line
    assert changes_of(asked) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["promote", "b2", "--report", "new.json"], "together"),
        (["promote", "b2", "--against", "old.json"], "together"),
        (["roll-back", "--report", "new.json", "--against", "old.json"], "roll-back"),
        (["promote", "b2", "--report", "nowhere", "--against", "nowhere"], "nowhere"),
    ],
)
def test_reports_that_cannot_be_meant_or_read_promote_nothing(
    asked: Any, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
    assert changes_of(asked) == []


def test_no_server_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "127.0.0.1:1" in line
